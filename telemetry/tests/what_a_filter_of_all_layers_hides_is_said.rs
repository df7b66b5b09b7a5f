//! A filter that stands in the stack as a layer of its own hides units from telemetry, too.

mod written;

use telemetry::{Lean, Snapshot, Telemetry, TelemetryLayer};
use tracing::{Dispatch, dispatcher, info_span};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;
use written::Written;

/// What is said of two spans in this subscriber, in a table, as data, and in findings.
fn say<S: Into<Dispatch>>(
    stack: impl FnOnce(TelemetryLayer) -> S,
) -> (Snapshot, String, Vec<String>) {
    let (builder, written): (_, Written) = written::builder();
    let (layer, telemetry): (_, Telemetry) = builder.build().unwrap();
    let dispatch = stack(layer).into();
    dispatcher::with_default(&dispatch, || {
        info_span!(target: "shop::http", "request").in_scope(|| ());
        info_span!(target: "shop::jobs", "job").in_scope(|| ());
    });
    telemetry.flush();
    telemetry.flush();
    let snapshot = telemetry.snapshot();
    let findings = written.of("finding");
    let messages = findings.iter().map(|finding| {
        assert_eq!(finding["finding"], "setup");
        finding["message"].as_str().unwrap().to_owned()
    });
    (snapshot.clone(), snapshot.to_string(), messages.collect())
}

#[test]
fn as_data_in_the_table_and_once_by_a_finding() {
    // Only those of one module are hidden, wherever the filter stands.
    let filter = || EnvFilter::new("info,shop::http=off");
    let hiding: [fn(TelemetryLayer, EnvFilter) -> Dispatch; 3] = [
        |layer, filter| Dispatch::new(registry().with(filter).with(layer)),
        |layer, filter| Dispatch::new(Lean::new(registry().with(filter).with(layer))),
        |layer, filter| Dispatch::new(Lean::new(registry().with(layer).with(filter))),
    ];
    for stack in hiding {
        let (snapshot, table, findings) = say(|layer| stack(layer, filter()));
        let units: Vec<_> = snapshot
            .units
            .iter()
            .map(|unit| unit.unit.as_str())
            .collect();
        assert_eq!(units, ["job"]);
        let [hidden] = &snapshot.passed_by[..] else {
            panic!("{snapshot:?}");
        };
        assert_eq!((hidden.span.as_str(), hidden.hidden), ("request", true));
        let why = "request (shop::http, INFO): hidden by a filter of all layers";
        assert!(table.contains(why), "{table}");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains(why), "{findings:?}");
    }

    // Where all are hidden, that is all there is to say.
    let (snapshot, table, _) =
        say(|layer| Lean::new(registry().with(layer).with(EnvFilter::new("warn"))));
    assert_eq!((snapshot.units.len(), snapshot.passed_by.len()), (0, 2));
    assert!(table.contains("job (shop::jobs, INFO): hidden"), "{table}");

    // On the layer that it is for it hides nothing.
    let (snapshot, table, findings) = say(|layer| {
        let logs = tracing_subscriber::layer::Identity::new().with_filter(filter());
        Lean::new(registry().with(logs).with(layer))
    });
    assert_eq!(
        (snapshot.units.len(), &snapshot.passed_by[..]),
        (2, &[][..]),
        "{table}"
    );
    assert_eq!(findings, [] as [String; 0]);
}
