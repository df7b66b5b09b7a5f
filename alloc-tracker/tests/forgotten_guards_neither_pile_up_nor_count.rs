//! Guards that are forgotten leave nothing behind that the next unit pays for.

#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, Scope, Unit};
use std::hint::black_box;
use std::time::Instant;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn allocate(bytes: usize) {
    drop(black_box(Vec::<u8>::with_capacity(bytes)));
}

#[test]
fn a_unit_that_is_gone_is_not_worked_for() {
    let unit = Unit::new();
    std::mem::forget(unit.enter());
    assert!(Unit::current().is_some());
    drop(unit);
    assert!(Unit::current().is_none());
    // The next one may have the cell of that one.
    let next = Unit::new();
    allocate(100);
    assert_eq!(next.usage().alloc_bytes, 0);
    next.run(|| allocate(200));
    assert_eq!((next.usage().allocs, next.usage().alloc_bytes), (1, 200));
    assert!(Unit::current().is_none());
}

#[test]
fn the_unit_around_is_the_current_one_again() {
    let outer = Unit::new();
    let entered = outer.enter();
    let inner = Unit::new();
    std::mem::forget(inner.enter());
    drop(inner);
    let current = Unit::current().expect("the thread works for the outer one");
    allocate(300);
    drop(entered);
    assert_eq!(current.usage().alloc_bytes, 300);
}

/// How long a unit takes that does next to nothing: the shortest of some, in nanoseconds.
fn a_unit_takes() -> u64 {
    let unit = Unit::new();
    let once = |_| {
        let start = Instant::now();
        unit.run(|| black_box(()));
        start.elapsed().as_nanos() as u64
    };
    (0..200).map(once).min().unwrap_or(0)
}

#[test]
fn a_hundred_thousand_of_them_cost_the_next_unit_nothing() {
    let before = a_unit_takes();
    for _ in 0..100_000 {
        let unit = Unit::new();
        std::mem::forget(unit.enter());
    }
    let after = a_unit_takes();
    // Each of them looked at would be 100 us.
    assert!(
        after < 10 * before + 5_000,
        "{before} ns before, {after} ns after"
    );
    // And measurements are as they were.
    let scope = Scope::enter();
    allocate(400);
    assert_eq!(scope.finish().peak_bytes, 400);
}
