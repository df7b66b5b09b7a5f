//! Without another layer, the call sites that telemetry does not want are off: a look at a static,
//! no more. In a process of its own, since call sites are shared by all subscribers.

use telemetry::Telemetry;
use tracing::{Level, debug, error, event_enabled, info_span, span_enabled, trace_span};
use tracing_subscriber::prelude::*;

#[test]
fn unwanted_call_sites_are_off() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    tracing_subscriber::registry().with(layer).init();
    for _ in 0..2 {
        let off = trace_span!("noise");
        assert!(off.is_disabled());
        debug!("noise");
        assert!(!span_enabled!(Level::TRACE) && !span_enabled!(Level::DEBUG));
        assert!(!event_enabled!(Level::WARN) && !event_enabled!(Level::INFO));
        assert!(span_enabled!(Level::INFO) && event_enabled!(Level::ERROR));
        info_span!("unit").in_scope(|| error!("broken"));
    }
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.units.len(), 1);
    let unit = snapshot.unit("unit").unwrap();
    assert_eq!((unit.count, unit.errors), (2, 2));
}
