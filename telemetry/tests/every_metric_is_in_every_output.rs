//! A metric is a row of one table: what it is shown in has all of them.

mod written;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use telemetry::{BoundaryMetric, Budgets, Metric, Telemetry};
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

/// The part of a file between two marks is as it should be, or is made so.
fn hold(path: &Path, begin: &str, end: &str, expected: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    let at = text.find(begin).expect("the mark") + begin.len();
    let end = text.find(end).expect("the mark");
    if std::env::var_os("LIGHTWEIGHT_BLESS").is_some() {
        let fresh = format!("{}{expected}{}", &text[..at], &text[end..]);
        return std::fs::write(path, fresh).unwrap();
    }
    assert_eq!(&text[at..end], expected, "LIGHTWEIGHT_BLESS=1 renews it");
}

/// A definition of an object of these metrics, of which some must be there.
fn definition(
    name: &str,
    metrics: &[Metric],
    must_be_there: impl Fn(Metric) -> bool,
    of: impl Fn(Metric) -> String,
) -> String {
    let lines = |metrics: &mut dyn Iterator<Item = Metric>, line: &dyn Fn(Metric) -> String| {
        let lines: Vec<String> = metrics.map(line).collect();
        lines.join(",\n")
    };
    let all = || metrics.iter().copied();
    let properties = lines(&mut all(), &|metric| {
        format!("        \"{metric}\": {}", of(metric))
    });
    let required = lines(
        &mut all().filter(|metric| must_be_there(*metric)),
        &|metric| format!("        \"{metric}\""),
    );
    format!(
        "    \"{name}\": {{\n      \"type\": \"object\",\n      \"properties\": {{\n{properties}\n      }},\n      \
         \"required\": [\n{required}\n      ],\n      \"additionalProperties\": false\n    }},\n"
    )
}

/// What was written before there were these has none of them.
const LATER: [Metric; 4] = [
    Metric::Active,
    Metric::Queued,
    Metric::Wait,
    Metric::Unexplained,
];

#[test]
fn the_schema_is_as_the_table_says() {
    const UNKNOWN: &str = "{ \"$ref\": \"#/$defs/unknown\" }";
    let distribution = |metric: Metric| {
        let counted = match metric.unit_of_measure() {
            "ns" => "nanoseconds",
            "bytes" => "bytes",
            _ => "counts",
        };
        format!("{{ \"oneOf\": [{{ \"$ref\": \"#/$defs/{counted}\" }}, {UNKNOWN}] }}")
    };
    let cost = |metric: Metric| match metric.known_of() {
        "every unit" => "{ \"$ref\": \"#/$defs/count\" }".to_owned(),
        _ => format!("{{ \"oneOf\": [{{ \"$ref\": \"#/$defs/count\" }}, {UNKNOWN}] }}"),
    };
    let in_progress: Vec<Metric> = {
        let (records, _) = written(|builder| builder, |telemetry| drop(work(telemetry)));
        let units = records.of("unit");
        let unit = units.iter().find(|unit| unit["count"] == 0).unwrap();
        let told = keys(&unit["in_progress"]["costs"]);
        let metrics = Metric::ALL.into_iter();
        metrics
            .filter(|metric| told.contains(metric.name()))
            .collect()
    };
    let always = |metric| !LATER.contains(&metric);
    // Of one unit, what is known of a sample may be left out.
    let of_one = |metric: Metric| always(metric) && !metric.is_of_sample();
    let definitions = [
        definition("distributions", &Metric::ALL, always, distribution),
        definition("costs", &Metric::ALL, of_one, cost),
        definition("costs_in_progress", &in_progress, always, cost),
    ];
    hold(
        &docs("records.schema.json"),
        "\"begin_of_the_table_of_metrics\": true,\n",
        "    \"end_of_the_table_of_metrics\": true",
        &definitions.concat(),
    );
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
    hold(&docs("costs.md"), BEGIN, END, &table);
}

#[test]
fn the_page_about_costs_has_every_metric_of_a_boundary() {
    const BEGIN: &str = "<!-- the table of a boundary -->\n";
    const END: &str = "<!-- end of the table of a boundary -->";
    let mut table = String::from("| name | counts | what it is |\n|---|---|---|\n");
    for metric in BoundaryMetric::ALL {
        let (name, counts, text) = (metric.name(), metric.measure().as_str(), metric.text());
        writeln!(table, "| `{name}` | {counts} | {text} |").unwrap();
    }
    hold(&docs("costs.md"), BEGIN, END, &table);
}
