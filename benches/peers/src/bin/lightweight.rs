//! This project's allocator.

use alloc_tracker::{AllocTracker, measure};
use std::hint::black_box;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn main() {
    peers::main(Some(|work| {
        black_box(measure(work));
    }));
}
