//! A thread's countdown to the next sample of its heap profile: see [`super::super::profile`].

use std::cell::Cell;

/// A thread's countdown to its next sample, in bytes that it asks for.
///
/// The bytes between two samples are exponentially distributed, so whether one block is a sample
/// says nothing of any other, and a block of `size` bytes is one with probability
/// 1 − e^(−size/mean). A sample keeps the mean under which it was drawn. The distribution has no
/// memory: the rest of a countdown can be drawn anew at any time, as when the mean changes.
///
/// A reallocation counts as a new block of the new size, so more is counted down than `alloc_bytes`
/// grows by.
#[derive(Debug)]
pub(crate) struct Countdown {
    /// What was counted down on top of `alloc_bytes`.
    pub(crate) skipped: Cell<u64>,
    /// The value of `alloc_bytes` and `skipped` together that ends it.
    pub(crate) ends_at: Cell<u64>,
    /// The mean under which it was drawn; 0: none.
    pub(crate) mean: Cell<u64>,
    pub(crate) change: Cell<u32>,
    /// 0: not seeded.
    pub(crate) random: Cell<u64>,
    /// The profiler is at work on this thread: what it allocates is no sample.
    pub(crate) busy: Cell<bool>,
}

pub(crate) const NEVER: u64 = u64::MAX;

impl Countdown {
    pub(crate) const fn new() -> Self {
        Countdown {
            skipped: Cell::new(0),
            ends_at: Cell::new(NEVER),
            mean: Cell::new(0),
            change: Cell::new(0),
            random: Cell::new(0),
            busy: Cell::new(false),
        }
    }

    /// How many bytes may be allocated before it ends, when `bytes` have been.
    #[inline(always)]
    pub(crate) fn left(&self, bytes: u64) -> u64 {
        let counted = bytes.wrapping_add(self.skipped.get());
        self.ends_at.get().saturating_sub(counted).saturating_sub(1)
    }

    /// `bytes` are counted down that `alloc_bytes` does not grow by.
    #[inline(always)]
    pub(crate) fn skip(&self, bytes: u64) {
        self.skipped.set(self.skipped.get().wrapping_add(bytes));
    }
}
