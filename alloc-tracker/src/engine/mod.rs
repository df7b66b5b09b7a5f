//! The counting, compiled with the feature `track` only.
//!
//! ```text
//!   allocator hooks ──► Block (thread-local counters) ◄── process_usage reads, by the registry
//!                            ▲          │ thread ends
//!                 snapshots  │          └──► its slot's totals ──► the next thread's slot
//!   Scope, Unit ──► segments; units' on the work stack ── closes ──► UnitCell (shared sums, pooled)
//! ```
//!
//! * [`hooks`]: what the allocator calls; [`fill`]: with what a block is filled.
//! * [`counter`]: one thread's sums, and how others read them.
//! * [`attend`]: what a thread does when it looks up; [`watch`]: who wants to see each call.
//! * [`measure`]: segments of a thread, and units on all threads.
//! * [`profile`]: the sampled heap profiler.
//! * [`block_table`], [`free_stack`]: memory by address, and what is free of it; [`unwind`]: the frames of a
//!   thread; [`sync`]: the atomics, which loom has its own of.
//!
//! `alloc-tracker/loom` holds every module in which threads meet against every order in which they can.

mod attend;
mod block_table;
mod counter;
mod fill;
mod free_stack;
mod hooks;
mod measure;
#[cfg(feature = "profile")]
pub(crate) mod profile;
#[cfg(not(feature = "profile"))]
#[path = "profile_off.rs"]
mod profile;
mod sync;
mod unwind;
mod watch;

pub(crate) use fill::Fill;
pub(crate) use hooks::{
    alloc_and_look, handed_out, is_due, is_realloc_due, look_and_dealloc, look_and_realloc,
    on_alloc, on_dealloc, on_realloc,
};
pub(crate) use measure::account::Account;
pub(crate) use measure::active_sites::ActiveSites;
pub(crate) use measure::installed::is_installed;
pub(crate) use measure::meanwhile::{Here, Meanwhile};
pub(crate) use measure::segments::{Excluded, Segment, close, open, read};
pub(crate) use measure::unit_pool::UnitHandle;
pub(crate) use measure::work::{UnitSegment, abandon_for_unit, close_for_unit, so_far_for_unit};
pub(crate) use watch::sites::Sites;
pub(crate) use watch::sizes::{SizeRecorder, class_end};

use counter::counts::Counts;
use counter::{registry, tools};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use watch::sites;

/// See [`crate::raw::be_a_tools_own`].
pub(crate) fn be_a_tools_own() {
    tools::begin();
    sites::suspend();
}

/// See [`crate::raw::for_the_program`].
pub(crate) struct Paused(u32);

impl Paused {
    pub(crate) fn start() -> Self {
        Paused(tools::pause())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        tools::go_on(self.0);
    }
}

/// See [`crate::raw::tools_usage`].
pub(crate) fn tools_usage() -> crate::Usage {
    tools::totals().usage(0, true)
}

/// What all threads have counted while they worked for no unit.
pub(crate) fn outside_usage() -> crate::Usage {
    if !is_installed() {
        return crate::Usage::untracked();
    }
    // First: what threads do meanwhile is more, not less than nothing.
    let inside = registry::totals_inside();
    less(registry::totals(), inside).usage(0, true)
}

/// Not below zero, where what a thread does just now was seen in one of the two alone.
fn less(all: Counts, inside: Counts) -> Counts {
    all.zip(inside, |all, inside| {
        (all.wrapping_sub(inside) as i64).max(0) as u64
    })
}

/// See [`crate::raw::outside_by_thread`].
pub(crate) fn outside_by_thread() -> Vec<(u32, crate::Usage)> {
    let of_threads = registry::outside_of_threads();
    of_threads
        .map(|of| (of.thread, less(of.counts, of.inside).usage(0, true)))
        .collect()
}

/// What all threads have counted for the program, those that ended, too.
pub(crate) fn process_usage() -> crate::Usage {
    static HIGHEST_SEEN: AtomicI64 = AtomicI64::new(0);
    if !is_installed() {
        return crate::Usage::untracked();
    }
    // Allocations first, frees after that: a block that is handed from thread to thread meanwhile
    // may be missed, but never counted as live twice.
    let (allocated, freed) = (registry::totals(), registry::totals());
    let counts = Counts {
        frees: freed.frees,
        freed_bytes: freed.freed_bytes,
        ..allocated
    };
    let live = counts.live();
    let peak = HIGHEST_SEEN.fetch_max(live, Relaxed).max(live);
    counts.usage(peak, true)
}
