//! C code frees samples, and the allocator below hands their memory out again: what Rust then frees there
//! goes back as it came, to an allocator that goes by layouts too.
#![cfg(all(feature = "profile", unix))]

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config};
use std::alloc::{GlobalAlloc, Layout, System, alloc, dealloc, realloc};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

#[global_allocator]
static GLOBAL: AllocTracker<Watching> = AllocTracker::new(Watching);

/// `System`, whose blocks are C's, and which watches for layouts that nobody asked for.
struct Watching;

static WATCHES: AtomicBool = AtomicBool::new(false);
static WRONG: AtomicUsize = AtomicUsize::new(0);

impl Watching {
    fn look(layout: Layout) {
        let is_wrong = WATCHES.load(Relaxed) && layout.align() > 16;
        WRONG.fetch_add(usize::from(is_wrong), Relaxed);
    }
}

// SAFETY: all is `System`'s.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Watching::look(layout);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Watching::look(layout);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[test]
fn whoever_has_it_next_frees_it_as_it_came() {
    let layout = Layout::from_size_align(64, 8).unwrap();
    let session = profiler::start(Config::default().mean_bytes(1)).unwrap();
    // SAFETY: the size is not zero; each block is C's as well, and freed once.
    unsafe {
        let blocks: Vec<_> = (0..500).map(|_| alloc(layout)).collect();
        for block in blocks {
            libc::free(block.cast());
        }
    }
    session.stop();
    WATCHES.store(true, Relaxed);
    let mut at_a_page = 0;
    // SAFETY: as above, and the new size is not zero.
    unsafe {
        let blocks: Vec<_> = (0..2_000).map(|_| alloc(layout)).collect();
        at_a_page += blocks.iter().filter(|b| b.addr() % 4096 == 0).count();
        for (n, block) in blocks.into_iter().enumerate() {
            match n % 2 {
                0 => dealloc(block, layout),
                _ => {
                    let moved = realloc(block, layout, 72);
                    dealloc(moved, Layout::from_size_align(72, 8).unwrap());
                }
            }
        }
    }
    WATCHES.store(false, Relaxed);
    assert_eq!(WRONG.load(Relaxed), 0);
    assert!(at_a_page > 0, "their memory was handed out again");
    assert!(profiler::info().freed_elsewhere > 0);
}
