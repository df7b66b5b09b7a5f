//! What a program installs to measure its spans, or to write them out.

use alloc_tracker::profiler::{self, Config};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use telemetry::{Lean, Telemetry, export};
use tracing::Dispatch;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

/// A subscriber by its name, and what must live as long.
pub struct Subscriber {
    pub dispatch: Dispatch,
    _telemetry: Option<Telemetry>,
}

/// Names of the subscribers of a service.
pub const OF_SERVICES: [&str; 11] = [
    "none",
    "registry",
    "registry, INFO",
    "lightweight counts",
    "lean counts",
    "lightweight",
    "lean",
    "lightweight, heap",
    "timing",
    "opentelemetry",
    "json",
];

/// The subscriber of this name.
pub fn by_name(name: &str) -> Subscriber {
    let mut telemetry = None;
    let dispatch = match name {
        "none" => Dispatch::none(),
        "registry" => Dispatch::new(registry()),
        // What a layer costs that does nothing, and leaves call sites off that nobody asked for.
        "registry, INFO" => {
            let nothing = tracing_subscriber::layer::Identity::new();
            Dispatch::new(registry().with(nothing.with_filter(LevelFilter::INFO)))
        }
        "lightweight" | "lightweight, heap" | "lightweight counts" | "lean" | "lean counts" => {
            if name == "lightweight, heap" {
                // As in an incident, at 512 KiB, for as long as the program runs.
                let session = profiler::start(Config::default()).expect("it starts");
                std::mem::forget(session);
            }
            let builder = Telemetry::builder();
            let builder = match name {
                "lightweight" | "lightweight, heap" | "lean" => {
                    builder.export(export::json_lines(std::io::sink()))
                }
                // What the others do not measure at all is left out.
                _ => builder.system_sample(0.0),
            };
            let (layer, handle) = builder.build().expect("a valid configuration");
            telemetry = Some(handle);
            let subscriber = registry().with(layer);
            match name {
                "lean" | "lean counts" => Dispatch::new(Lean::new(subscriber)),
                _ => Dispatch::new(subscriber),
            }
        }
        "timing" => {
            let layer = tracing_timing::Builder::default().layer(|| {
                tracing_timing::Histogram::new_with_max(60_000_000_000, 2).expect("valid bounds")
            });
            Dispatch::new(registry().with(layer))
        }
        "opentelemetry" => {
            let provider = SdkTracerProvider::builder()
                .with_sampler(Sampler::TraceIdRatioBased(0.01))
                .with_batch_exporter(Nowhere)
                .build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("peers"));
            // As it is set up for production: otherwise it also records TRACE spans of hyper.
            Dispatch::new(registry().with(layer.with_filter(LevelFilter::INFO)))
        }
        "json" => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
                .with_writer(std::io::sink)
                .with_filter(LevelFilter::INFO);
            Dispatch::new(registry().with(layer))
        }
        "throttle" => {
            let filter = tracing_throttle::TracingRateLimitLayer::new();
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::sink)
                .with_filter(filter);
            Dispatch::new(registry().with(layer))
        }
        "prof" => {
            let config = tracing_prof::config::ProfileConfig::new().track_wall(true);
            Dispatch::new(registry().with(tracing_prof::ProfileLayer::new(config, NoReport)))
        }
        "metrics" => Dispatch::new(registry().with(metrics_tracing_context::MetricsLayer::new())),
        other => panic!("no subscriber {other:?}"),
    };
    Subscriber {
        dispatch,
        _telemetry: telemetry,
    }
}

/// Takes spans and throws them away.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

struct NoReport;

impl tracing_prof::reporter::ProfileReporter for NoReport {}
