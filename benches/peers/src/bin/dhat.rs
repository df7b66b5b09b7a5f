//! `dhat` 0.3.

use std::hint::black_box;

#[global_allocator]
static GLOBAL: dhat::Alloc = dhat::Alloc;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    peers::main(Some(|work| {
        work();
        black_box(dhat::HeapStats::get());
    }));
}
