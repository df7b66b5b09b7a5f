//! Units as their users have them.

use super::installed::is_installed;
use super::unit_cell::NO_UNIT;
use super::unit_pool::{UnitHandle, UnitRef};
use super::work::{self, UnitSegment};
use crate::Usage;
use crate::engine::watch::followers;

impl UnitHandle {
    /// A unit that follows its blocks.
    pub(crate) fn following() -> Self {
        followers::begin();
        // The parent stays as long as its child may have something to give back to it: the child
        // owns a handle, which `drop` takes back.
        let parent = work::followed().and_then(UnitRef::upgrade);
        let id = parent.as_ref().map_or(NO_UNIT, UnitHandle::id);
        std::mem::forget(parent);
        Self::begin(Some(id))
    }

    pub(crate) fn current() -> Option<Self> {
        work::current(UnitRef::upgrade)
    }

    #[inline]
    pub(crate) fn open(&self) -> UnitSegment {
        work::open_for(self.unit)
    }

    /// As [`UnitHandle::open`], but [`UnitHandle::current`] does not see it.
    pub(crate) fn open_for_budget(&self) -> UnitSegment {
        work::open_for_budget(self.unit)
    }

    /// Those that this thread has opened so.
    pub(crate) fn of_budgets<T>(wrap: impl Fn(Self) -> T) -> Option<Box<[T]>> {
        work::of_budgets(|unit| unit.upgrade().map(&wrap))
    }

    pub(crate) fn usage(&self) -> Usage {
        if !is_installed() {
            return Usage::untracked();
        }
        let cell = self.unit.cell;
        let counts = cell.counts();
        let ended = counts.usage(cell.peak(), true);
        match work::open_usage(self.unit) {
            None => ended,
            Some((open, base)) => {
                let mut usage = ended + open;
                let top = base
                    .max(counts.live())
                    .saturating_add(open.peak_bytes as i64);
                if open.peak_bytes > 0 {
                    usage.peak_bytes = ended.peak_bytes.max(top.max(0) as u64);
                } else {
                    usage.peak_bytes = ended.peak_bytes;
                }
                usage
            }
        }
    }
}
