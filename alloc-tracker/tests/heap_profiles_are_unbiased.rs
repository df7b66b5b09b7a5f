//! The four figures of heap profiles against the exact ones, over many seeded runs with a change of
//! the rate and a stop in each: the mean is right, and so is what is said of the error.
#![cfg(feature = "profile")]

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config, Estimate, Estimated, Session};
use std::alloc::{Layout, alloc, dealloc, realloc};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

const RUNS: u64 = 600;

/// Blocks of known sizes, and the exact figures of those allocated while the profiler ran.
#[derive(Default)]
struct Exact {
    allocs: f64,
    alloc_bytes: f64,
    inuse_objects: f64,
    inuse_bytes: f64,
    held: Vec<(*mut u8, Layout, bool)>,
}

impl Exact {
    fn count(&mut self, seen: bool, allocs: f64, grown: f64, objects: f64, bytes: f64) {
        if seen {
            self.allocs += allocs;
            self.alloc_bytes += grown;
            self.inuse_objects += objects;
            self.inuse_bytes += bytes;
        }
    }

    /// Allocates a block, and resizes it if so asked; half of them are freed at once.
    fn block(&mut self, size: usize, resize: Option<usize>, keep: bool, seen: bool) {
        let mut layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: the size is not zero.
        let mut block = unsafe { alloc(layout) };
        assert!(!block.is_null());
        self.count(seen, 1.0, size as f64, 1.0, size as f64);
        if let Some(new) = resize {
            // SAFETY: allocated above with this layout; the new size is not zero.
            block = unsafe { realloc(block, layout, new) };
            assert!(!block.is_null());
            let grown = new as f64 - size as f64;
            self.count(seen, 1.0, grown.max(0.0), 0.0, grown);
            layout = Layout::from_size_align(new, 8).unwrap();
        }
        self.held.push((block, layout, seen));
        if !keep {
            self.free_last();
        }
    }

    fn free_last(&mut self) {
        let Some((block, layout, seen)) = self.held.pop() else {
            return;
        };
        // SAFETY: allocated with this layout, and forgotten here.
        unsafe { dealloc(block, layout) };
        self.count(seen, 0.0, 0.0, -1.0, -(layout.size() as f64));
    }

    /// The mixture, from 16 B to 16 MiB. Of each size there are enough for dozens to be sampled, or so
    /// few that they are no part of the figures to speak of: a standard error says little where two
    /// or three samples stand for most of a figure.
    fn mixture(&mut self, mean: usize, seen: bool) {
        let smallest = if mean <= 4096 { 15_000 } else { 2 };
        for i in 0..smallest {
            self.block(16, None, i % 2 == 0, seen);
        }
        for (size, n) in [
            (mean / 64, 3000),
            (mean / 8, 1200),
            (mean / 2, 300),
            (mean * 4, 6),
        ] {
            // To resize a large sample may be to copy it.
            let resized = if size < 64 << 10 { 8 } else { 64 };
            for i in 0..n {
                let resize = match i % resized {
                    1 => Some(size * 2),
                    5 => Some(size / 2),
                    _ => None,
                };
                self.block(size, resize, i % 2 == 0, seen);
            }
        }
        self.block(16 << 20, None, seen, seen);
    }
}

/// Figures of one run: exact, and as estimated.
type Run = [(f64, Estimated); 4];

fn run(mean: u64, seed: u64) -> Run {
    let mut exact = Exact::default();
    exact.held.reserve(20_000);
    let start = |mean: u64, seed: u64| -> Session {
        profiler::start(Config::default().mean_bytes(mean).seed(seed)).unwrap()
    };
    let before = profiler::snapshot().estimate();
    let session = start(mean, seed);
    exact.mixture(mean as usize, true);
    profiler::set_mean_bytes(mean * 3).unwrap();
    exact.mixture(mean as usize, true);
    session.stop();
    // Neither seen nor counted; what was seen is freed meanwhile.
    exact.mixture(mean as usize, false);
    for _ in 0..3000 {
        exact.free_last();
    }
    let session = start(mean, seed + RUNS);
    exact.mixture(mean as usize, true);
    session.stop();
    let estimate = since(profiler::snapshot().estimate(), before);
    let figures = [
        (exact.allocs, estimate.allocs),
        (exact.alloc_bytes, estimate.alloc_bytes),
        (exact.inuse_objects, estimate.inuse_objects),
        (exact.inuse_bytes, estimate.inuse_bytes),
    ];
    while !exact.held.is_empty() {
        exact.free_last();
    }
    figures
}

/// Sums of what was allocated grow over the runs; nothing of a run is in use after it.
fn since(after: Estimate, before: Estimate) -> Estimate {
    let minus = |a: Estimated, b: Estimated| {
        let variance = a.standard_error.powi(2) - b.standard_error.powi(2);
        let mut difference = a;
        difference.value -= b.value;
        difference.standard_error = variance.max(0.0).sqrt();
        difference
    };
    let mut difference = after;
    difference.allocs = minus(after.allocs, before.allocs);
    difference.alloc_bytes = minus(after.alloc_bytes, before.alloc_bytes);
    difference.inuse_objects = minus(after.inuse_objects, before.inuse_objects);
    difference.inuse_bytes = minus(after.inuse_bytes, before.inuse_bytes);
    difference
}

#[test]
fn the_mean_is_right_and_so_is_the_standard_error() {
    let mut wrong = Vec::new();
    for mean in [4 << 10, 64 << 10, 512 << 10, 2 << 20] {
        let runs: Vec<Run> = (0..RUNS).map(|seed| run(mean, seed)).collect();
        let names = ["allocs", "alloc_bytes", "inuse_objects", "inuse_bytes"];
        for (figure, name) in names.into_iter().enumerate() {
            let of = |run: &Run| run[figure];
            let exact: f64 = runs.iter().map(|run| of(run).0).sum();
            let estimated: f64 = runs.iter().map(|run| of(run).1.value).sum();
            let off = estimated / exact - 1.0;
            let covered = runs.iter().map(of).filter(|(exact, estimated)| {
                (estimated.value - exact).abs() <= 1.96 * estimated.standard_error
            });
            let covered = covered.count() as f64 / RUNS as f64;
            println!(
                "every {mean} bytes, {name}: {:+.2} %, covered in {:.1} % of {RUNS} runs",
                off * 100.0,
                covered * 100.0
            );
            if off.abs() > 0.01 || (covered - 0.95).abs() > 0.03 {
                wrong.push((mean, name, off, covered));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
