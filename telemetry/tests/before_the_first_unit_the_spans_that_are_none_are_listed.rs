//! One test in a program of its own: what other subscribers want, call sites are turned on for.

mod written;

use std::time::Duration;
use telemetry::Lean;
use tracing::{Dispatch, debug_span, info_span};
use tracing_subscriber::prelude::*;

#[test]
fn the_call_sites_are_listed_and_none_is_turned_on() {
    for is_lean in [false, true] {
        let (builder, written) = written::builder();
        let (layer, telemetry) = builder.build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match is_lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        tracing::dispatcher::with_default(&dispatch, || {
            // No new call site in the second round, of which a new subscriber hears all the same.
            assert!(debug_span!("handle").is_disabled());
            let listed = telemetry.snapshot();
            let [passed_by] = listed.passed_by.as_slice() else {
                panic!("{listed:?}");
            };
            assert_eq!((passed_by.span.as_str(), passed_by.roots), ("handle", 0));
            let table = listed.to_string();
            assert!(
                table.contains("Spans that are no units:\n  handle ("),
                "{table}"
            );
            telemetry.flush();
            info_span!("order").in_scope(|| ());
        });
        let snapshot = telemetry.snapshot();
        assert!(
            snapshot.passed_by.is_empty(),
            "there are units: {snapshot:?}"
        );
        let _ = telemetry.shutdown(Duration::from_secs(10)).unwrap();
        let findings = written.of("finding");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0]["finding"], "setup");
    }
}
