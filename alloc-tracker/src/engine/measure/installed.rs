//! Whether the tracker is the process's allocator.

use super::segments::Excluded;
use crate::engine::counter::block;
use std::alloc::Layout;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Whether the hooks run when this process allocates.
#[inline]
pub(crate) fn is_installed() -> bool {
    match INSTALLED.load(Relaxed) {
        UNKNOWN => probe(),
        answer => answer == YES,
    }
}

// Relaxed: every thread that races for the answer finds the same one by itself.
static INSTALLED: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// Finds out by trying.
#[cold]
fn probe() -> bool {
    let _excluded = Excluded::start();
    let allocs = || block::with(|block| block.counts().allocs);
    let before = allocs();
    let layout = Layout::new::<u64>();
    // SAFETY: the layout's size is not zero.
    let probe = std::hint::black_box(unsafe { std::alloc::alloc(layout) });
    let counted = allocs() != before;
    if !probe.is_null() {
        // SAFETY: just allocated by the same allocator with the same layout.
        unsafe { std::alloc::dealloc(probe, layout) };
        INSTALLED.store(if counted { YES } else { NO }, Relaxed);
    }
    counted
}
