//! The subscriber that a test's layer stands in: the test programs whose names begin with `lean` do with
//! `Lean` what the others do without.

use telemetry::{Lean, TelemetryLayer};
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

pub(crate) fn dispatch(layer: TelemetryLayer) -> Dispatch {
    let subscriber = tracing_subscriber::registry().with(layer);
    if env!("CARGO_CRATE_NAME").starts_with("lean") {
        Dispatch::new(Lean::new(subscriber))
    } else {
        Dispatch::new(subscriber)
    }
}
