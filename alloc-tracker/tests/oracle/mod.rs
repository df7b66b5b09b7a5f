//! A counting allocator that is too simple to be wrong: it sits under the tracker and keeps, per
//! thread, a plain tally of the calls that reach it, and the live level after each.
#![allow(dead_code)] // each test file uses the part that it needs

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) allocs: u64,
    pub(crate) reallocs: u64,
    pub(crate) frees: u64,
    pub(crate) alloc_bytes: u64,
    pub(crate) freed_bytes: u64,
    /// The highest `alloc_bytes - freed_bytes` since [`reset`].
    pub(crate) peak: i64,
}

impl Tally {
    pub(crate) fn live(&self) -> i64 {
        self.alloc_bytes as i64 - self.freed_bytes as i64
    }
}

thread_local! {
    static MINE: Cell<Tally> = const { Cell::new(Tally { allocs: 0, reallocs: 0, frees: 0, alloc_bytes: 0, freed_bytes: 0, peak: 0 }) };
}
pub(crate) static ALL_CALLS: AtomicU64 = AtomicU64::new(0);
pub(crate) static ALL_BYTES: AtomicU64 = AtomicU64::new(0);
pub(crate) static ALL_FREED: AtomicU64 = AtomicU64::new(0);

fn book(f: impl FnOnce(&mut Tally)) {
    let _ = MINE.try_with(|mine| {
        let mut tally = mine.get();
        f(&mut tally);
        tally.peak = tally.peak.max(tally.live());
        mine.set(tally);
    });
}

/// Starts this thread's tally at zero.
pub(crate) fn reset() {
    MINE.set(Tally::default());
}

/// Forgets the peak so far: from here on it is the highest level from now.
pub(crate) fn restart_peak() {
    let mut tally = MINE.get();
    tally.peak = tally.live();
    MINE.set(tally);
}

pub(crate) fn tally() -> Tally {
    MINE.get()
}

/// The whole process: allocations and reallocations, bytes allocated, bytes freed.
pub(crate) fn process() -> (u64, u64, u64) {
    (
        ALL_CALLS.load(Relaxed),
        ALL_BYTES.load(Relaxed),
        ALL_FREED.load(Relaxed),
    )
}

pub(crate) struct Oracle;

// SAFETY: hands every call to `System` unchanged.
unsafe impl GlobalAlloc for Oracle {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        book(|t| {
            t.allocs += 1;
            t.alloc_bytes += layout.size() as u64;
        });
        ALL_CALLS.fetch_add(1, Relaxed);
        ALL_BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        book(|t| {
            t.allocs += 1;
            t.alloc_bytes += layout.size() as u64;
        });
        ALL_CALLS.fetch_add(1, Relaxed);
        ALL_BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        book(|t| {
            t.frees += 1;
            t.freed_bytes += layout.size() as u64;
        });
        ALL_FREED.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        book(|t| {
            t.allocs += 1;
            t.reallocs += 1;
            if new_size > layout.size() {
                t.alloc_bytes += (new_size - layout.size()) as u64;
            } else {
                t.freed_bytes += (layout.size() - new_size) as u64;
            }
        });
        ALL_CALLS.fetch_add(1, Relaxed);
        if new_size > layout.size() {
            ALL_BYTES.fetch_add((new_size - layout.size()) as u64, Relaxed);
        } else {
            ALL_FREED.fetch_add((layout.size() - new_size) as u64, Relaxed);
        }
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
