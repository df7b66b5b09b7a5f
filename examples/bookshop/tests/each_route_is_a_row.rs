//! What the author of the service sees: a row for each route, what is outside, and which budgets are broken.

#[path = "../../../tests/documents/mod.rs"]
#[allow(dead_code)] // it has more than is used here
mod documents;

use documents::shape;
use std::process::Command;
use telemetry::record::{FindingKind, Lines, Record};

#[test]
fn and_the_handlers_know_nothing_of_it() {
    let records = std::env::temp_dir().join(format!("bookshop-{}.jsonl", std::process::id()));
    let mut shop = Command::new(env!("CARGO_BIN_EXE_bookshop"));
    shop.arg("1000").env("RUST_LOG", "warn");
    let output = shop.env("LIGHTWEIGHT_RECORDS", &records).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{table}{said}");

    // It says in one line what was set up, and logs are by `RUST_LOG`.
    let set_up = said.lines().next().unwrap();
    assert!(
        set_up.starts_with("telemetry of bookshop; records to "),
        "{said}"
    );
    assert!(set_up.contains("RUST_LOG=warn"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    for (route, count) in [
        ("GET /books", 200),
        ("GET /books/{id}", 300),
        ("GET /covers/{id}", 200),
        ("POST /orders", 200),
        ("GET /report", 100),
    ] {
        let row = format!("request {route} ");
        let row = table.lines().find(|line| line.starts_with(&row));
        let row: Vec<_> = row
            .unwrap_or_else(|| panic!("{route}: {table}"))
            .split_whitespace()
            .collect();
        assert_eq!(row[3], count.to_string(), "{table}");
    }
    assert!(!table.contains("other"), "{table}");

    // What tasks, blocking threads and the set spawned is in the routes.
    let (_, outside) = table.split_once("Outside of every unit: ").unwrap();
    let (share, _) = outside.split_once(" % of the process's").unwrap();
    let (_, share) = share.rsplit_once(' ').unwrap();
    assert!(share.parse::<f64>().unwrap() < 5.0, "{table}");
    assert!(
        outside.contains("tokio-rt-worker: ") && outside.contains("sqlx-sqlite-wor: "),
        "{table}"
    );

    // Of the budgets only that of the route is broken that asks once for each book.
    let (_, broken) = table.split_once("Over budget:\n").unwrap();
    let broken: Vec<_> = broken.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(broken.len(), 1, "{table}");
    assert!(
        broken[0].contains("request GET /report  allocs.p99: limit 150"),
        "{table}"
    );

    // And so the records say.
    let file = std::io::BufReader::new(std::fs::File::open(&records).unwrap());
    let read = Lines::new(file).map(Result::unwrap);
    let mut traces = 0;
    let findings = read.filter_map(|record| match record {
        Record::Finding(finding) => Some((finding.finding, finding.unit)),
        Record::Exemplar(exemplar) => {
            // Where OpenTelemetry has it, whether that sends it or not.
            let trace = exemplar.trace_id.unwrap();
            assert!(trace.len() == 32 && trace != "0".repeat(32), "{trace}");
            traces += 1;
            None
        }
        _ => None,
    });
    let findings: Vec<_> = findings.collect();
    assert!(traces > 0);
    assert!(!findings.is_empty());
    for (kind, unit) in &findings {
        assert_eq!(
            (*kind, unit.as_str()),
            (FindingKind::OverBudget, "request GET /report")
        );
    }
    // As `docs/start.md` has it typed.
    let grep = format!("grep '\"type\":\"finding\"' {}", records.display());
    let found = Command::new("sh").args(["-c", &grep]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.lines().count(), findings.len(), "{found}");
    std::fs::remove_file(records).unwrap();

    // And the page shows such a table.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/start.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, shown) = page.split_once("prints:\n\n```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let sorted = |text: &str| {
        let mut lines = shape(text);
        lines.sort();
        lines
    };
    assert_eq!(sorted(shown), sorted(table.trim_end()), "{table}");
}
