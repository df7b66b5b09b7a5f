//! The figures of a measurement.

use std::fmt;
use std::ops::{Add, Sub};

/// What a piece of work allocated and freed.
///
/// Counts are calls of the allocator, sizes are the bytes that were asked for (not what the
/// allocator rounds them up to).
///
/// `a + b` and `a - b` go figure by figure and wrap. Peaks do not add: the sum keeps the larger
/// one, the difference keeps the peak of `a`.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::measure;
///
/// let (held, usage) = measure(|| vec![0u8; 100]);
/// println!("{usage}"); // 1 alloc, 0 frees, 100 B allocated, 0 B freed, peak 100 B
/// # #[cfg(feature = "track")] {
/// assert!(usage.is_tracked());
/// assert_eq!((usage.live_blocks(), usage.live_bytes()), (1, 100));
/// # }
/// let (_, freed) = measure(|| drop(held));
/// # #[cfg(feature = "track")]
/// assert_eq!(freed.live_bytes(), -100);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Successful `alloc`, `alloc_zeroed` and `realloc` calls.
    pub allocs: u64,
    /// Successful `realloc` calls; each is one of `allocs` too.
    pub reallocs: u64,
    /// `dealloc` calls.
    pub frees: u64,
    /// Bytes of new blocks, and bytes by which blocks grew.
    pub alloc_bytes: u64,
    /// Bytes of freed blocks, and bytes by which blocks shrank.
    pub freed_bytes: u64,
    /// The highest live bytes above the level at the start, never below 0.
    pub peak_bytes: u64,
    /// Nobody counted: the zeros above mean "unknown".
    untracked: bool,
}

impl Usage {
    /// Bytes that are still allocated: `alloc_bytes` − `freed_bytes`.
    ///
    /// A free counts for the work that frees, wherever the block came from. So this is negative for
    /// work that frees blocks it was handed, and stays above zero for work whose blocks others
    /// free. [`Unit::retained`](crate::Unit::retained) is exact about one's own blocks.
    pub const fn live_bytes(&self) -> i64 {
        self.alloc_bytes.wrapping_sub(self.freed_bytes) as i64
    }

    /// Blocks that are still allocated: `allocs` − `reallocs` − `frees`.
    pub const fn live_blocks(&self) -> i64 {
        self.allocs
            .wrapping_sub(self.reallocs)
            .wrapping_sub(self.frees) as i64
    }

    /// Whether these figures were counted.
    ///
    /// False for what [`measure`](crate::measure) and its kin return where the tracker is not
    /// installed or built without `track`: there the zeros stand for "unknown", a
    /// [`Budget`](crate::Budget) does not pass, and `Display` says "not tracked".
    pub const fn is_tracked(&self) -> bool {
        !self.untracked
    }

    #[cfg(feature = "track")]
    #[inline]
    pub(crate) const fn of(
        [allocs, reallocs, frees]: [u64; 3],
        [alloc_bytes, freed_bytes, peak_bytes]: [u64; 3],
        tracked: bool,
    ) -> Self {
        Usage {
            allocs,
            reallocs,
            frees,
            alloc_bytes,
            freed_bytes,
            peak_bytes,
            untracked: !tracked,
        }
    }

    #[inline]
    pub(crate) const fn untracked() -> Self {
        Usage {
            allocs: 0,
            reallocs: 0,
            frees: 0,
            alloc_bytes: 0,
            freed_bytes: 0,
            peak_bytes: 0,
            untracked: true,
        }
    }
}

/// What a unit allocated and nobody has freed: see [`Unit::retained`](crate::Unit::retained).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retained {
    /// Blocks of memory.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// With units: `2 blocks, 96 B retained`.
impl fmt::Display for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.blocks == 1 { "" } else { "s" };
        write!(f, "{} block{s}, {} B retained", self.blocks, self.bytes)
    }
}

/// Compares the six figures.
impl PartialEq for Usage {
    fn eq(&self, other: &Self) -> bool {
        self.figures() == other.figures()
    }
}

impl Eq for Usage {}

impl Usage {
    const fn figures(&self) -> [u64; 6] {
        [
            self.allocs,
            self.reallocs,
            self.frees,
            self.alloc_bytes,
            self.freed_bytes,
            self.peak_bytes,
        ]
    }
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage {
            allocs: self.allocs.wrapping_add(other.allocs),
            reallocs: self.reallocs.wrapping_add(other.reallocs),
            frees: self.frees.wrapping_add(other.frees),
            alloc_bytes: self.alloc_bytes.wrapping_add(other.alloc_bytes),
            freed_bytes: self.freed_bytes.wrapping_add(other.freed_bytes),
            peak_bytes: self.peak_bytes.max(other.peak_bytes),
            untracked: self.untracked || other.untracked,
        }
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, other: Usage) -> Usage {
        Usage {
            allocs: self.allocs.wrapping_sub(other.allocs),
            reallocs: self.reallocs.wrapping_sub(other.reallocs),
            frees: self.frees.wrapping_sub(other.frees),
            alloc_bytes: self.alloc_bytes.wrapping_sub(other.alloc_bytes),
            freed_bytes: self.freed_bytes.wrapping_sub(other.freed_bytes),
            peak_bytes: self.peak_bytes,
            untracked: self.untracked || other.untracked,
        }
    }
}

/// One line with units, exact: `3 allocs (1 realloc), 2 frees, 96 B allocated, 32 B freed, peak 96 B`.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.untracked {
            return f.write_str("not tracked");
        }
        let s = |n: u64| if n == 1 { "" } else { "s" };
        write!(f, "{} alloc{}", self.allocs, s(self.allocs))?;
        if self.reallocs > 0 {
            write!(f, " ({} realloc{})", self.reallocs, s(self.reallocs))?;
        }
        write!(
            f,
            ", {} free{}, {} B allocated, {} B freed, peak {} B",
            self.frees,
            s(self.frees),
            self.alloc_bytes,
            self.freed_bytes,
            self.peak_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn live_figures_are_signed() {
        let usage = Usage {
            frees: 2,
            freed_bytes: 10,
            alloc_bytes: 4,
            ..Usage::default()
        };
        assert_eq!((usage.live_bytes(), usage.live_blocks()), (-6, -2));
    }

    #[test]
    fn the_difference_of_a_sum_is_the_first_part() {
        let a = Usage {
            allocs: 3,
            reallocs: 1,
            frees: 2,
            alloc_bytes: 96,
            freed_bytes: 32,
            peak_bytes: 96,
            ..Usage::default()
        };
        let b = Usage {
            allocs: 5,
            peak_bytes: 7,
            ..Usage::default()
        };
        assert_eq!((a + b) - b, a);
        assert_eq!(
            a.to_string(),
            "3 allocs (1 realloc), 2 frees, 96 B allocated, 32 B freed, peak 96 B"
        );
        assert_eq!(Usage::untracked().to_string(), "not tracked");
    }

    #[test]
    fn usages_differ_by_each_of_their_figures() {
        let of: [fn(&mut Usage) -> &mut u64; 6] = [
            |usage| &mut usage.allocs,
            |usage| &mut usage.reallocs,
            |usage| &mut usage.frees,
            |usage| &mut usage.alloc_bytes,
            |usage| &mut usage.freed_bytes,
            |usage| &mut usage.peak_bytes,
        ];
        for figure in of {
            let mut other = Usage::default();
            *figure(&mut other) = 1;
            assert_ne!(other, Usage::default());
            assert_eq!(other, other.clone());
        }
    }
}
