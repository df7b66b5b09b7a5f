//! `telemetry::init` against the same put together by hand, each in a process of its own.
#![cfg(all(feature = "init", target_os = "linux"))]

use std::process::{Command, Output};
use telemetry::{Lean, Telemetry, export};
use tracing::{debug_span, info, info_span, warn};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{fmt, registry};

const HOW: &str = "TEST_HOW";

fn work() {
    info_span!("job", n = 1).in_scope(|| {
        info!(target: "shop", "in the job");
        debug_span!("inside").in_scope(|| warn!(target: "shop", "deeper"));
    });
    let request =
        debug_span!(target: "tower_http::trace::make_span", "request", method = "GET", uri = "/a");
    request.in_scope(|| info!(target: "shop", "in the request"));
}

/// Does nothing unless the program was run by another test.
#[test]
fn this_program_again() {
    let Ok(how) = std::env::var(HOW) else {
        return;
    };
    let telemetry = match how.as_str() {
        "by hand" => {
            let logs = fmt::layer().with_writer(std::io::stderr);
            let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
            let mut builder = Telemetry::builder().service("shop").flush_on_termination();
            if let Ok(path) = std::env::var("LIGHTWEIGHT_RECORDS") {
                builder = builder.export(export::json_lines_file(path).unwrap());
            }
            let (layer, telemetry) = builder.build().unwrap();
            let logs = logs.with_filter(filter.from_env_lossy());
            Lean::new(registry().with(logs).with(layer)).init();
            telemetry
        }
        _ => telemetry::init("shop").unwrap(),
    };
    work();
    if how == "twice" {
        let error = telemetry::init("shop").unwrap_err();
        assert!(matches!(error, telemetry::InitError::IsSet(_)), "{error:?}");
        assert!(error.to_string().contains("takes the place of"), "{error}");
        return;
    }
    let snapshot = telemetry.snapshot();
    let units = snapshot.units.iter();
    let mut units: Vec<_> = units.map(|unit| (&unit.unit, unit.count)).collect();
    // The snapshot has them by their wall time, which is another one each time.
    units.sort();
    println!("units: {units:?}");
    // The process ends by the signal, and the records are there.
    // SAFETY: it has no conditions.
    unsafe { libc::raise(libc::SIGTERM) };
    loop {
        std::thread::park();
    }
}

fn run(how: &str, logs: Option<&str>, records: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "this_program_again", "--nocapture"])
        .env(HOW, how)
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG")
        .env_remove("LIGHTWEIGHT_RECORDS");
    command.envs(logs.map(|logs| ("RUST_LOG", logs)));
    command.envs(records.map(|records| ("LIGHTWEIGHT_RECORDS", records)));
    command.output().unwrap()
}

/// Lines of standard error without the time before them, and those of telemetry's own.
fn logs(output: &Output) -> (Vec<String>, Vec<String>) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = text.lines().map(str::to_owned);
    let (said, logs): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("telemetry of"));
    let logs = logs.iter().map(|line| match line.split_once("Z ") {
        Some((_, line)) => line.to_owned(),
        None => line.clone(),
    });
    (said, logs.collect())
}

fn units(path: &std::path::Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(path).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let units = records.filter(|record| record["type"] == "unit");
    let mut units: Vec<_> = units
        .map(|unit| {
            assert_eq!(unit["service"], "shop");
            let name = unit["unit"].as_str().unwrap().to_owned();
            (name, unit["count"].as_u64().unwrap())
        })
        .collect();
    units.sort();
    units
}

#[test]
fn both_show_the_same_logs_and_write_the_same_records() {
    for variable in [None, Some("warn"), Some("info,shop=off"), Some("debug")] {
        let directory = tempfile::tempdir().unwrap();
        let files = ["by hand", "in one line"].map(|how| directory.path().join(how));
        let path = |n: usize| files[n].to_str();
        let by_hand = run("by hand", variable, path(0));
        let in_one_line = run("in one line", variable, path(1));
        let (said, shown) = logs(&in_one_line);
        assert_eq!(shown, logs(&by_hand).1, "{variable:?}");
        assert_eq!(said.len(), 1);
        let expected = [("job".to_owned(), 1), ("request GET /a".to_owned(), 1)];
        assert_eq!(units(&files[0]), expected, "{variable:?}");
        assert_eq!(units(&files[1]), expected, "{variable:?}");
        assert_eq!(in_one_line.stdout, by_hand.stdout);
        assert!(!in_one_line.status.success() && in_one_line.status == by_hand.status);
    }
}

#[test]
fn it_says_in_one_line_what_was_set_up() {
    let (said, shown) = logs(&run("in one line", None, None));
    let expected = "telemetry of shop; no records (LIGHTWEIGHT_RECORDS names no file); logs to standard error \
                    (info; RUST_LOG says nothing); allocations are not counted: install \
                    alloc_tracker::AllocTracker";
    assert_eq!(said, [expected]);
    assert_eq!(shown.len(), 3, "{shown:?}");
}

#[test]
fn a_second_one_is_an_error() {
    let output = run("twice", None, None);
    assert!(output.status.success(), "{output:?}");
}
