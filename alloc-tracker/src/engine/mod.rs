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

mod block;
mod block_table;
mod counts;
mod follow;
mod free_stack;
mod hooks;
mod meanwhile;
mod peaks;
#[cfg(feature = "profile")]
pub(crate) mod profile;
#[cfg(not(feature = "profile"))]
#[path = "profile_off.rs"]
mod profile;
mod published;
mod registry;
mod segments;
mod sites;
mod sizes;
mod slot;
mod sync;
mod thread_exit;
mod tools;
mod unit_cell;
mod unit_pool;
mod unwind;
mod watch;
mod work;

pub(crate) use hooks::{
    Fill, alloc_and_look, handed_out, is_due, is_realloc_due, look_and_dealloc, look_and_realloc,
    on_alloc, on_dealloc, on_realloc,
};
pub(crate) use meanwhile::{Here, Meanwhile};
pub(crate) use registry::process_usage;
pub(crate) use segments::{Excluded, Segment, close, open, read};
pub(crate) use sites::{ActiveSites, Sites};
pub(crate) use sizes::{SizeRecorder, class_end};
pub(crate) use unit_pool::UnitHandle;
pub(crate) use work::{UnitSegment, abandon_for_unit, close_for_unit};

use std::alloc::Layout;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

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
