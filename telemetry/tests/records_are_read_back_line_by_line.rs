//! What the exporter of JSON lines wrote is read again; what is no record is an error with its line.

use proptest::prelude::*;
use std::io::{self, BufReader, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::record::{Lines, Record, Why};
use telemetry::{Incident, Telemetry, export};
use tracing::{error, info, info_span};
use tracing_subscriber::prelude::*;

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file with records of every type.
fn every_type() -> Vec<u8> {
    let file = File::default();
    let (layer, telemetry) = Telemetry::builder()
        .service("a \"shop\"")
        .flush_every(Duration::from_secs(3600))
        .trace_sample(1.0)
        .event_rate(1.0, 1)
        .budgets("[unit.pay]\nwakeups.max = 1".parse().unwrap())
        .export(export::json_lines(file.clone()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let incident = Incident::for_(Duration::from_secs(60)).why("to see");
    let id = telemetry.incident(incident.unit("pay")).unwrap();
    for n in 0..20 {
        let span = info_span!("pay", n, text = "ü\n");
        span.in_scope(|| info!(n, "half way"));
        span.in_scope(|| telemetry::call!("db").sent(n));
        if n == 3 {
            span.in_scope(|| error!(n, "went wrong"));
        }
    }
    // Not of the unit that the incident is about: over its limit.
    (0..20).for_each(|n| info_span!("other").in_scope(|| info!(n, "far and wide")));
    telemetry.end_incident(id);
    telemetry.shutdown(Duration::from_secs(10)).unwrap();
    let bytes = file.0.lock().unwrap();
    bytes.clone()
}

#[test]
fn every_type_is_read_as_it_was_written() {
    let file = every_type();
    let text = std::str::from_utf8(&file).unwrap();
    let mut types = std::collections::BTreeSet::new();
    let lines = text.lines().zip(Lines::new(file.as_slice()));
    for (line, record) in lines {
        let written: serde_json::Value = serde_json::from_str(line).unwrap();
        let read = serde_json::to_value(record.unwrap()).unwrap();
        assert_eq!(read, written);
        types.insert(written["type"].as_str().unwrap().to_owned());
    }
    let all = [
        "event",
        "exemplar",
        "finding",
        "incident",
        "ledger",
        "suppressed",
        "unit",
    ];
    assert!(types.iter().map(String::as_str).eq(all), "{types:?}");
    assert_eq!(Lines::new(file.as_slice()).count(), text.lines().count());
}

const LEDGER: &str = r#"{"v":1,"type":"of the future","ts":"2026-01-01T00:00:00.000Z","more":[1]}"#;

#[test]
fn what_is_no_record_is_an_error_with_its_line_and_the_next_one_is_read() {
    let long: &'static str = format!("{{\"v\":1,\"type\":\"{}\"}}", "x".repeat(3 << 20)).leak();
    type Case = (&'static [u8], fn(&Why) -> bool);
    let bad: [Case; 8] = [
        (b"{\"v\":1,\"type\":\"unit\",\"coun", |why| {
            matches!(why, Why::Truncated)
        }),
        (b"not json", |why| matches!(why, Why::NotJson(_))),
        (b"{\"v\":1,\"type\":\"\xff\"}", |why| {
            matches!(why, Why::NotUtf8)
        }),
        (b"{\"v\":2,\"type\":\"unit\"}", |why| {
            matches!(why, Why::Newer(2))
        }),
        (
            b"{\"level\":\"INFO\",\"message\":\"of another program\"}",
            |why| matches!(why, Why::NoRecord(_)),
        ),
        (b"[1, 2]", |why| matches!(why, Why::NoRecord(_))),
        (b"{\"v\":1,\"type\":\"unit\"}", |why| {
            matches!(why, Why::NoRecord(_))
        }),
        (long.as_bytes(), |why| matches!(why, Why::TooLong)),
    ];
    let mut file = Vec::new();
    for (line, _) in &bad {
        file.extend_from_slice(line);
        // A blank line is none, and its number is.
        file.extend_from_slice(format!("\n\n{LEDGER}\n").as_bytes());
    }
    let mut lines = Lines::new(BufReader::new(file.as_slice()));
    for (n, (line, is_so)) in bad.iter().enumerate() {
        let error = lines.next().unwrap().unwrap_err();
        assert!(is_so(error.why()), "{error}: {}", line.len());
        assert_eq!(error.line(), 3 * n as u64 + 1);
        assert!(
            error
                .to_string()
                .starts_with(&format!("line {}: ", error.line()))
        );
        assert_eq!(lines.next().unwrap().unwrap(), Record::Unknown);
    }
    assert!(lines.next().is_none());
}

#[test]
fn a_last_line_without_an_end_is_read_if_it_is_whole() {
    assert_eq!(
        Lines::new(LEDGER.as_bytes()).next().unwrap().unwrap(),
        Record::Unknown
    );
    let torn = &LEDGER.as_bytes()[..40];
    let error = Lines::new(torn).next().unwrap().unwrap_err();
    assert!(matches!(error.why(), Why::Truncated), "{error}");
}

#[test]
fn a_reader_that_fails_ends_it() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let text = format!("{LEDGER}\n");
    let mut lines = Lines::new(BufReader::new(text.as_bytes().chain(Fails)));
    assert!(lines.next().unwrap().is_ok());
    let error = lines.next().unwrap().unwrap_err();
    assert!(matches!(error.why(), Why::Io(_)), "{error}");
    assert!(lines.next().is_none());
}

proptest! {
    #[test]
    fn whatever_is_read_gives_one_answer_a_line(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no end", |b| *b != b'\n'), 0..60), 0..20),
    ) {
        let file = lines.join(&b'\n');
        let answers = Lines::new(file.as_slice()).count();
        let not_blank = lines.iter().filter(|line| !line.trim_ascii().is_empty());
        prop_assert_eq!(answers, not_blank.count());
    }
}
