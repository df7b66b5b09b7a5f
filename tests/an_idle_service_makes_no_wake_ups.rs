//! Telemetry's thread sleeps when nothing happens: the kernel's own count of its context switches
//! does not move in the time of fifteen flush intervals.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};
use telemetry::{Telemetry, export};
use tracing::info_span;
use tracing_subscriber::prelude::*;

fn telemetry_thread() -> PathBuf {
    let named = |task: &PathBuf| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.trim() == "telemetry"
    };
    // A new thread has its creator's name until it first runs.
    for _ in 0..1000 {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        if let Some(task) = tasks.flatten().map(|task| task.path()).find(named) {
            return task;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("no thread is named telemetry");
}

/// Voluntary and involuntary context switches.
fn switches(task: &std::path::Path) -> (u64, u64) {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let figure = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (
        figure("voluntary_ctxt_switches"),
        figure("nonvoluntary_ctxt_switches"),
    )
}

#[test]
fn fifteen_idle_intervals() {
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_millis(200))
        .export(export::json_lines(std::io::sink()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let thread = telemetry_thread();

    // It does wake for work, and writes it out by itself.
    sleep(Duration::from_millis(100)); // until it has gone to sleep for the first time
    let fresh = switches(&thread);
    for _ in 0..100 {
        info_span!("unit").in_scope(|| ());
    }
    let connection = info_span!("connection");
    for _ in 0..100 {
        connection.in_scope(|| ());
    }
    sleep(Duration::from_secs(1));
    let worked = switches(&thread);
    assert!(worked.0 > fresh.0);
    assert_eq!(
        telemetry.ledger().records.kept,
        3,
        "two unit records and a ledger"
    );

    // At work it wakes at most three times an interval, however much there is to do.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        info_span!("unit").in_scope(|| ());
        sleep(Duration::from_millis(1));
    }
    let intervals = (start.elapsed().as_millis() / 200) as u64;
    sleep(Duration::from_secs(1));
    let idle_again = switches(&thread);
    let woken = idle_again.0 - worked.0;
    assert!(woken <= 3 * (intervals + 2), "{woken} in {intervals}");
    let worked = idle_again;

    // A unit in progress is nothing to wake up for, whether it has been worked for or not.
    let in_progress = info_span!("unit").entered();
    // Longer by hand, or in the soak, for timers that are rarer.
    let seconds = std::env::var("IDLE_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    sleep(Duration::from_secs(seconds.unwrap_or(3)));
    assert_eq!(switches(&thread), worked);
    drop((in_progress, connection));
}
