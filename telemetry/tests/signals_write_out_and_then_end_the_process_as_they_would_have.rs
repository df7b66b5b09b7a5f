//! A service is ended by SIGTERM or Ctrl-C, to which nobody, the runtime or the program listens.
#![cfg(all(feature = "signal", target_os = "linux"))]

mod patience;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use telemetry::export::{self, Exporter, Flush};
use telemetry::{Builder, Telemetry};
use tracing::info_span;
use tracing_subscriber::prelude::*;

const HOW: &str = "TEST_HOW";
const FILE: &str = "TEST_FILE";

/// Has the program work as `how` says, sends it the signal (twice, if it says so), and returns how it ended and how
/// many units it wrote.
fn run(how: &str) -> (ExitStatus, u64) {
    let (status, units, _) = run_and_time(how);
    (status, units)
}

/// The same, and how long it took to end.
fn run_and_time(how: &str) -> (ExitStatus, u64, Duration) {
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
    let id = child.id() as i32;
    let terminate = || {
        // SAFETY: it is a child of ours that nobody has waited for.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    };
    let begun = Instant::now();
    terminate();
    let mut status = None;
    patience::until(|| {
        status = child.try_wait().unwrap();
        if status.is_none() && how == "again and again" {
            terminate();
        }
        status.is_some()
    });
    let took = begun.elapsed();
    let text = std::fs::read_to_string(&file).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let units = records.filter(|record| record["type"] == "unit");
    let units = units.map(|unit| unit["count"].as_u64().unwrap()).sum();
    (status.unwrap(), units, took)
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
    if matches!(how.as_str(), "blocked" | "again and again") {
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
    if how == "forked, with its own" {
        // SAFETY: the child is one that goes on with what it has: nobody else held a lock.
        if unsafe { libc::fork() } == 0 {
            let (layer, telemetry) = self::builder(&file).build().unwrap();
            std::mem::forget(telemetry);
            let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
            tracing::dispatcher::with_default(&dispatch, || {
                (0..9).for_each(|_| info_span!("job").in_scope(|| ()));
            });
            // SAFETY: it has no conditions.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
            loop {
                std::thread::park();
            }
        }
        let mut status = 0;
        // SAFETY: `status` is there for the call.
        unsafe { libc::wait(&mut status) };
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGTERM);
        // What this one has, it does not write.
        std::mem::forget(telemetry);
        // SAFETY: the same; the default action ends this process at once.
        unsafe {
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
        }
        std::fs::write(format!("{file}.ready"), "").unwrap();
        loop {
            std::thread::park();
        }
    }
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
            // What there was is written, and the program goes on.
            let written = || std::fs::read_to_string(&file).unwrap().contains("\"unit\"");
            patience::until(written);
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
fn an_exporter_that_blocks_holds_the_end_up_for_two_seconds() {
    let (status, units, took) = run_and_time("blocked");
    // What came before it was written.
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 7));
    assert!(took >= Duration::from_millis(1900), "{took:?}");
}

#[test]
fn who_sends_it_again_does_not_wait_for_that() {
    let (status, units, took) = run_and_time("again and again");
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 7));
    // At once it is the same signal: what runs a program sends one to it and one to its group.
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_millis(1900), "{took:?}");
}

#[test]
fn a_forked_child_with_a_telemetry_of_its_own_writes_out_as_well() {
    let (status, units) = run("forked, with its own");
    assert_eq!((status.signal(), units), (Some(libc::SIGTERM), 9));
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
