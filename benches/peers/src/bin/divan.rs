//! `divan` 0.1. It counts on its own benchmark threads alone, so the work runs inside a benchmark.

use divan::AllocProfiler;

#[global_allocator]
static GLOBAL: AllocProfiler = AllocProfiler::system();

#[divan::bench(sample_count = 1, sample_size = 1)]
fn work() {
    peers::main(None);
}

fn main() {
    divan::Divan::default().main();
}
