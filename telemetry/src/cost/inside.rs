//! What of a unit's cost is in the figures of other units as well.

use std::ops::AddAssign;

/// Of one unit, or of several: how many are inside other units, and what was done for them inside of the work for
/// another. `busy` is nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InsideCosts {
    pub(crate) units: u64,
    pub(crate) allocs: u64,
    pub(crate) alloc_bytes: u64,
    pub(crate) busy: u64,
}

impl InsideCosts {
    pub(crate) const WORDS: usize = 4;

    pub(crate) fn as_words(self) -> [u64; Self::WORDS] {
        [self.units, self.allocs, self.alloc_bytes, self.busy]
    }

    pub(crate) fn from_words([units, allocs, alloc_bytes, busy]: [u64; Self::WORDS]) -> Self {
        InsideCosts {
            units,
            allocs,
            alloc_bytes,
            busy,
        }
    }

    /// What has come since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        InsideCosts {
            // How many there are, not how many came.
            units: self.units,
            allocs: self.allocs.saturating_sub(before.allocs),
            alloc_bytes: self.alloc_bytes.saturating_sub(before.alloc_bytes),
            busy: self.busy.saturating_sub(before.busy),
        }
    }
}

impl AddAssign for InsideCosts {
    fn add_assign(&mut self, other: Self) {
        self.units += other.units;
        self.allocs += other.allocs;
        self.alloc_bytes += other.alloc_bytes;
        self.busy += other.busy;
    }
}
