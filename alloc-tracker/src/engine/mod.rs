//! The counting, compiled with the feature `track` only.
//!
//! ```text
//!   allocator hooks ──► Block (thread-local counters) ◄── process_usage reads, by the registry
//!                            ▲          │ thread ends
//!                 snapshots  │          └──► its slot's totals ──► the next thread's slot
//!   Scope, Unit ──► segments (thread-local stack) ── closes ──► UnitCell (shared sums, pooled)
//! ```
//!
//! * [`block`]: one thread's counters and what the hooks do to them.
//! * [`registry`]: the slots through which other threads read them, and the process's totals.
//! * [`thread_exit`]: what runs when a thread ends, and in the child of a fork.
//! * [`segments`]: the open measurements of a thread.
//! * [`sites`]: the call stacks that allocate while a budget is open.
//! * [`unit_pool`]: the shared sums of units, in memory that is only ever reused for units.

mod block;
mod counts;
mod registry;
mod segments;
mod sites;
mod thread_exit;
mod unit_pool;

pub(crate) use block::{attend, on_alloc, on_dealloc, on_realloc};
pub(crate) use registry::process_usage;
pub(crate) use segments::{Excluded, Segment, close, open, read};
pub(crate) use sites::{ActiveSites, Sites};
pub(crate) use unit_pool::UnitHandle;

use std::alloc::Layout;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Whether the hooks run when this process allocates, found out by trying.
pub(crate) fn is_installed() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    // Relaxed: every thread that races here finds the same answer by itself.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    match ANSWER.load(Relaxed) {
        UNKNOWN => {
            let _excluded = Excluded::start();
            let before = block::with(|b| b.counts().allocs);
            let layout = Layout::new::<u64>();
            // SAFETY: the layout's size is not zero.
            let probe = std::hint::black_box(unsafe { std::alloc::alloc(layout) });
            let after = block::with(|b| b.counts().allocs);
            if !probe.is_null() {
                // SAFETY: just allocated by the same allocator with the same layout.
                unsafe { std::alloc::dealloc(probe, layout) };
                ANSWER.store(if after == before { NO } else { YES }, Relaxed);
            }
            after != before
        }
        answer => answer == YES,
    }
}
