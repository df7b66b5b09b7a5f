//! `stats_alloc` 0.1.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::hint::black_box;

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    peers::main(Some(|work| {
        let region = Region::new(GLOBAL);
        work();
        black_box(region.change());
    }));
}
