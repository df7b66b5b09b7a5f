//! Where a unit's wall time goes. Each [stretch](crate::live) of it ends with a change, and who made the change puts it
//! into one part.

use super::{LiveUnit, Stretch};
use crate::cost::{BoundaryMetric, Finished, Metric, Source};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

impl LiveUnit {
    /// A thread stopped some time ago, and nobody can tell when.
    #[cold]
    pub(crate) fn abandon(&self, now: u64) {
        let stretch = self.moments.exit(now);
        // What only that thread did from then to now is nobody's.
        if stretch.were_several || !stretch.was_active {
            self.put(stretch, false);
        }
    }

    /// Puts a stretch of time where it belongs.
    #[inline(always)]
    pub(super) fn put(&self, stretch: Stretch, by_owner: bool) {
        if stretch.was_active {
            self.active.add(stretch.lasted, by_owner);
        } else if self.has_more.load(Relaxed) {
            self.put_idle(stretch.lasted, false);
        }
    }

    /// The same of one in which no thread worked for it: it waited for a thread, or for what it called last. `pending`: no
    /// thread does yet.
    #[inline(never)]
    fn put_idle(&self, lasted: u64, pending: bool) {
        if !pending && self.has_pending.load(Relaxed) {
            self.settle();
        }
        if self.woken.load(Relaxed) > 0 {
            let queued = if pending {
                &self.queued_pending
            } else {
                &self.queued
            };
            queued.fetch_add(lasted, Relaxed);
        } else if let Some(crossed) = self.crossed.last_begun() {
            crossed.was_waited_for(lasted, pending);
        }
        if pending {
            // Afterwards, and Release: who settles finds what there is.
            self.has_pending.store(true, Release);
        }
    }

    /// A thread works for it again: what it waited for is in its wall time.
    #[cold]
    fn settle(&self) {
        // Acquire what made it so.
        self.has_pending.swap(false, Acquire);
        let pending = self.queued_pending.swap(0, Relaxed);
        self.queued.fetch_add(pending, Relaxed);
        self.crossed.settle();
    }

    /// What it waits for is about to change.
    #[inline]
    pub(crate) fn waits_otherwise(&self, now: u64) {
        if !self.moments.is_active() {
            self.ends_waiting(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn ends_waiting(&self, now: u64) {
        let stretch = self.moments.mark(now);
        if stretch.was_active {
            self.active.add(stretch.lasted, false);
        } else if self.has_more.load(Relaxed) {
            self.put_idle(stretch.lasted, true);
        }
    }

    /// It is woken: a thread is to poll it.
    pub(crate) fn is_woken(&self, now: u64) {
        self.waits_otherwise(now);
        self.woken.fetch_add(1, Relaxed);
        self.has_waker();
        // Afterwards, as where a call begins.
        self.has_more.store(true, Release);
    }

    /// It is polled for which it was woken, or never will be. `now` is asked if no thread is at work for it.
    pub(crate) fn is_polled(&self, now: impl FnOnce() -> u64) {
        if !self.moments.is_active() {
            self.ends_waiting(now());
        }
        // Not below none: who comes too late for the unit before finds none.
        let less = |woken: u32| woken.checked_sub(1);
        let _ = self.woken.fetch_update(Relaxed, Relaxed, less);
    }

    /// Its wake-ups are seen.
    pub(crate) fn has_waker(&self) {
        if !self.is_seen_woken.load(Relaxed) {
            self.is_seen_woken.store(true, Relaxed);
            self.has_more.store(true, Release);
        }
    }

    /// Where the time went in which no thread worked for the unit.
    #[inline(never)]
    pub(super) fn fill_idle(&self, unit: &mut Finished, with_pending: bool) {
        let mut left = unit.costs.value(Metric::Wall);
        // Clocks of different cores differ by a little.
        let mut take = |idle: u64| {
            let taken = idle.min(left);
            left -= taken;
            taken
        };
        let mut queued = self.queued.load(Relaxed);
        if with_pending {
            queued += self.queued_pending.load(Relaxed);
        }
        unit.costs.set(Metric::Queued, take(queued));
        unit.costs
            .tell(Source::Woken, self.is_seen_woken.load(Relaxed));
        let waits = unit.boundaries.iter_mut().map(|crossed| {
            let wait = take(crossed.value(BoundaryMetric::Wait));
            crossed.set(BoundaryMetric::Wait, wait);
            wait
        });
        let wait = waits.sum();
        unit.costs.set(Metric::Wait, wait);
    }
}
