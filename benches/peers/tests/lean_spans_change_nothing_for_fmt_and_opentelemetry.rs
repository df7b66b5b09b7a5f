//! What `fmt` and OpenTelemetry write of a program is the same whether the spans that they do not want
//! are lean or in the `Registry`.

use opentelemetry::trace::{SpanId, TraceContextExt, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::io;
use std::sync::{Arc, Mutex};
use telemetry::{Lean, Telemetry};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::{Instrument, Span, debug_span, error, info, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::prelude::*;

/// Keeps what `fmt` writes.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the spans that were exported.
#[derive(Clone, Debug, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(spans);
        Ok(())
    }
}

impl Exported {
    /// Each span's name, the name of its parent, and how many events it has.
    fn tree(&self) -> Vec<(String, String, usize)> {
        let spans = self.0.lock().unwrap();
        let name = |id: SpanId| {
            let found = spans.iter().find(|span| span.span_context.span_id() == id);
            found.map_or(String::new(), |span| span.name.to_string())
        };
        let of = |span: &SpanData| {
            let parent = name(span.parent_span_id);
            (span.name.to_string(), parent, span.events.len())
        };
        spans.iter().map(of).collect()
    }
}

/// Spans of which `fmt` wants those that warn, OpenTelemetry those of `http` and `db`, nobody the rest.
fn program() {
    for n in 0..3 {
        info_span!(target: "http", "request", n).in_scope(|| {
            info_span!("parse").in_scope(|| {
                info_span!(target: "db", "query").in_scope(|| info!(target: "db", "asked"));
                warn!("slow");
            });
            let price = info_span!("price");
            let _cloned = price.clone();
            info!(parent: &price, "computed");
            drop(info_span!(target: "db", parent: &price, "look up"));
            price.in_scope(|| error!(n, "failed"));
        });
    }
    let job = info_span!("job");
    job.in_scope(|| {
        tracing::warn_span!("step", n = 1).in_scope(|| warn!("half way"));
        debug_span!("nobody's").in_scope(|| info_span!(target: "http", "fetch"));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let inner = async { info_span!(target: "db", "later").in_scope(|| warn!("in a task")) };
        let task = async { inner.in_current_span().await }.instrument(Span::current());
        task.instrument(job.clone()).await;
    });
    // Asks OpenTelemetry about a span that it does not have.
    let context = job.context();
    assert!(!context.span().span_context().is_valid());
    let _ = job.set_parent(context);
    job.add_link(opentelemetry::trace::SpanContext::empty_context());
}

fn written(lean: bool) -> (String, Vec<(String, String, usize)>) {
    let (text, exported) = (Text::default(), Exported::default());
    let writer = text.clone();
    let fmt = tracing_subscriber::fmt::layer()
        .without_time()
        .with_ansi(false)
        .with_line_number(false)
        .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .with_filter(LevelFilter::WARN);
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exported.clone())
        .build();
    let targets = Targets::new()
        .with_target("http", LevelFilter::INFO)
        .with_target("db", LevelFilter::INFO);
    let otel = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("test"))
        .with_filter(targets);
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let subscriber = tracing_subscriber::registry()
        .with(fmt)
        .with(otel)
        .with(layer);
    let dispatch = match lean {
        true => Dispatch::new(Lean::new(subscriber)),
        false => Dispatch::new(subscriber),
    };
    with_default(&dispatch, program);
    let units = telemetry.snapshot().ledger.units.seen;
    assert_eq!(units, 4, "three requests and a job");
    let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    // How long a span took differs.
    let lines = text
        .lines()
        .map(|line| line.split(" time.busy").next().unwrap());
    let text = lines.collect::<Vec<_>>().join("\n");
    (text, exported.tree())
}

#[test]
fn fmt_and_opentelemetry_write_the_same() {
    let (text, tree) = written(true);
    let (expected_text, mut expected_tree) = written(false);
    assert_eq!(text, expected_text);
    // With an explicit parent that it does not want, OpenTelemetry begins a new trace; a lean parent is
    // passed over for the span around it.
    for (name, parent, _) in &mut expected_tree {
        if name == "look up" {
            assert_eq!(parent, "");
            parent.push_str("request");
        }
    }
    assert_eq!(tree, expected_tree);
    assert!(text.contains("WARN step{n=1}"), "{text}");
    let query = ("query".to_owned(), "request".to_owned(), 1);
    assert!(tree.contains(&query), "{tree:?}");
}
