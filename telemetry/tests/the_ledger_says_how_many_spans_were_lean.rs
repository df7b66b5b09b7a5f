//! How many spans of units were lean, and how many the subscriber had as well.

use telemetry::record::SpanLedger;
use telemetry::{Lean, Telemetry};
use tracing::{Dispatch, debug_span, dispatcher, info_span};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::Identity;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

fn work() {
    for _ in 0..3 {
        info_span!("unit").in_scope(|| {
            info_span!("inside").in_scope(|| ());
            // Nobody asked for it.
            debug_span!("deeper").in_scope(|| ());
        });
    }
    let request = debug_span!(target: "tower_http::trace", "request");
    let dispatch = dispatcher::get_default(Clone::clone);
    let elsewhere = move || {
        dispatcher::with_default(&dispatch, || request.in_scope(|| info_span!("inside")));
    };
    std::thread::spawn(elsewhere).join().unwrap();
}

fn spans<D: Into<Dispatch>>(stack: impl FnOnce(telemetry::TelemetryLayer) -> D) -> SpanLedger {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let dispatch = stack(layer).into();
    dispatcher::with_default(&dispatch, work);
    telemetry.ledger().spans
}

#[test]
fn by_who_else_wants_them() {
    let without = spans(|layer| registry().with(layer));
    assert_eq!(without, SpanLedger::new(0, 8));
    let alone = spans(|layer| Lean::new(registry().with(layer)));
    assert_eq!(alone, SpanLedger::new(8, 0));
    // Logs at INFO want spans at INFO, and leave those of the library.
    let logs = Identity::new().with_filter(LevelFilter::INFO);
    let with_logs = spans(|layer| Lean::new(registry().with(logs).with(layer)));
    assert_eq!(with_logs, SpanLedger::new(1, 7));
    // Those that need no spans leave all.
    let events = filter_fn(|metadata| metadata.is_event());
    let logs = Identity::new().with_filter(events.and(LevelFilter::INFO));
    let of_events = spans(|layer| Lean::new(registry().with(logs).with(layer)));
    assert_eq!(of_events, SpanLedger::new(8, 0));
    // A layer without a filter wants all.
    let all = spans(|layer| Lean::new(registry().with(Identity::new()).with(layer)));
    assert_eq!(all.lean, 0);
}
