//! Holds every line of some files against `docs/records.schema.json`, and each ledger against the
//! identity that a schema cannot state.
//!
//! `cargo run --manifest-path tests/schema/Cargo.toml -- [--every-type] RECORDS.jsonl ..`

use jsonschema::Validator;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::ExitCode;

fn main() -> ExitCode {
    let schema = schema();
    let (mut records, mut wrong) = (0, 0);
    let mut types = BTreeSet::new();
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|arg| arg == "--every-type");
    for file in &files {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        };
        for (number, line) in text.lines().enumerate() {
            records += 1;
            types.extend(kind(line));
            for fault in faults(&schema, line) {
                wrong += 1;
                eprintln!("{file}:{}: {fault}", number + 1);
            }
        }
    }
    println!(
        "{records} records of the types {types:?} in {} files, {wrong} faults",
        files.len()
    );
    // Nothing to look at is no proof.
    let least = if flags.is_empty() { 1 } else { TYPES };
    if types.len() < least || wrong > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Types of record that the files together must have, with `--every-type`.
const TYPES: usize = 7;

/// The type of a record.
fn kind(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    record["type"].as_str().map(str::to_owned)
}

fn schema() -> Validator {
    let text = include_str!("../../../docs/records.schema.json");
    let schema = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

fn faults(schema: &Validator, line: &str) -> Vec<String> {
    let record: Value = match serde_json::from_str(line) {
        Ok(record) => record,
        Err(error) => return vec![error.to_string()],
    };
    let mut faults: Vec<String> = schema.iter_errors(&record).map(|e| e.to_string()).collect();
    if record["type"] == "ledger" {
        let streams = ["units", "events", "exemplars", "records"];
        let broken = streams.iter().filter(|name| !adds_up(&record[**name]));
        faults.extend(broken.map(|name| format!("the ledger of {name} does not add up")));
    }
    faults
}

/// `seen = kept + sampled_out + rate_limited + dropped`.
fn adds_up(stream: &Value) -> bool {
    let figure = |name: &str| stream[name].as_u64();
    let dropped = || -> Option<u64> {
        let reasons = stream["dropped"].as_object()?.values();
        reasons.map(Value::as_u64).sum()
    };
    let sum = || -> Option<u64> {
        Some(figure("kept")? + figure("sampled_out")? + figure("rate_limited")? + dropped()?)
    };
    figure("seen").is_some() && figure("seen") == sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn distribution(unit: &str) -> Value {
        json!({ "unit": unit, "p50": 1, "p90": 2, "p99": 2, "p999": 2, "max": 2, "sum": 3, "count": 2 })
    }

    fn unit() -> Value {
        let (ns, bytes, count) = (
            distribution("ns"),
            distribution("bytes"),
            distribution("count"),
        );
        let mut cpu = ns.clone();
        cpu["sampled"] = json!(1);
        json!({
            "type": "unit", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "seconds": 10.5, "unit": "request", "target": "shop::http", "count": 2, "errors": 0,
            "in_flight": 0, "in_flight_max": 1,
            "metrics": {
                "wall": ns, "busy": ns, "wakeups": count, "retries": count, "allocs": count,
                "alloc_bytes": bytes, "peak_bytes": null, "cpu": cpu,
                "context_switches_voluntary": null, "context_switches_involuntary": null,
                "io_calls": null, "io_bytes": null,
            },
            "boundaries": {
                "db.query": { "calls": count, "bytes_sent": bytes, "bytes_received": bytes },
            },
        })
    }

    /// Of a kind of which no unit ended, and some are in progress.
    fn in_progress() -> Value {
        let mut unit = unit();
        for metric in unit["metrics"]
            .as_object_mut()
            .expect("it is one")
            .values_mut()
        {
            *metric = Value::Null;
        }
        unit["count"] = json!(0);
        unit["boundaries"] = json!({});
        unit["in_progress"] = json!({
            "count": 2,
            "costs": {
                "wall": 9, "busy": 5, "wakeups": 3, "retries": 0, "allocs": null, "alloc_bytes": null,
            },
            "boundaries": { "redis": { "calls": 1, "bytes_sent": 2, "bytes_received": 3 } },
        });
        unit
    }

    fn ledger() -> Value {
        let stream = json!({
            "seen": 7, "kept": 3, "sampled_out": 0, "rate_limited": 1, "dropped": { "full": 3 },
        });
        json!({
            "type": "ledger", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "units": stream, "events": stream, "exemplars": stream, "records": stream,
            "event_probability": 0.25,
            "untold": { "entry_never_left": 2 },
            "panics": 0,
            "cost": {
                "cpu_seconds": 0.5, "bytes": 12, "ns_per_unit": null, "ns_per_unit_is": "cpu", "cpu_reading_ns": 500,
                "live_bytes": 70000,
            },
        })
    }

    fn exemplar() -> Value {
        let metrics = [
            "wall",
            "busy",
            "wakeups",
            "retries",
            "allocs",
            "alloc_bytes",
            "peak_bytes",
        ];
        let mut costs: Value = metrics.iter().map(|m| (m.to_string(), json!(3))).collect();
        costs["cpu"] = Value::Null;
        json!({
            "type": "exemplar", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "id": "5f3a", "unit": "request", "target": "shop::http", "why": ["error", "slow"],
            "weight": 12.0, "error": true, "costs": costs,
            "boundaries": { "db": { "calls": 1, "bytes_sent": 2, "bytes_received": 3 } },
            "spans": [{
                "id": 0, "parent": null, "name": "request", "target": "shop::http", "start_ns": 1,
                "end_ns": null, "busy_ns": 0, "entries": 1, "fields": { "path": "/", "n": 1.5 },
            }],
            "events": [{
                "at_ns": 4, "level": "ERROR", "target": "shop", "line": 12, "span": 0,
                "message": null, "fields": {},
            }],
            "complete": true,
        })
    }

    fn event() -> Value {
        json!({
            "type": "event", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "level": "WARN", "target": "shop", "location": "src/shop.rs:12", "message": "late",
            "fields": { "paid": false }, "unit": null, "weight": 1.0,
        })
    }

    fn suppressed() -> Value {
        json!({
            "type": "suppressed", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "level": "INFO", "target": "shop", "location": null, "count": 12,
            "first": "2026-11-21T15:32:37.684Z", "last": "2026-11-21T15:32:38.684Z",
        })
    }

    fn finding() -> Value {
        json!({
            "type": "finding", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "finding": "over_budget", "unit": "request", "target": "shop",
            "message": "too much",
            "budget": {
                "metric": "calls.\"db\"", "statistic": "max", "unit_of_measure": "count",
                "limit": 3.0, "worst": 7, "over": 2, "of": 100, "holds": false,
            },
            "exemplar": "5f3a",
        })
    }

    fn incident(phase: &str) -> Value {
        let culprit = json!({
            "unit": "request", "site": "shop::cache (src/cache.rs:12)", "inuse_bytes": 1e6,
            "alloc_bytes": 1.5e6, "stack": ["shop::cache (src/cache.rs:12)"],
        });
        let end = json!({
            "by": "ttl", "seconds": 60.0,
            "cost": {
                "cpu_seconds": 0.5, "report_cpu_seconds": null, "bytes": 1, "exemplars": 2, "events": 3, "heap_samples": 4,
                "shed": 0,
            },
            "heap": {
                "files": ["/tmp/a.heap.pb.gz"], "error": null, "unwinding": "frame pointers",
                "inuse_growth_bytes": -5.0, "grew": [culprit], "allocated": [],
            },
        });
        json!({
            "type": "incident", "v": 1, "ts": "2026-11-21T15:32:38.684Z", "service": "shop",
            "phase": phase, "id": 1, "who": "api", "why": "",
            "scope": { "unit": "request", "target": null, "fields": { "user": "7" } },
            "ttl_seconds": 60.0, "heap_mean_bytes": 524288,
            "end": if phase == "end" { end } else { Value::Null },
        })
    }

    #[test]
    fn records_are_read_back_where_numbers_keep_their_digits() {
        use telemetry::record::{Lines, Record, Snapshot};

        for record in [unit(), in_progress(), ledger()] {
            let text = record.to_string();
            let read = Lines::new(text.as_bytes()).next().expect("a line");
            let read = read.expect("a record");
            let again = serde_json::to_string(&read).expect("it is JSON");
            let by_itself: Record = serde_json::from_str(&again).expect("the same record");
            assert_eq!(by_itself, read);
        }
        let (layer, telemetry) = telemetry::Telemetry::builder()
            .build()
            .expect("it is built");
        drop(layer);
        let text = serde_json::to_string(&telemetry.snapshot()).expect("it is JSON");
        let read: Snapshot = serde_json::from_str(&text).expect("a snapshot");
        assert_eq!(read.envelope.resource.service, "service");
    }

    #[test]
    fn what_is_right_passes() {
        let mut unknown = finding();
        unknown["finding"] = json!("unknown_unit");
        unknown.as_object_mut().expect("it is one").remove("budget");
        let records = [
            unit(),
            in_progress(),
            exemplar(),
            event(),
            suppressed(),
            finding(),
            unknown,
            incident("begin"),
            incident("end"),
            ledger(),
        ];
        for record in records {
            assert_eq!(faults(&schema(), &record.to_string()), [""; 0]);
        }
    }

    #[test]
    fn each_of_these_makes_a_record_wrong() {
        for (what, mut record, at, value) in [
            ("another type", unit(), "/type", json!("units")),
            ("another version", unit(), "/v", json!(2)),
            ("a local time", unit(), "/ts", json!("2026-11-21 15:32:38")),
            ("no units", unit(), "/count", json!(0)),
            (
                "nobody in progress",
                in_progress(),
                "/in_progress/count",
                json!(0),
            ),
            (
                "work of nobody",
                in_progress(),
                "/metrics/wall",
                distribution("ns"),
            ),
            (
                "a text for a cost",
                in_progress(),
                "/in_progress/costs/busy",
                json!("5"),
            ),
            ("a negative figure", unit(), "/errors", json!(-1)),
            ("an unknown wall time", unit(), "/metrics/wall", Value::Null),
            ("time in bytes", unit(), "/metrics/cpu/unit", json!("bytes")),
            ("a fraction", unit(), "/metrics/wall/p50", json!(1.5)),
            (
                "bytes as calls",
                unit(),
                "/boundaries/db.query/calls/unit",
                json!("bytes"),
            ),
            ("no stream", ledger(), "/units", json!({})),
            (
                "a stream that does not add up",
                ledger(),
                "/events/kept",
                json!(4),
            ),
            ("text for a cost", ledger(), "/cost/bytes", json!("12")),
            ("no event at all", ledger(), "/event_probability", json!(0)),
            ("no reason", exemplar(), "/why", json!([])),
            ("another reason", exemplar(), "/why/0", json!("because")),
            ("less than itself", exemplar(), "/weight", json!(0.5)),
            ("a negative cost", exemplar(), "/costs/wall", json!(-1)),
            (
                "a nested field",
                exemplar(),
                "/spans/0/fields/path",
                json!({}),
            ),
            (
                "a span's time as text",
                exemplar(),
                "/spans/0/start_ns",
                json!("1"),
            ),
            ("another level", event(), "/level", json!("FATAL")),
            ("none suppressed", suppressed(), "/count", json!(0)),
            ("another finding", finding(), "/finding", json!("slow")),
            (
                "another statistic",
                finding(),
                "/budget/statistic",
                json!("p98"),
            ),
            ("no number", finding(), "/budget/limit", json!("3")),
            ("another phase", incident("end"), "/phase", json!("middle")),
            ("an end without one", incident("end"), "/end", Value::Null),
            (
                "an end at the beginning",
                incident("end"),
                "/phase",
                json!("begin"),
            ),
            ("no time", incident("begin"), "/ttl_seconds", json!(0)),
            ("another end", incident("end"), "/end/by", json!("boredom")),
            (
                "bytes as text",
                incident("end"),
                "/end/heap/grew/0/inuse_bytes",
                json!("1 MiB"),
            ),
        ] {
            *record.pointer_mut(at).expect("it is there") = value;
            assert!(
                !faults(&schema(), &record.to_string()).is_empty(),
                "{what} passes"
            );
        }
        let mut more = unit();
        more["surprise"] = json!(1);
        assert!(!faults(&schema(), &more.to_string()).is_empty());
        assert!(!faults(&schema(), "{").is_empty());
    }
}
