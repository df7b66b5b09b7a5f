//! `allocation-counter` 0.8, which brings its own global allocator.

use std::hint::black_box;

fn main() {
    peers::main(Some(|work| {
        black_box(allocation_counter::measure(work));
    }));
}
