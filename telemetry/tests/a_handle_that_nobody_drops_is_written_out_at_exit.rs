//! A handle in a `static`, or one that `exit` passes by: what there is is written as the process exits,
//! once, and an exit never hangs.
#![cfg(unix)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;
use telemetry::export::{self, Exporter, Flush};
use telemetry::{Telemetry, TelemetryLayer};
use tracing::info_span;

mod forked;
mod patience;
mod stack;

static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();

/// Says to this program what it is to do, and where to write.
const HOW: &str = "TEST_HOW";
const FILE: &str = "TEST_FILE";

/// Runs this program again, as one that does what `how` says; its end and what it wrote.
fn run(how: &str) -> (ExitStatus, Vec<serde_json::Value>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("records.jsonl");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "this_program_again", "--nocapture"])
        .env(HOW, how)
        .env(FILE, &file)
        .spawn()
        .unwrap();
    let mut status = None;
    patience::until(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (status, records.collect())
}

/// How many units there are in the records.
fn units(records: &[serde_json::Value]) -> u64 {
    let units = records.iter().filter(|record| record["type"] == "unit");
    units.map(|unit| unit["count"].as_u64().unwrap()).sum()
}

fn build(file: &Path, more: impl Exporter + 'static) -> (TelemetryLayer, Telemetry) {
    Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(export::json_lines_file(file).unwrap())
        .export(more)
        .build()
        .unwrap()
}

struct Does(fn());

impl Exporter for Does {
    fn name(&self) -> &str {
        "does"
    }

    fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
        (self.0)();
        Ok(0)
    }
}

/// Not a test of its own: what the others run.
#[test]
fn this_program_again() {
    let (Ok(how), Ok(file)) = (std::env::var(HOW), std::env::var(FILE)) else {
        return;
    };
    let file = PathBuf::from(file);
    let does: fn() = match how.as_str() {
        "blocked" => || loop {
            std::thread::park();
        },
        "an exporter exits" | "an exporter exits at exit" => || std::process::exit(7),
        _ => || (),
    };
    let (layer, telemetry) = build(&file, Does(does));
    let _ = tracing::dispatcher::set_global_default(stack::dispatch(layer));
    info_span!("unit").in_scope(|| ());
    match how.as_str() {
        "static" | "blocked" | "an exporter exits at exit" => {
            let _ = TELEMETRY.set(telemetry);
        }
        "an exporter exits" => telemetry.flush(),
        "forgotten" => std::mem::forget(telemetry),
        "exit" => std::process::exit(3),
        "exit on another thread" => {
            let _ = std::thread::spawn(|| std::process::exit(3)).join();
        }
        "flushed and aborted" => {
            telemetry.flush();
            info_span!("unit").in_scope(|| ());
            std::process::abort();
        }
        "shut down" => {
            telemetry.shutdown(Duration::from_secs(10)).unwrap();
            let _ = TELEMETRY.set(telemetry);
        }
        "a child exits" => {
            let child = forked::child(|| {
                info_span!("unit").in_scope(|| ());
                std::process::exit(5)
            });
            assert_eq!(child, forked::End::Code(5));
            let _ = TELEMETRY.set(telemetry);
        }
        "two" => {
            let (second, other) = build(&file, Does(|| ()));
            tracing::dispatcher::with_default(&stack::dispatch(second), || {
                info_span!("unit").in_scope(|| ());
            });
            std::mem::forget((telemetry, other));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_there_is_is_written_once() {
    for (how, code, written) in [
        ("static", 0, 1),
        ("forgotten", 0, 1),
        ("exit", 3, 1),
        ("exit on another thread", 3, 1),
        ("shut down", 0, 1),
        ("a child exits", 0, 1),
        ("two", 0, 2),
    ] {
        let (status, records) = run(how);
        assert_eq!(status.code(), Some(code), "{how}");
        assert_eq!(units(&records), written, "{how}: {records:?}");
        assert_eq!(records.last().unwrap()["type"], "ledger", "{how}");
    }
}

#[test]
fn what_was_flushed_outlives_an_abort() {
    let (status, records) = run("flushed and aborted");
    assert_eq!(status.code(), None);
    assert_eq!(units(&records), 1, "{records:?}");
}

#[test]
fn an_exit_does_not_hang() {
    for (how, code) in [
        ("blocked", 0),
        ("an exporter exits", 7),
        ("an exporter exits at exit", 0),
    ] {
        let (status, records) = run(how);
        assert_eq!(status.code(), Some(code), "{how}");
        assert_eq!(units(&records), 1, "{how}: {records:?}");
    }
}
