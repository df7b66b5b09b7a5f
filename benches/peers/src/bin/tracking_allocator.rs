//! `tracking-allocator` 0.4, with the least that a tracker can do.

use std::alloc::System;
use std::cell::Cell;
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static GLOBAL: Allocator<System> = Allocator::system();

thread_local! {
    static COUNTS: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
}

struct Counter;

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId) {
        let [allocs, bytes, frees, freed] = COUNTS.get();
        COUNTS.set([allocs + 1, bytes + size as u64, frees, freed]);
    }

    fn deallocated(
        &self,
        _: usize,
        size: usize,
        _: usize,
        _: AllocationGroupId,
        _: AllocationGroupId,
    ) {
        let [allocs, bytes, frees, freed] = COUNTS.get();
        COUNTS.set([allocs, bytes, frees + 1, freed + size as u64]);
    }
}

fn main() {
    AllocationRegistry::set_global_tracker(Counter).expect("the only tracker");
    AllocationRegistry::enable_tracking();
    peers::main(None);
}
