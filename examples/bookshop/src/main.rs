//! A service as people write them: axum with `tower-http`'s `TraceLayer`, sqlx, reqwest to a second service, logs by
//! `RUST_LOG` and OpenTelemetry. The handlers know nothing of what counts them; what `docs/start.md` says is in `main`.
//!
//! ```text
//! cargo run --release --manifest-path examples/bookshop/Cargo.toml
//! ```

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::error::Error;
use telemetry::Budgets;
use telemetry::record::TraceIds;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

// As `docs/start.md` says, from here on.
#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    if let Some(done) = bookshop::be_another(std::env::args().skip(1)).await {
        return done;
    }
    let requests = std::env::args().nth(1).map_or(Ok(2000), |n| n.parse())?;

    // OpenTelemetry as ever; a service hands its spans to a collector.
    let traces = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            0.01,
        ))))
        .build();
    let tracer = traces.tracer("bookshop");
    let budgets = include_str!("../budgets.toml").parse::<Budgets>()?;

    // `docs/start.md`: one line, and its parts.
    let traces = tracing_opentelemetry::layer().with_tracer(tracer);
    let telemetry = telemetry::setup("bookshop")
        .layer(traces.with_filter(requests_and_what_is_at_info()))
        .telemetry(|builder| builder.budgets(budgets).trace_ids(current_trace))
        .init()?;

    bookshop::serve(requests).await?;
    println!("{}", telemetry.snapshot());
    Ok(())
}

/// What is traced: `tower-http` makes its spans at DEBUG.
fn requests_and_what_is_at_info() -> Targets {
    let all = Targets::new().with_default(LevelFilter::INFO);
    all.with_target("tower_http", LevelFilter::DEBUG)
}

/// Where OpenTelemetry is on this thread, for records.
fn current_trace() -> Option<TraceIds> {
    let context = opentelemetry::Context::current();
    let span = context.span().span_context().clone();
    let ids = TraceIds::new(span.trace_id().to_bytes(), span.span_id().to_bytes());
    span.is_valid().then_some(ids)
}
