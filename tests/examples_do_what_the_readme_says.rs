//! The examples as a user runs them: built by `cargo test`, started as programs.

mod scratch;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> Command {
    // target/<profile>/deps/<this test> -> target/<profile>/examples/<name>
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "{} is not built: run `cargo test --all-features`",
        path.display()
    );
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, text)
}

fn records(path: &PathBuf) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn unit_record<'a>(records: &'a [serde_json::Value], unit: &str) -> &'a serde_json::Value {
    let is_it = |r: &&serde_json::Value| r["type"] == "unit" && r["unit"] == unit;
    records.iter().find(is_it).unwrap()
}

/// The calls of a boundary at p50, from the records.
fn calls(records: &[serde_json::Value], unit: &str, boundary: &str) -> u64 {
    let record = unit_record(records, unit);
    record["boundaries"][boundary]["calls"]["p50"]
        .as_u64()
        .unwrap()
}

#[test]
fn checkout_loads_itself_and_shows_which_routes_are_bad() {
    let directory = scratch::directory("checkout");
    let json = directory.join("records.jsonl");
    let (output, text) = run(example("checkout")
        .args(["--requests", "600", "--connections", "4", "--json"])
        .arg(&json));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("600 requests over 4 connections"), "{text}");
    for unit in [
        "POST /orders",
        "POST /orders/import",
        "GET /orders/{id}",
        "GET /orders/{id}/invoice",
        "GET /report",
        "GET /coupons/{code}",
        "job settle",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(unit)),
            "{unit}: {text}"
        );
    }
    assert_eq!(
        text.contains("not tracked"),
        cfg!(not(feature = "track")),
        "{text}"
    );
    assert!(
        text.contains(&json.display().to_string()),
        "says where the records are"
    );

    let records = records(&json);
    let ledger = records.iter().rfind(|r| r["type"] == "ledger").unwrap();
    assert!(ledger["units"]["seen"].as_u64().unwrap() >= 600);
    assert_eq!(ledger["units"]["seen"], ledger["units"]["kept"]);
    assert_eq!(calls(&records, "GET /orders/{id}", "db.query"), 2);
    assert!(calls(&records, "GET /orders/{id}/invoice", "db.query") > 5);
    let coupons = unit_record(&records, "GET /coupons/{code}");
    assert!(coupons["errors"].as_u64().unwrap() > 0);
    let allocs = |unit: &str| unit_record(&records, unit)["metrics"]["alloc_bytes"]["p50"].as_u64();
    // What is bad is found, with a request that shows it.
    let finding = records
        .iter()
        .find(|r| r["type"] == "finding" && r["unit"] == "GET /orders/{id}/invoice")
        .unwrap();
    assert_eq!(finding["budget"]["metric"], "calls.\"db.query\"");
    let exemplar = records
        .iter()
        .find(|r| r["type"] == "exemplar" && r["id"] == finding["exemplar"])
        .unwrap();
    assert_eq!(exemplar["spans"][0]["name"], "GET /orders/{id}/invoice");
    assert_eq!(exemplar["spans"][1]["name"], "database");
    assert!(text.contains("Over budget:"), "{text}");

    assert_eq!(allocs("POST /orders").is_some(), cfg!(feature = "track"));
    if cfg!(feature = "track") {
        assert!(allocs("POST /orders/import") > allocs("POST /orders"));
    }
}

#[test]
fn checkout_refuses_what_is_wrong_before_anything_starts() {
    let directory = scratch::directory("untracked");
    let json = directory.join("missing/records.jsonl");
    let (output, text) = run(example("checkout").arg("--json").arg(&json));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("records.jsonl") && text.contains("cannot open"),
        "{text}"
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (output, text) = run(example("checkout").args(["--listen", &address]));
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&address) && text.contains("in use"), "{text}");

    let (output, text) = run(example("checkout").args(["--units", "checkout=loud"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("checkout=loud") && text.contains("does not parse"),
        "{text}"
    );
}

#[test]
#[cfg(unix)]
fn checkout_serves_until_sigterm_and_then_prints_the_table() {
    let mut service = example("checkout")
        .arg("--serve")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(service.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let request = |head: &str, body: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let order = r#"{"customer":"you","lines":[{"sku":"SKU-0001","quantity":2}]}"#;
    let answer = request("POST /orders", order);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"cents\":202"),
        "{answer}"
    );
    assert!(request("GET /orders/1/invoice", "").starts_with("HTTP/1.1 200"));
    assert!(request("GET /orders/999999", "").starts_with("HTTP/1.1 404"));
    assert!(request("GET /coupons/NONE", "").starts_with("HTTP/1.1 500"));
    assert!(request("POST /orders", "{").starts_with("HTTP/1.1 400"));

    let pid = service.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(service.wait().unwrap().success(), "{rest}");
    let row = |unit: &str| {
        rest.lines()
            .find(|l| l.starts_with(unit))
            .map(str::to_owned)
    };
    let words: Vec<String> = row("POST /orders")
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(&words[2..4], ["2", "0"], "{rest}");
    assert!(row("GET /coupons/{code}").is_some(), "{rest}");
    assert!(rest.contains("records are in"), "{rest}");
}

#[test]
fn ingest_reads_files_and_makes_each_a_unit() {
    let directory = scratch::directory("ingest");
    for n in 0..30 {
        let name = if n % 3 == 0 {
            format!("{n}.rs")
        } else {
            format!("{n}.md")
        };
        std::fs::write(directory.join(name), "one two\nthree\n").unwrap();
    }
    let json = directory.join("records.jsonl");
    let (output, text) = run(example("ingest").arg(&directory).arg("--json").arg(&json));
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("30 files") || text.contains("31 files"),
        "{text}"
    );
    let records = records(&json);
    let count = |unit| records.iter().find(|r| r["unit"] == unit).unwrap()["count"].as_u64();
    assert_eq!((count("rust source"), count("text")), (Some(10), Some(20)));
    assert_eq!(calls(&records, "text", "fs.read"), 1);

    let (output, text) = run(example("ingest").arg("/no/such/place"));
    assert!(!output.status.success());
    assert!(
        text.contains("/no/such/place") && text.contains("cannot read"),
        "{text}"
    );
}

#[test]
fn spawns_has_the_work_of_every_kind_of_spawn_in_its_unit() {
    let (output, text) = run(&mut example("spawns"));
    assert!(output.status.success(), "{text}");
    let rows: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 10, "{text}");
    for row in rows {
        let figures: Vec<i64> = row
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        if !cfg!(feature = "track") {
            assert!(row.ends_with("not tracked"), "{row}");
            continue;
        }
        let [.., allocated, live] = figures[..] else {
            panic!("two figures in {row:?}");
        };
        let expected = if row.contains("nobody's") { 0 } else { 1 << 20 };
        // The spawns themselves allocate a little.
        assert!((expected..expected + 64_000).contains(&allocated), "{row}");
        assert!(live.abs() < 64_000, "{row}");
    }
}

#[cfg(feature = "profile")]
#[test]
fn incident_finds_the_leak_and_the_storm_by_itself() {
    let directory = scratch::directory("incident");
    let json = directory.join("records.jsonl");
    let (output, text) = run(example("incident")
        .args([
            "--flush-every",
            "200",
            "--incident",
            // Long enough for what leaks to be more than what connections keep.
            "3000",
            "--heap",
            "16384",
        ])
        .arg("--directory")
        .arg(&directory)
        .arg("--json")
        .arg(&json));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("by trigger: live bytes grew by"), "{text}");
    let after = |what: &str| text.split(what).nth(1).unwrap_or_default();
    for (what, function) in [("What leaks", "remember"), ("What storms", "rank")] {
        let culprit = after(what).lines().nth(1).unwrap_or_default();
        assert!(
            culprit.contains("unit GET /recommendations/{customer}"),
            "{what}: {text}"
        );
        // The storm's innermost frame is a closure of the function.
        let stack: Vec<&str> = after(what).lines().skip(1).take(6).collect();
        assert!(
            stack.iter().any(|line| line.contains(function)),
            "{what}: {text}"
        );
    }
    let records = records(&json);
    let phases: Vec<_> = (records.iter().filter(|r| r["type"] == "incident"))
        .map(|r| r["phase"].as_str().unwrap())
        .collect();
    assert_eq!(phases, ["begin", "end"]);
    for line in text.lines().filter(|line| line.contains("-incident-1.")) {
        assert!(
            std::fs::metadata(line.trim()).unwrap().len() > 100,
            "{line}"
        );
    }
    assert!(
        text.contains(".heap.pb.gz") && text.contains(".growth.svg"),
        "{text}"
    );
}
