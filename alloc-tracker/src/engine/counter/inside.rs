//! What a thread counts while it works for a unit: what is left of its counts is outside of every unit.

use super::counts::{Counts, SharedCounts};
use super::sync::{AtomicBool, Relaxed, constructor};

/// A thread's, which alone writes it; others read it, a few operations old.
#[derive(Debug)]
pub(crate) struct Inside {
    /// Of the times that are over.
    ended: SharedCounts,
    /// The thread's counts when it last began to work for a unit, while it worked for none.
    since: SharedCounts,
    /// It has not ended that yet.
    is_open: AtomicBool,
}

impl Inside {
    constructor! {
        pub(crate) fn new() -> Self {
            Inside {
                ended: SharedCounts::new(),
                since: SharedCounts::new(),
                is_open: AtomicBool::new(false),
            }
        }
    }

    /// The thread begins to work for a unit, having counted this.
    #[inline(always)]
    pub(crate) fn begin(&self, counts: Counts) {
        self.since.store(counts);
        self.is_open.store(true, Relaxed);
    }

    /// It works for none any more.
    #[inline(always)]
    pub(crate) fn end(&self) {
        self.is_open.store(false, Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    /// This much of what it counted since it began was for nobody.
    pub(crate) fn skip(&self, counts: Counts) {
        self.since.add_alone(counts);
    }

    /// What it had counted when it began, and since then [for nobody](Inside::skip).
    pub(crate) fn since(&self) -> Counts {
        self.since.load()
    }

    /// This much of what it counted was for units.
    pub(crate) fn add(&self, counts: Counts) {
        self.ended.add_alone(counts);
    }

    /// What it counted for units, if it has counted this in all.
    pub(crate) fn read(&self, counts: Counts) -> Counts {
        let ended = self.ended.load();
        match self.is_open() {
            true => ended.plus(counts.minus(self.since())),
            false => ended,
        }
    }

    /// What it counted for units: from here on nothing.
    pub(crate) fn take(&self) -> Counts {
        let ended = self.ended.load();
        self.ended.store(Counts::ZERO);
        self.end();
        ended
    }
}
