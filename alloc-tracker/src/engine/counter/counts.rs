//! The five monotone sums of which every figure is made, plain and shared.

use super::sync::{Acquire, AtomicU64, Relaxed, Release, constructor};
use crate::Usage;

/// The sums at one moment. They only ever grow (and wrap), so a measurement is a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) allocs: u64,
    pub(crate) reallocs: u64,
    pub(crate) frees: u64,
    pub(crate) alloc_bytes: u64,
    pub(crate) freed_bytes: u64,
}

impl Counts {
    pub(crate) const ZERO: Counts = Counts {
        allocs: 0,
        reallocs: 0,
        frees: 0,
        alloc_bytes: 0,
        freed_bytes: 0,
    };

    #[inline]
    pub(crate) fn live(&self) -> i64 {
        self.alloc_bytes.wrapping_sub(self.freed_bytes) as i64
    }

    #[inline]
    pub(crate) fn zip(self, other: Counts, f: impl Fn(u64, u64) -> u64) -> Counts {
        Counts {
            allocs: f(self.allocs, other.allocs),
            reallocs: f(self.reallocs, other.reallocs),
            frees: f(self.frees, other.frees),
            alloc_bytes: f(self.alloc_bytes, other.alloc_bytes),
            freed_bytes: f(self.freed_bytes, other.freed_bytes),
        }
    }

    #[inline]
    pub(crate) fn plus(self, other: Counts) -> Counts {
        self.zip(other, u64::wrapping_add)
    }

    #[inline]
    pub(crate) fn minus(self, other: Counts) -> Counts {
        self.zip(other, u64::wrapping_sub)
    }

    #[inline]
    pub(crate) fn usage(self, peak: i64, tracked: bool) -> Usage {
        Usage::of(
            [self.allocs, self.reallocs, self.frees],
            [self.alloc_bytes, self.freed_bytes, peak.max(0) as u64],
            tracked,
        )
    }
}

/// The same sums where more than one thread sees them.
///
/// Accesses are relaxed but for [`SharedCounts::live`]: each figure stands for itself.
/// Where one thread must see what another counted, something else orders the two (a join, a
/// channel, the slot's publication in the registry).
#[derive(Debug)]
pub(crate) struct SharedCounts {
    allocs: AtomicU64,
    reallocs: AtomicU64,
    frees: AtomicU64,
    alloc_bytes: AtomicU64,
    freed_bytes: AtomicU64,
}

impl SharedCounts {
    constructor! {
        pub(crate) fn new() -> Self {
            SharedCounts {
                allocs: AtomicU64::new(0),
                reallocs: AtomicU64::new(0),
                frees: AtomicU64::new(0),
                alloc_bytes: AtomicU64::new(0),
                freed_bytes: AtomicU64::new(0),
            }
        }
    }

    #[inline]
    pub(crate) fn load(&self) -> Counts {
        Counts {
            allocs: self.allocs.load(Relaxed),
            reallocs: self.reallocs.load(Relaxed),
            frees: self.frees.load(Relaxed),
            alloc_bytes: self.alloc_bytes.load(Relaxed),
            freed_bytes: self.freed_bytes.load(Relaxed),
        }
    }

    /// While others add, too low rather than too high: who sees an addition's allocated bytes sees
    /// its freed bytes, too, which are written first.
    ///
    /// PERF: not `load().live()`, for which all five figures would be loaded.
    #[inline]
    pub(crate) fn live(&self) -> i64 {
        let allocated = self.alloc_bytes.load(Acquire);
        allocated.wrapping_sub(self.freed_bytes.load(Relaxed)) as i64
    }

    /// Overwrites; the caller is the only writer.
    #[inline(always)]
    pub(crate) fn store(&self, counts: Counts) {
        self.allocs.store(counts.allocs, Relaxed);
        self.reallocs.store(counts.reallocs, Relaxed);
        self.frees.store(counts.frees, Relaxed);
        self.alloc_bytes.store(counts.alloc_bytes, Relaxed);
        self.freed_bytes.store(counts.freed_bytes, Relaxed);
    }

    /// Adds; the caller is the only writer, so it takes no locked instruction.
    #[inline]
    pub(crate) fn add_alone(&self, counts: Counts) {
        for (word, n) in [
            (&self.allocs, counts.allocs),
            (&self.reallocs, counts.reallocs),
            (&self.frees, counts.frees),
            (&self.freed_bytes, counts.freed_bytes),
            (&self.alloc_bytes, counts.alloc_bytes),
        ] {
            // Release: see `live`.
            word.store(word.load(Relaxed).wrapping_add(n), Release);
        }
    }

    /// Adds; any number of threads may. A figure that did not move costs no locked instruction.
    #[inline]
    pub(crate) fn add(&self, counts: Counts) {
        for (shared, n) in [
            (&self.allocs, counts.allocs),
            (&self.reallocs, counts.reallocs),
            (&self.frees, counts.frees),
            (&self.freed_bytes, counts.freed_bytes),
            (&self.alloc_bytes, counts.alloc_bytes),
        ] {
            if n != 0 {
                // Release: see `live`.
                shared.fetch_add(n, Release);
            }
        }
    }
}
