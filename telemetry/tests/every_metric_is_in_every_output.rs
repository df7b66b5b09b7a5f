//! A metric is a row of one table: what it is shown in has all of them.

mod written;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use telemetry::{Budgets, Metric, Telemetry};
use tracing::info_span;
use written::{builder, written};

fn names() -> BTreeSet<&'static str> {
    Metric::ALL.iter().map(|metric| metric.name()).collect()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    let object = object.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// A unit that ends and one that does not.
fn work(telemetry: &Telemetry) -> String {
    info_span!("pay").in_scope(|| {});
    let long = info_span!("long");
    let _entered = long.enter();
    telemetry.flush();
    telemetry.snapshot().to_string()
}

#[test]
fn records_snapshots_and_the_table_have_every_metric() {
    let mut table = String::new();
    let (records, _) = written(
        |builder| builder.trace_sample(1.0),
        |telemetry| {
            let snapshot = serde_json::to_value(telemetry.snapshot()).unwrap();
            assert!(snapshot["units"].as_array().unwrap().is_empty());
            table = work(telemetry);
            let snapshot = serde_json::to_value(telemetry.snapshot()).unwrap();
            for unit in snapshot["units"].as_array().unwrap() {
                assert_eq!(keys(&unit["metrics"]), names());
            }
        },
    );
    for unit in records.of("unit") {
        assert_eq!(keys(&unit["metrics"]), names());
    }
    let exemplars = records.of("exemplar");
    assert!(!exemplars.is_empty());
    for exemplar in exemplars {
        assert_eq!(keys(&exemplar["costs"]), names());
    }
    let head = table.lines().next().unwrap();
    for column in ["wall", "busy", "cpu", "allocs", "bytes", "peak", "wake-ups"] {
        assert!(head.contains(column), "{head}");
    }
}

#[test]
fn every_metric_can_have_a_budget() {
    for metric in Metric::ALL {
        let limit = match metric.unit_of_measure() {
            "ns" => "\"1 ms\"",
            "bytes" => "\"1 KiB\"",
            _ => "1",
        };
        let text = format!("[unit.pay]\n{metric}.p99 = {limit}");
        let budgets: Budgets = text.parse().unwrap();
        let (builder, _written) = builder();
        let builder = builder.system_sample(1.0).budgets(budgets);
        let (layer, telemetry) = builder.build().unwrap();
        tracing::dispatcher::with_default(&written::stack::dispatch(layer), || work(&telemetry));
        let snapshot = telemetry.snapshot();
        let budgets = &snapshot.unit("pay").unwrap().budgets;
        assert!(
            budgets.contains_key(&format!("{metric}.p99")),
            "{budgets:?}"
        );
    }
    let error = "[unit.pay]\nwalls.p99 = 1".parse::<Budgets>().unwrap_err();
    for name in names() {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_schema_has_every_metric_with_its_unit_of_measure() {
    let schema = std::fs::read_to_string(docs("records.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let metrics = &schema["$defs"]["unit"]["properties"]["metrics"];
    assert_eq!(keys(&metrics["properties"]), names());
    let required = metrics["required"].as_array().unwrap();
    let required: BTreeSet<&str> = required.iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(required, names());
    for metric in Metric::ALL {
        let counted = match metric.unit_of_measure() {
            "ns" => "#/$defs/nanoseconds",
            "bytes" => "#/$defs/bytes",
            _ => "#/$defs/counts",
        };
        let known = &metrics["properties"][metric.name()]["oneOf"][0]["$ref"];
        assert_eq!(known, counted, "{metric}");
    }
    let costs = &schema["$defs"]["exemplar"]["properties"]["costs"];
    assert_eq!(keys(&costs["properties"]), names());
    let in_progress = &schema["$defs"]["unit"]["properties"]["in_progress"];
    let costs = &in_progress["properties"]["costs"]["properties"];
    let (records, _) = written(|builder| builder, |telemetry| drop(work(telemetry)));
    for unit in records.of("unit").iter().filter(|unit| unit["count"] == 0) {
        assert_eq!(keys(&unit["in_progress"]["costs"]), keys(costs));
    }
}

#[test]
fn the_page_about_costs_has_every_metric() {
    const BEGIN: &str = "every_metric_is_in_every_output -->\n";
    const END: &str = "<!-- end of the table -->";
    let mut table = String::from(
        "| name | counts | known of | name for Prometheus | what it is |\n|---|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let (series, label) = metric.prometheus();
        let label = label.map_or_else(String::new, |(name, value)| {
            format!("{{{name}=\"{value}\"}}")
        });
        let (name, counts) = (metric.name(), metric.unit_of_measure());
        let (known, text) = (metric.known_of(), metric.text());
        writeln!(
            table,
            "| `{name}` | {counts} | {known} | `{series}{label}` | {text} |"
        )
        .unwrap();
    }
    let path = docs("costs.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let begin = page.find(BEGIN).expect("the mark") + BEGIN.len();
    let end = page.find(END).expect("the mark");
    if std::env::var_os("LIGHTWEIGHT_BLESS").is_some() {
        let fresh = format!("{}{table}{}", &page[..begin], &page[end..]);
        return std::fs::write(&path, fresh).unwrap();
    }
    assert_eq!(&page[begin..end], table, "LIGHTWEIGHT_BLESS=1 renews it");
}
