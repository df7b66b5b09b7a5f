//! An inner allocator that aborts the process if a hook allocates while a hook runs, and that
//! refuses every k-th call: nothing in a hook allocates, unwinds, or counts what was refused.
#![cfg(feature = "track")]

use alloc_tracker::{
    AllocTracker, Budget, SizeRecording, Unit, in_current_unit, measure, process_usage,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Around the tracker: notes that one of its methods runs.
struct Outer(AllocTracker<Inner>);

/// Under the tracker: the memory, or a null.
struct Inner;

#[global_allocator]
static GLOBAL: Outer = Outer(AllocTracker::new(Inner));

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// Above 0: every call with this number is refused.
    static REFUSE_EVERY: Cell<u64> = const { Cell::new(0) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

static REFUSED: AtomicU64 = AtomicU64::new(0);

fn exclusive<T>(call: impl FnOnce() -> T) -> T {
    if RUNNING.replace(true) {
        // No message: it would allocate.
        std::process::abort();
    }
    let result = call();
    RUNNING.set(false);
    result
}

fn is_refused() -> bool {
    let every = REFUSE_EVERY.get();
    if every == 0 {
        return false;
    }
    CALLS.set(CALLS.get() + 1);
    let refused = CALLS.get() % every == 0;
    REFUSED.fetch_add(u64::from(refused), Relaxed);
    refused
}

// SAFETY: hands every call to the tracker.
unsafe impl GlobalAlloc for Outer {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        exclusive(|| unsafe { self.0.alloc(layout) })
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        exclusive(|| unsafe { self.0.alloc_zeroed(layout) })
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        exclusive(|| unsafe { self.0.dealloc(block, layout) })
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        exclusive(|| unsafe { self.0.realloc(block, layout, size) })
    }
}

// SAFETY: hands every call to `System`, or returns null, which is allowed.
unsafe impl GlobalAlloc for Inner {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[test]
fn what_is_refused_is_handed_on_as_null_and_counts_nothing() {
    assert!(alloc_tracker::is_installed());
    let (mut granted, mut refused) = (0, 0);
    let refused_before = REFUSED.load(Relaxed);
    REFUSE_EVERY.set(3);
    let ((), usage) = measure(|| {
        for n in 1..=3000usize {
            let layout = Layout::from_size_align(n, 8).unwrap();
            // SAFETY: the size is not zero; blocks are freed with the layout they have.
            unsafe {
                let zeroed = n % 2 == 0;
                let block = if zeroed {
                    std::alloc::alloc_zeroed(layout)
                } else {
                    std::alloc::alloc(layout)
                };
                if block.is_null() {
                    refused += 1;
                    continue;
                }
                granted += 1;
                let moved = std::alloc::realloc(black_box(block), layout, 2 * n);
                if moved.is_null() {
                    refused += 1;
                    std::alloc::dealloc(block, layout);
                } else {
                    granted += 1;
                    let layout = Layout::from_size_align(2 * n, 8).unwrap();
                    std::alloc::dealloc(moved, layout);
                }
            }
        }
    });
    REFUSE_EVERY.set(0);
    assert!(refused > 1000);
    assert_eq!(REFUSED.load(Relaxed) - refused_before, refused);
    assert_eq!(usage.allocs, granted);
    assert_eq!(usage.live_blocks(), 0);
    assert_eq!(usage.live_bytes(), 0, "no leak");
}

#[test]
fn scopes_units_and_budgets_with_stacks_do_not_reenter() {
    let unit = Unit::new();
    unit.run(|| {
        let (_, usage) = measure(|| black_box(vec![1u8; 100]).len());
        assert_eq!(usage.allocs, 1);
        // The stack of each allocation is walked, and resolved after the panic.
        let broken = std::panic::catch_unwind(|| {
            Budget::new().allocs(0).run(|| {
                (0..50)
                    .map(|n| black_box(vec![1u8; n + 1]).len())
                    .sum::<usize>()
            })
        });
        assert!(broken.is_err());
    });
    assert!(unit.usage().allocs > 50);
    assert!(process_usage().allocs > 50);
}

#[test]
fn followed_blocks_and_recorded_sizes_do_not_reenter() {
    let unit = Unit::following();
    let recording = SizeRecording::start();
    let mut blocks: Vec<Vec<u8>> = unit.run(|| (0..5000).map(|n| vec![1u8; n + 1]).collect());
    unit.run(|| blocks.iter_mut().for_each(|block| block.reserve(10_000)));
    std::thread::spawn(in_current_unit(move || drop(blocks)))
        .join()
        .unwrap();
    assert!(recording.finish().classes().count() > 10);
    assert!(unit.retained().unwrap().bytes < 5000);
}

struct AllocatesWhenDropped;

impl Drop for AllocatesWhenDropped {
    fn drop(&mut self) {
        let (kept, usage) = measure(|| black_box(vec![1u8; 64]));
        assert_eq!((usage.allocs, usage.alloc_bytes), (1, 64));
        drop(kept);
    }
}

thread_local! {
    static LATE: Cell<Option<AllocatesWhenDropped>> = const { Cell::new(None) };
}

#[test]
fn ten_thousand_threads_that_allocate_while_they_start_and_die_do_not_reenter() {
    let before = process_usage();
    for _ in 0..200 {
        let threads: Vec<_> = (0..50)
            .map(|_| {
                std::thread::spawn(in_current_unit(|| {
                    LATE.set(Some(AllocatesWhenDropped));
                    black_box(vec![1u8; 10]).len()
                }))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
    let usage = process_usage() - before;
    assert!(usage.allocs >= 20_000, "{usage}");
}
