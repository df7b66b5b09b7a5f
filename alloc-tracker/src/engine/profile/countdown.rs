//! Which allocations of a thread are samples.

use crate::engine::counter::block::Block;
use crate::engine::counter::countdown::{Countdown, NEVER};
use crate::engine::watch::sites;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

/// The mean number of bytes between two samples; 0: the profiler is stopped.
static MEAN: AtomicU64 = AtomicU64::new(0);
/// Changes with `MEAN`, so that threads notice.
static CHANGES: AtomicU32 = AtomicU32::new(0);
/// When sampling ends by itself, in nanoseconds after [`FIRST_DEADLINE`]; 0: never.
static DEADLINE: AtomicU64 = AtomicU64::new(0);
/// Where threads take the start of their random numbers from.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Has threads draw from `mean` on. The caller has them look.
pub(super) fn set_mean(mean: u64) {
    MEAN.store(mean, Relaxed);
    // Release the mean to the thread that sees the change.
    CHANGES.fetch_add(1, Release);
}

pub(crate) fn mean() -> u64 {
    MEAN.load(Relaxed)
}

/// The moment from which the deadline is counted.
static FIRST_DEADLINE: OnceLock<Instant> = OnceLock::new();

pub(super) fn set_deadline(after: Option<Duration>) {
    let nanoseconds = |after: Duration| {
        let first = FIRST_DEADLINE.get_or_init(Instant::now);
        let after = first.elapsed().saturating_add(after).as_nanos();
        u64::try_from(after).unwrap_or(u64::MAX).max(1)
    };
    DEADLINE.store(after.map_or(0, nanoseconds), Relaxed);
}

/// Sampling was to have ended by now.
fn is_past_the_deadline() -> bool {
    let deadline = DEADLINE.load(Relaxed);
    // `get` neither waits nor allocates.
    let first = FIRST_DEADLINE.get().filter(|_| deadline != 0);
    first.is_some_and(|first| first.elapsed().as_nanos() as u64 >= deadline)
}

pub(super) fn set_seed(seed: u64) {
    SEED.store(seed, Relaxed);
}

/// A block is to be a sample, drawn under this mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) mean: u64,
}

impl Countdown {
    /// Whether the block that is about to be allocated or resized, of `size` bytes then, is a sample.
    #[inline]
    pub(super) fn draw(&self, block: &Block, size: u64) -> Option<Draw> {
        let bytes = block.published.alloc_bytes.load();
        let after = bytes.wrapping_add(self.skipped.get()).wrapping_add(size);
        let change = CHANGES.load(Acquire);
        if after < self.ends_at.get() && change == self.change.get() {
            return None;
        }
        self.draw_now(block, size, after, change)
    }

    #[cold]
    fn draw_now(&self, block: &Block, size: u64, after: u64, change: u32) -> Option<Draw> {
        let mut mean = MEAN.load(Relaxed);
        if mean > 0 && is_past_the_deadline() {
            // Unless somebody else is at it: a session that begins now has another deadline.
            if MEAN.compare_exchange(mean, 0, Relaxed, Relaxed).is_ok() {
                CHANGES.fetch_add(1, Release);
            }
            mean = 0;
        }
        let drawn_under = self.mean.get();
        let hit = drawn_under > 0 && after >= self.ends_at.get();
        if change != self.change.get() {
            // A countdown that was running goes on to its end under the old mean, one that was not
            // begins with this block.
            self.change.set(change);
            self.mean.set(mean);
            if drawn_under == 0 && mean > 0 {
                let bytes = self.bytes(block, mean);
                if bytes > size {
                    self.ends_at.set(after.saturating_add(bytes - size));
                    return None;
                }
                self.restart(block, after);
                return self.unless_busy(mean);
            }
        }
        self.restart(block, after);
        // Of a block that is allocated while the profiler is stopped, nothing is noted.
        if hit && mean > 0 {
            return self.unless_busy(drawn_under);
        }
        None
    }

    /// What was drawn for is not allocated after all: the rest of the countdown is drawn anew, from what
    /// is.
    #[cold]
    pub(super) fn refused(&self, block: &Block) {
        let bytes = block.published.alloc_bytes.load();
        self.restart(block, bytes.wrapping_add(self.skipped.get()));
    }

    fn unless_busy(&self, mean: u64) -> Option<Draw> {
        // What is charged to nobody is a tool's own, and no sample either.
        let counts = !self.busy.get() && sites::suspended() == 0;
        counts.then_some(Draw { mean })
    }

    fn restart(&self, block: &Block, from: u64) {
        let mean = self.mean.get();
        if mean == 0 {
            return self.ends_at.set(NEVER);
        }
        let bytes = self.bytes(block, mean);
        self.ends_at.set(from.saturating_add(bytes));
    }

    /// Draws the length of a countdown.
    fn bytes(&self, block: &Block, mean: u64) -> u64 {
        let bytes = -self.uniform(block).ln() * mean as f64;
        // Rounded up: whole bytes reach it where real ones would.
        bytes.ceil().max(1.0) as u64
    }

    /// Above 0, at most 1.
    fn uniform(&self, block: &Block) -> f64 {
        let mut random = self.random.get();
        if random == 0 {
            random = (SEED.load(Relaxed) ^ block.thread().rotate_left(32)) | 1 << 63;
        }
        // SplitMix64.
        random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(if random == 0 { 1 } else { random });
        let mut z = random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Whether the profiler is at work on this thread; what was said before.
    pub(super) fn set_busy(&self, busy: bool) -> bool {
        self.busy.replace(busy)
    }

    /// The thread draws its random numbers from the seed again.
    pub(super) fn reseed(&self) {
        self.random.set(0);
    }
}

/// The probability with which a block of `size` bytes is a sample.
pub(crate) fn probability(size: u64, mean: u64) -> f64 {
    -(-(size as f64) / mean as f64).exp_m1()
}
