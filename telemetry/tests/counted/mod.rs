//! What the tests of counting share: a tracked allocator, and a telemetry around a piece of work.
#![allow(dead_code)] // not every test asks for all of it

use alloc_tracker::AllocTracker;
use std::hint::black_box;
use telemetry::{SettableClock, Snapshot, Telemetry};

#[path = "../stack/mod.rs"]
pub(crate) mod stack;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Runs `work` under a telemetry of its own, on this thread, and returns what it counted.
pub(crate) fn counted(work: impl FnOnce(&Telemetry)) -> Snapshot {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    tracing::dispatcher::with_default(&stack::dispatch(layer), || work(&telemetry));
    let snapshot = telemetry.snapshot();
    assert_parts_of_wall(&snapshot);
    snapshot
}

/// The same, where time passes as the clock says.
pub(crate) fn counted_by(clock: &SettableClock, work: impl FnOnce(&Telemetry)) -> Snapshot {
    let (layer, telemetry) = Telemetry::builder().clock(clock).build().unwrap();
    tracing::dispatcher::with_default(&stack::dispatch(layer), || work(&telemetry));
    let snapshot = telemetry.snapshot();
    assert_parts_of_wall(&snapshot);
    snapshot
}

/// `None` where allocations are not tracked.
pub(crate) fn sum(snapshot: &Snapshot, unit: &str, metric: &str) -> Option<u64> {
    let unit = snapshot
        .unit(unit)
        .unwrap_or_else(|| panic!("no unit {unit} in {snapshot:?}"));
    assert!(
        unit.metrics.contains_key(metric),
        "{metric} is always there"
    );
    unit.metric(metric).map(|d| d.sum)
}

pub(crate) fn tracked(n: u64) -> Option<u64> {
    cfg!(feature = "track").then_some(n)
}

pub(crate) fn allocate(bytes: usize) {
    drop(black_box(vec![1u8; bytes]));
}

/// Whatever was done: each nanosecond of a unit's wall time is in one part of it.
pub(crate) fn assert_parts_of_wall(snapshot: &Snapshot) {
    for unit in &snapshot.units {
        let sum = |metric| {
            unit.metric(metric)
                .map_or(0, |distribution| distribution.sum)
        };
        let parts = ["active", "queued", "wait", "unexplained"].map(sum);
        assert_eq!(parts.iter().sum::<u64>(), sum("wall"), "{parts:?} {unit:?}");
        let waits = unit.boundaries.values().filter_map(|b| b.wait.as_ref());
        let waits: u64 = waits.map(|wait| wait.sum).sum();
        assert_eq!(waits, sum("wait"), "{unit:?}");
    }
}
