//! A heap incident takes little memory beside its tables, gives it back, and is no reason for another.
//!
//! The debug information of this test is larger than what it may take.
#![cfg(all(feature = "profile", target_os = "linux"))]

use alloc_tracker::{AllocTracker, profiler};
use std::hint::black_box;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use telemetry::{Incident, Telemetry, Trigger};
use tracing::info_span;
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

const MIB: u64 = 1 << 20;

/// What a report may take: an incident may take 32 MiB, in all.
const MOST: u64 = 20 * MIB;

/// Memory is the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A figure of the process in bytes, as the system tells it.
fn of_process(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// Many shapes of allocation, none of which is kept.
fn work(round: u64) {
    info_span!("pay").in_scope(|| {
        for n in 0..50u64 {
            let text = format!("{round} {n} {}", "x".repeat((n * 97 % 4000) as usize));
            let value = serde_json::json!({ "a": [n, round], "b": { "text": text } });
            black_box(serde_json::from_str::<serde_json::Value>(&value.to_string()).unwrap());
        }
    });
}

#[test]
fn what_it_reads_to_name_functions_is_not_kept() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .incident_directory(directory.path())
        .trigger(
            Trigger::live_bytes_grow(MIB),
            Incident::for_(Duration::from_secs(60)),
        )
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        (0..20).for_each(work);
        telemetry.flush();
        (0..20).for_each(work);
        telemetry.flush();
        let tables = || profiler::info().bytes;
        let (resident, tables_before) = (of_process("VmRSS"), tables());
        // The highest from here on.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let incident = Incident::for_(Duration::from_secs(60))
            .heap(4096)
            .max_cpu(1.0);
        let id = telemetry.incident(incident).unwrap();
        (0..200).for_each(work);
        assert!(telemetry.end_incident(id));
        telemetry.flush();
        let tables = tables() - tables_before;
        let highest = of_process("VmHWM") - resident;
        assert!(
            highest < MOST + tables,
            "{highest} bytes more, and {tables} of tables"
        );
        let left = of_process("VmRSS").saturating_sub(resident);
        assert!(
            left < 8 * MIB + tables,
            "{left} bytes left, {tables} of tables"
        );

        (0..20).for_each(work);
        telemetry.flush();
        (0..20).for_each(work);
        telemetry.flush();
    });
    let own = telemetry.ledger().cost.live_bytes.unwrap();
    assert!(
        (0..32 * MIB as i64).contains(&own),
        "{own} bytes of its own"
    );
    let incidents = telemetry.incidents();
    assert!(
        incidents.iter().all(|incident| incident.who != "trigger"),
        "{incidents:?}"
    );
    let end = incidents.iter().find_map(|incident| incident.end.as_ref());
    let heap = end.and_then(|end| end.heap.as_ref()).unwrap();
    assert!(heap.files.len() == 3 && heap.error.is_none(), "{heap:?}");
    let culprit = &heap.allocated[0];
    assert!(
        culprit
            .site
            .contains("a_heap_incident_gives_its_memory_back.rs"),
        "{culprit:?}"
    );
}

/// Calls itself by ways of which each is a stack of its own, and keeps a block at the end of each.
fn branch(way: u32, depth: u32, kept: &mut Vec<Vec<u8>>) {
    let further = |kept: &mut _| branch(way >> 1, depth - 1, kept);
    match (depth, way & 1) {
        (0, _) => kept.push(black_box(vec![1; 2000])),
        (_, 0) => further(kept),
        // Another line.
        _ => further(kept),
    }
}

#[test]
fn the_report_of_many_stacks_takes_no_more() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (_layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .incident_directory(directory.path())
        .build()
        .unwrap();
    let incident = Incident::for_(Duration::from_secs(60))
        .heap(1024)
        .max_cpu(1.0);
    let id = telemetry.incident(incident).unwrap();
    let mut kept = Vec::new();
    (0..1 << 12).for_each(|way| branch(way, 12, &mut kept));
    let resident = of_process("VmRSS");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    assert!(telemetry.end_incident(id));
    let has_ended = || telemetry.incidents().iter().any(|i| i.end.is_some());
    while !has_ended() {
        telemetry.flush();
    }
    let highest = of_process("VmHWM").saturating_sub(resident);
    let left = of_process("VmRSS").saturating_sub(resident);
    assert!(highest < MOST, "{highest} bytes more");
    assert!(left < 8 * MIB, "{left} bytes left");
    let incidents = telemetry.incidents();
    let end = incidents.iter().find_map(|incident| incident.end.as_ref());
    let heap = end.and_then(|end| end.heap.as_ref()).unwrap();
    assert!(heap.files.len() == 3 && heap.error.is_none(), "{heap:?}");
    let mut files = heap.files.iter();
    let growth = files.find(|file| file.ends_with(".json"));
    let growth = std::fs::read_to_string(growth.unwrap()).unwrap();
    let growth: serde_json::Value = serde_json::from_str(&growth).unwrap();
    let count = growth["growth"].as_array().unwrap().len();
    assert!(count > 1200, "{count}");
    drop(kept);
}

#[test]
fn memory_that_grows_is_still_a_reason() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .incident_directory(directory.path())
        .trigger(
            Trigger::live_bytes_grow(64 * MIB),
            Incident::for_(Duration::from_secs(60)),
        )
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    let held = tracing::subscriber::with_default(subscriber, || {
        work(0);
        telemetry.flush();
        let held = black_box(vec![1u8; 80 << 20]);
        work(1);
        telemetry.flush();
        held
    });
    let incidents = telemetry.incidents();
    assert!(
        incidents.iter().any(|incident| incident.who == "trigger"),
        "{incidents:?}"
    );
    drop(held);
}
