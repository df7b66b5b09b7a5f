//! Since when a unit is as it is: each moment of its wall time belongs to one part of it.
//!
//! Threads come to work for a unit and leave it, at moments that they read from the clock before they say so. Each change
//! ends a stretch of time, and who made the change has that stretch to put somewhere: it is handed to nobody else, and
//! begins where the one before ended. So the parts add up to the time from the first moment to the last, whatever came
//! between, and none is negative.

use crate::tool::sync::{AtomicU64, Relaxed};
use std::ops::Range;

/// How many threads work for a unit, and since when: in one word, so that both change at once.
#[derive(Debug)]
pub(crate) struct Moments(AtomicU64);

/// The upper bits count threads. More than fit are as many as fit, and stay so for as long as the unit is there.
const THREAD_BITS: u32 = 10;
const MOST_THREADS: u64 = (1 << THREAD_BITS) - 1;
/// The lower bits are the moment in nanoseconds, from which the upper bits are cut off: 208 days.
const MOMENT_BITS: u32 = u64::BITS - THREAD_BITS;
const MOMENT: u64 = (1 << MOMENT_BITS) - 1;
const ONE_THREAD: u64 = 1 << MOMENT_BITS;

/// A stretch of time that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// In nanoseconds.
    pub(crate) lasted: u64,
    /// Some thread worked for the unit.
    pub(crate) was_active: bool,
    /// More than one did.
    pub(crate) were_several: bool,
}

impl Default for Moments {
    fn default() -> Self {
        Moments(AtomicU64::new(0))
    }
}

impl Moments {
    /// A unit begins at this moment.
    #[inline]
    pub(crate) fn begin(&self, now: u64) {
        self.0.store(now & MOMENT, Relaxed);
    }

    /// Whether a thread works for the unit.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.0.load(Relaxed) >= ONE_THREAD
    }

    /// One more thread works for it.
    #[inline(always)]
    pub(crate) fn enter(&self, now: u64) -> Stretch {
        let plainly = 0..(MOST_THREADS - 1) * ONE_THREAD;
        match self.change_plainly(now, plainly, |before| before.wrapping_add(ONE_THREAD)) {
            Some(stretch) => stretch,
            None => self.change(now, |threads| (threads + 1).min(MOST_THREADS)),
        }
    }

    /// One less does.
    #[inline(always)]
    pub(crate) fn exit(&self, now: u64) -> Stretch {
        let plainly = ONE_THREAD..MOST_THREADS * ONE_THREAD;
        match self.change_plainly(now, plainly, |before| before.wrapping_sub(ONE_THREAD)) {
            Some(stretch) => stretch,
            None => self.change(now, |threads| match threads {
                0 | MOST_THREADS => threads,
                _ => threads - 1,
            }),
        }
    }

    /// As many do, and something else changes.
    pub(crate) fn mark(&self, now: u64) -> Stretch {
        self.change(now, |threads| threads)
    }

    /// The same where no other thread changes it at the same time, the clock is not behind, and the count stays between
    /// none and the most. `None`: nothing was done.
    ///
    /// PERF: one locked instruction, and few others: it is done at each entry and each exit.
    #[inline(always)]
    fn change_plainly(
        &self,
        now: u64,
        plainly: Range<u64>,
        threads: impl Fn(u64) -> u64,
    ) -> Option<Stretch> {
        let before = self.0.load(Relaxed);
        let lasted = now.wrapping_sub(before) & MOMENT;
        if lasted > MOMENT / 2 || !plainly.contains(&before) {
            return None;
        }
        let after = threads(before & !MOMENT);
        let changed = (self.0).compare_exchange(before, after | now & MOMENT, Relaxed, Relaxed);
        changed.ok()?;
        Some(Stretch {
            lasted,
            was_active: before >= ONE_THREAD,
            were_several: before >= 2 * ONE_THREAD,
        })
    }

    #[cold]
    #[inline(never)]
    fn change(&self, now: u64, threads: impl Fn(u64) -> u64) -> Stretch {
        // Relaxed: the stretch stands for itself, as does what it is added to.
        let mut before = self.0.load(Relaxed);
        loop {
            let since = before & MOMENT;
            let lasted = now.wrapping_sub(since) & MOMENT;
            // Another thread, or another core's clock, was ahead: nothing is left of the stretch.
            let is_behind = lasted > MOMENT / 2;
            let (lasted, moment) = match is_behind {
                true => (0, since),
                false => (lasted, now & MOMENT),
            };
            let was = before >> MOMENT_BITS;
            let after = threads(was) << MOMENT_BITS | moment;
            match (self.0).compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => {
                    return Stretch {
                        lasted,
                        was_active: was > 0,
                        were_several: was > 1,
                    };
                }
                Err(now) => before = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn stretch(lasted: u64, threads: u64) -> Stretch {
        Stretch {
            lasted,
            was_active: threads > 0,
            were_several: threads > 1,
        }
    }

    #[test]
    fn each_stretch_begins_where_the_one_before_ended() {
        let moments = Moments::default();
        moments.begin(100);
        assert_eq!(moments.enter(105), stretch(5, 0));
        assert_eq!(moments.enter(107), stretch(2, 1));
        assert_eq!(moments.exit(110), stretch(3, 2));
        assert!(moments.is_active());
        // A clock that is behind.
        assert_eq!(moments.mark(109), stretch(0, 1));
        assert_eq!(moments.exit(111), stretch(1, 1));
        assert!(!moments.is_active());
        assert_eq!(moments.exit(112), stretch(1, 0));
        assert_eq!(moments.enter(112), stretch(0, 0));
    }

    #[test]
    fn the_upper_bits_of_a_moment_are_of_no_matter() {
        let moments = Moments::default();
        moments.begin(MOMENT - 1);
        assert_eq!(moments.enter(MOMENT + 4), stretch(5, 0));
        assert_eq!(
            moments.exit(MOMENT + MOMENT / 2),
            stretch(MOMENT / 2 - 4, 1)
        );
    }

    #[test]
    fn more_threads_than_can_be_counted_are_some_for_good() {
        let moments = Moments::default();
        moments.begin(0);
        (0..MOST_THREADS + 5).for_each(|n| _ = moments.enter(n));
        (0..MOST_THREADS + 5).for_each(|n| _ = moments.exit(MOST_THREADS + n));
        assert!(moments.is_active());
        moments.begin(9);
        assert!(!moments.is_active());
    }
}
