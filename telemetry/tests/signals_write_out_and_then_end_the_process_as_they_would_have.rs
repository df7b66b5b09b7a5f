//! A service is ended by SIGTERM or Ctrl-C, to which nobody, the runtime or the program listens.
#![cfg(all(feature = "signal", target_os = "linux"))]

mod patience;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use telemetry::export::{self, Exporter, Flush};
use telemetry::{Builder, Telemetry};
use tracing::info_span;
use tracing_subscriber::prelude::*;

const HOW: &str = "TEST_HOW";
const FILE: &str = "TEST_FILE";

/// Has the program work as `how` says, sends it the signal (twice, if it says so), and returns how it ended and how
/// many units it wrote.
fn run(how: &str) -> (ExitStatus, u64) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("records.jsonl");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "this_program_again", "--nocapture"])
        .env(HOW, how)
        .env(FILE, &file)
        .spawn()
        .unwrap();
    let is_ready = directory.path().join("records.jsonl.ready");
    patience::until(|| is_ready.exists());
    let signal = match how {
        "interrupted" => libc::SIGINT,
        _ => libc::SIGTERM,
    };
    let terminate = || {
        // SAFETY: it is a child of ours that nobody has waited for.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    };
    terminate();
    if how == "twice" {
        let is_at_work = directory.path().join("records.jsonl.blocked");
        patience::until(|| is_at_work.exists());
        terminate();
    }
    let mut status = None;
    patience::until(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let text = std::fs::read_to_string(&file).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let units = records.filter(|record| record["type"] == "unit");
    let units = units.map(|unit| unit["count"].as_u64().unwrap()).sum();
    (status.unwrap(), units)
}

struct Blocks(String);

impl Exporter for Blocks {
    fn name(&self) -> &str {
        "blocks"
    }

    fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
        std::fs::write(&self.0, "")?;
        loop {
            std::thread::park();
        }
    }
}

fn builder(file: &str) -> Builder {
    Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(export::json_lines_file(Path::new(file)).unwrap())
        .flush_on_termination()
}

/// Does nothing unless the program was run by another test.
#[test]
fn this_program_again() {
    let (Ok(how), Ok(file)) = (std::env::var(HOW), std::env::var(FILE)) else {
        return;
    };
    let tokio = tokio::runtime::Builder::new_current_thread().build();
    let tokio = tokio.unwrap();
    let listens = Arc::new(AtomicBool::new(false));
    let listen = || {
        let listens = Arc::clone(&listens);
        signal_hook::flag::register(libc::SIGTERM, listens).unwrap();
    };
    match how.as_str() {
        // SAFETY: it has no conditions.
        "ignored" => unsafe {
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
        },
        "listened to before" => listen(),
        _ => {}
    }
    let mut builder = builder(&file);
    if matches!(how.as_str(), "blocked" | "twice") {
        builder = builder.export(Blocks(format!("{file}.blocked")));
    }
    let (layer, telemetry) = builder.build().unwrap();
    // Another one in the same process, which has nothing to write, and one that is over.
    let (_other_layer, _other) = self::builder("/dev/null").build().unwrap();
    let (over_layer, over) = self::builder("/dev/null").build().unwrap();
    drop((over_layer, over));
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    if how == "listened to later" {
        listen();
    }
    (0..7).for_each(|_| info_span!("job").in_scope(|| ()));
    if how == "forked" {
        // SAFETY: the child does what may be done in one: it waits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                std::thread::park();
            }
        }
        let mut status = 0;
        // SAFETY: it is our child, and `status` is there for the call.
        unsafe {
            libc::kill(child, libc::SIGTERM);
            libc::waitpid(child, &mut status, 0);
        }
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGTERM);
    }
    std::fs::write(format!("{file}.ready"), "").unwrap();
    match how.as_str() {
        "listened to before" | "listened to later" => {
            tokio.block_on(async {
                while !listens.load(SeqCst) {
                    tokio::task::yield_now().await;
                }
            });
            // What is done until the program ends is written as ever.
            info_span!("job").in_scope(|| ());
            drop(telemetry);
            std::process::exit(3);
        }
        "ignored" => {
            // It came before, or never.
            telemetry.flush();
            std::process::exit(4);
        }
        // The main thread is at work; nobody helps.
        _ => loop {
            Barrier::new(2).wait();
        },
    }
}

#[test]
fn a_program_that_does_not_listen_ends_by_the_signal_with_all_it_had_written() {
    let (status, units) = run("plain");
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 7));
}

#[test]
fn so_it_does_by_ctrl_c() {
    let (status, units) = run("interrupted");
    assert_eq!((status.signal(), units), (Some(libc::SIGINT), 7));
}

#[test]
fn who_listens_goes_on_and_ends_by_himself() {
    for how in ["listened to before", "listened to later"] {
        let (status, units) = run(how);
        assert_eq!((status.code(), units), (Some(3), 8), "{how}");
    }
}

#[test]
fn an_exporter_that_blocks_holds_the_end_up_for_two_seconds_at_most() {
    let (status, units) = run("blocked");
    // What came before it was written.
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 7));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (status, units) = run("twice");
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 7));
}

#[test]
fn where_it_is_ignored_it_stays_ignored() {
    let (status, units) = run("ignored");
    assert_eq!((status.code(), units), (Some(4), 7));
}

#[test]
fn a_forked_child_ends_by_it_as_any_process() {
    let (status, units) = run("forked");
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 7));
}
