//! The sampled heap profiler's side of the hooks.
//!
//! ```text
//!   allocation ─► countdown ends? ─► placed where its free is recognised ─► its stack is walked
//!                                            │                                    │
//!                          table of live samples, by address          sums by stack and unit
//! ```
//!
//! * [`calls`]: the allocator's calls that have to look; [`countdown`]: which are samples.
//! * [`place`], [`slots`]: where the memory of samples lies; [`live`]: those in use.
//! * [`walk`]: the call stack; [`stacks`]: what was allocated at each; [`names`]: those of units.
//!
//! The sums have every sample, live or not; the table has the live ones. Neither locks.

mod calls;
mod countdown;
mod live;
pub(crate) mod names;
mod place;
mod slots;
pub(crate) mod stacks;
pub(crate) mod walk;

pub(super) use calls::{alloc, dealloc, handed_out, realloc, refused};
pub(crate) use countdown::{mean, probability};
pub(crate) use live::{LiveSample, for_each_live};

use super::counter::block::with;
use super::watch;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

static SAMPLES: AtomicU64 = AtomicU64::new(0);
static NOT_KEPT_LIVE: AtomicU64 = AtomicU64::new(0);
static WITHOUT_STACK: AtomicU64 = AtomicU64::new(0);
static TOO_DEEP: AtomicU64 = AtomicU64::new(0);
static BROKEN: AtomicU64 = AtomicU64::new(0);
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// What happened to samples so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) samples: u64,
    /// Their frees are not seen: there were too many at once, or no memory.
    pub(crate) not_kept_live: u64,
    /// Their stack did not fit.
    pub(crate) without_stack: u64,
    pub(crate) too_deep: u64,
    pub(crate) broken: u64,
    /// Taken by all of them.
    pub(crate) nanoseconds: u64,
    pub(crate) live: u64,
    /// Of the table of live samples.
    pub(crate) table_bytes: u64,
    /// Samples whose memory was used again though no free of theirs was seen.
    pub(crate) freed_elsewhere: u64,
    /// Of the places for small samples.
    pub(crate) slot_bytes: u64,
}

pub(crate) fn tally() -> Tally {
    let (live, table_bytes) = live::extent();
    Tally {
        samples: SAMPLES.load(Relaxed),
        not_kept_live: NOT_KEPT_LIVE.load(Relaxed),
        without_stack: WITHOUT_STACK.load(Relaxed),
        too_deep: TOO_DEEP.load(Relaxed),
        broken: BROKEN.load(Relaxed),
        nanoseconds: NANOSECONDS.load(Relaxed),
        live,
        table_bytes,
        freed_elsewhere: live::freed_elsewhere(),
        slot_bytes: slots::bytes() as u64,
    }
}

/// Samples from here on, on all threads. `seed`: where the calling thread, and threads that have not
/// drawn yet, take their random numbers from.
pub(crate) fn start(mean: u64, live_limit: usize, in_slots: bool, seed: Option<u64>) {
    live::set_limit(live_limit);
    place::set_in_slots(in_slots);
    if let Some(seed) = seed {
        countdown::set_seed(seed);
        with(|block| block.countdown.reseed());
    }
    walk::choose();
    watch::start_placing();
    set_mean(mean);
}

/// 0: samples no more.
pub(crate) fn set_mean(mean: u64) {
    countdown::set_mean(mean);
    if mean > 0 {
        watch::have_all_look();
    }
}

/// Samples no more from then on, whether or not anybody says so.
pub(crate) fn stop_after(time: Option<Duration>) {
    countdown::set_deadline(time);
}

/// What this thread allocates while this guard lives is no sample.
#[derive(Debug)]
pub(crate) struct Busy {
    before: bool,
    _not_send: PhantomData<*mut ()>,
}

impl Busy {
    pub(crate) fn start() -> Self {
        Busy {
            before: with(|block| block.countdown.set_busy(true)),
            _not_send: PhantomData,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        with(|block| block.countdown.set_busy(self.before));
    }
}
