//! What telemetry keeps for a thread is made in the first unit that comes to it, or before, if that is told when the thread
//! starts. One test in a program of its own: what tools allocate is counted for all threads together.
#![cfg(feature = "tokio")]

use alloc_tracker::AllocTracker;
use std::time::Duration;
use telemetry::Telemetry;
use tokio::runtime::Builder;
use tracing::{Dispatch, info_span};
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// How much telemetry allocates for itself while a thread of a runtime is in its first unit.
fn in_the_first_unit(telemetry: &Telemetry, dispatch: &Dispatch, is_told: bool) -> u64 {
    let starts = telemetry.thread_starts();
    let mut builder = Builder::new_current_thread();
    if is_told {
        builder.on_thread_start(starts);
    }
    let runtime = builder.build().unwrap();
    let dispatch = dispatch.clone();
    let first = move || {
        let before = alloc_tracker::raw::tools_usage().allocs;
        tracing::dispatcher::with_default(&dispatch, || info_span!("first").in_scope(|| ()));
        alloc_tracker::raw::tools_usage().allocs - before
    };
    let first = runtime.spawn_blocking(first);
    runtime.block_on(first).unwrap()
}

#[test]
fn the_first_unit_of_a_thread_waits_for_nothing_if_that_is_told_when_it_starts() {
    // Nor is anything written meanwhile.
    let builder = Telemetry::builder().flush_every(Duration::from_secs(3600));
    let (layer, telemetry) = builder.build().unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    // What the call site needs.
    tracing::dispatcher::with_default(&dispatch, || info_span!("first").in_scope(|| ()));
    assert!(in_the_first_unit(&telemetry, &dispatch, false) > 0);
    assert_eq!(in_the_first_unit(&telemetry, &dispatch, true), 0);
    // It keeps nothing alive, and nobody needs it to.
    let starts = telemetry.thread_starts();
    drop(telemetry);
    std::thread::spawn(starts).join().unwrap();
}
