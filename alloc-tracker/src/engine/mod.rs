//! The counting, compiled with the feature `track` only.
//!
//! ```text
//!   allocator hooks ──► Block (thread-local counters) ◄── process_usage reads, by the registry
//!                            ▲          │ thread ends
//!                 snapshots  │          └──► its slot's totals ──► the next thread's slot
//!   Scope, Unit ──► segments; units' on the work stack ── closes ──► UnitCell (shared sums, pooled)
//! ```
//!
//! * [`hooks`]: what the allocator calls; [`block`]: one thread's counters.
//! * [`published`], [`slot`], [`registry`]: how other threads read them; the process's totals.
//! * [`watch`]: how the process has every thread look at each of its calls, for a while.
//! * [`thread_exit`]: what runs when a thread ends, and in the child of a fork.
//! * [`segments`]: the measurements of a thread; [`peaks`], the hard part of them; [`work`]: the units
//!   that a thread works for.
//! * [`sites`]: the call stacks that allocate while a budget is open.
//! * [`unwind`]: the frames of a thread.
//! * [`unit_cell`], [`unit_pool`]: the shared sums of units, in memory that is only ever reused
//!   for units; [`free_stack`]: what is free of it.
//! * [`follow`], by [`block_table`]: blocks that are followed to their free.
//! * [`tools`]: what tools allocate for themselves.
//! * [`meanwhile`]: what is allocated outside of every unit while a budget is open.
//! * [`sizes`]: the sizes that are asked for.
//!
//! `alloc-tracker/loom` holds [`slot`], [`published`], [`unit_cell`], [`block_table`] and [`free_stack`] against
//! every order in which threads can meet in them.

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
pub(crate) use measure::active_sites::ActiveSites;
pub(crate) use measure::installed::is_installed;
pub(crate) use measure::meanwhile::{Here, Meanwhile};
pub(crate) use measure::segments::{Excluded, Segment, close, open, read};
pub(crate) use measure::unit_pool::UnitHandle;
pub(crate) use measure::work::{UnitSegment, abandon_for_unit, close_for_unit};
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

/// The number that a name of units has in heap profiles.
pub(crate) fn unit_name(_name: &'static str) -> u32 {
    #[cfg(feature = "profile")]
    let number = profile::names::number(_name);
    #[cfg(not(feature = "profile"))]
    let number = 0;
    number
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
