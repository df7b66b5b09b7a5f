//! Names come from strangers: routes, boundaries, files. In what a person reads on a terminal they can
//! neither end a line nor write an escape sequence.

use std::time::Duration;
use telemetry::export::IncidentRecord;
use telemetry::{Budgets, Incident, Telemetry, Trigger, call, export};
use tracing::info_span;
use tracing_subscriber::prelude::*;

const NASTY: &str = "two\nlines \u{1b}[2J\u{9b}31m\u{2028}\u{202e}";

/// A text of one line at most, that no terminal obeys.
fn is_plain(text: &str) -> bool {
    let turns = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.contains(|c: char| c.is_control() || turns(c))
}

#[test]
fn a_table_has_its_rows_and_columns_whatever_names_are_in_it() {
    let budgets: Budgets =
        "[unit.\"two\\nlines \\u001b[2J\"]\nerrors.rate = 0.1\ncalls.\"db\\n\\u001b[0m\".max = 0"
            .parse()
            .unwrap();
    let (layer, telemetry) = Telemetry::builder().budgets(budgets).build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        info_span!("two\nlines \u{1b}[2J").in_scope(|| {
            drop(call!("db\n\u{1b}[0m"));
            tracing::error!("it fails");
        });
        info_span!("注文の一覧 🦀").in_scope(|| ());
        info_span!(target: "a\u{1b}c", "namesake").in_scope(|| ());
        info_span!(target: "b\rc", "namesake").in_scope(|| ());
    });
    let table = telemetry.snapshot().to_string();
    let (rows, rest) = table.split_once("\n\n").unwrap();
    // The head, the rule, and three for each kind.
    assert_eq!(rows.lines().count(), 2 + 3 * 4, "{table}");
    assert!(table.lines().all(is_plain), "{table:?}");
    assert!(rows.contains("two\\nlines \\u{1b}[2J"), "{table}");
    assert!(rows.contains("db\\n\\u{1b}[0m calls"), "{table}");
    assert!(rest.contains("Over budget:\n  two\\nlines"), "{table}");
    // Columns are straight: the counts end below `count`, two columns a wide character.
    let end = rows.lines().next().unwrap().find("count").unwrap() + "count".len();
    let wide = rows.lines().find(|row| row.contains('注')).unwrap();
    let columns = wide.split_inclusive('1').next().unwrap().chars();
    let columns: usize = columns.map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    assert_eq!(columns, end, "{table}");
}

#[test]
fn messages_of_errors_are_lines_whatever_they_quote() {
    let filter = format!("info,{NASTY}=debug").parse::<telemetry::EventFilter>();
    let not_toml = format!("[unit.{NASTY}]").parse::<Budgets>();
    let no_metric = "[unit.\"a\\nb\"]\n\"c\\u001b[2J\".max = 1".parse::<Budgets>();
    let no_file = Budgets::from_path(format!("/nowhere/{NASTY}"));
    let no_records = export::json_lines_file(format!("/nowhere/{NASTY}"));
    let no_incident = format!("for=60s&{NASTY}=1").parse::<Incident>();
    let no_time = format!("for={NASTY}").parse::<Incident>();
    for message in [
        filter.unwrap_err().to_string(),
        not_toml.unwrap_err().to_string(),
        no_metric.unwrap_err().to_string(),
        no_file.unwrap_err().to_string(),
        no_records.err().unwrap().to_string(),
        no_incident.unwrap_err().to_string(),
        no_time.unwrap_err().to_string(),
    ] {
        assert!(is_plain(&message), "{message:?}");
    }
}

#[test]
fn reports_of_incidents_are_what_they_are_whatever_is_in_them() {
    let text = serde_json::json!({
        "v": 1, "ts": "", "service": NASTY, "phase": "end", "id": 1, "who": NASTY, "why": NASTY,
        "scope": {"unit": null, "target": null, "fields": {}}, "ttl_seconds": 1.0, "heap_mean_bytes": 1,
        "end": {
            "by": NASTY, "seconds": 1.0,
            "cost": {"cpu_seconds": null, "report_cpu_seconds": null, "bytes": 0, "exemplars": 3,
                     "events": 0, "heap_samples": 5, "shed": 0},
            "heap": {
                "files": [NASTY], "error": NASTY, "unwinding": NASTY, "inuse_growth_bytes": 1048576.0,
                "grew": [{"unit": NASTY, "site": NASTY, "inuse_bytes": 1.0, "alloc_bytes": 1.0, "stack": [NASTY]}],
                "allocated": [{"unit": null, "site": NASTY, "inuse_bytes": 1.0, "alloc_bytes": 1.0, "stack": []}],
            },
        },
    });
    let mut record: IncidentRecord = serde_json::from_value(text).unwrap();
    let report = record.to_string();
    assert!(report.lines().all(is_plain), "{report:?}");
    assert!(report.contains("kept 3 requests in detail"), "{report}");
    assert!(report.contains("What leaks: 1.0 MiB"), "{report}");
    assert_eq!(report.lines().count(), 12, "{report}");
    record.end = None;
    assert!(is_plain(&record.to_string()), "{record}");
}

#[test]
fn a_trigger_says_why_in_one_line() {
    let incident = Incident::for_(Duration::from_secs(60));
    // What turns the reading direction is in no name that a trigger takes.
    let name = NASTY.replace('\u{202e}', "!");
    let trigger = Trigger::p99_above(name, Duration::from_nanos(1));
    let builder = Telemetry::builder().trigger(trigger, incident);
    let (layer, telemetry) = builder.build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        info_span!("two\nlines \u{1b}[2J\u{9b}31m\u{2028}!").in_scope(|| ());
    });
    telemetry.flush();
    let [record] = &telemetry.incidents()[..] else {
        panic!("one incident began");
    };
    assert!(is_plain(&record.why), "{:?}", record.why);
}
