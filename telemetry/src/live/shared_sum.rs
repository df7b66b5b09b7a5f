//! Sums that mostly one thread adds to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A figure to which any thread may add.
///
/// PERF: most units are worked for by the thread that began them. What that one adds takes no locked
/// instruction, as it has a word of its own.
#[derive(Debug, Default)]
pub(super) struct SharedSum {
    own: AtomicU64,
    others: AtomicU64,
}

impl SharedSum {
    /// A number that can be as large as anybody says: the sum is at most the most that there is, where one thread adds.
    #[inline]
    pub(super) fn add_told(&self, n: u64, by_owner: bool) {
        if by_owner {
            let sum = self.own.load(Relaxed).saturating_add(n);
            self.own.store(sum, Relaxed);
        } else {
            self.others.fetch_add(n, Relaxed);
        }
    }

    #[inline(always)]
    pub(super) fn add(&self, n: u64, by_owner: bool) {
        if by_owner {
            self.own
                .store(self.own.load(Relaxed).wrapping_add(n), Relaxed);
        } else {
            self.others.fetch_add(n, Relaxed);
        }
    }

    pub(super) fn sum(&self) -> u64 {
        (self.own.load(Relaxed)).saturating_add(self.others.load(Relaxed))
    }

    /// For a figure that is a moment: it only moves forward.
    #[inline]
    pub(super) fn reach(&self, moment: u64, by_owner: bool) {
        if by_owner {
            self.own.store(moment, Relaxed);
        } else {
            self.others.fetch_max(moment, Relaxed);
        }
    }

    pub(super) fn latest(&self) -> u64 {
        self.own.load(Relaxed).max(self.others.load(Relaxed))
    }

    #[inline(always)]
    pub(super) fn clear(&self) {
        self.own.store(0, Relaxed);
        self.others.store(0, Relaxed);
    }
}
