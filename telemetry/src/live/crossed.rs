//! The boundaries that a unit in progress has crossed.

use super::shared_sum::SharedSum;
use crate::cost::{BOUNDARIES_PER_UNIT, Boundaries, BoundaryId, BoundaryMetric, FinishedBoundary};
use crate::tool::static_ref::StaticRef;
use alloc_tracker::raw::{Lock, for_a_tool};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Of a place's unit: room for few at the place itself, and for further ones elsewhere, which is made when a unit at the
/// place first needs it and stays for those after it.
#[derive(Debug, Default)]
pub(super) struct Crossed {
    few: [Crossing; FEW],
    more: StaticRef<More>,
}

/// Most units cross fewer.
const FEW: usize = 4;

#[derive(Debug)]
struct More {
    cells: [Crossing; BOUNDARIES_PER_UNIT - FEW],
    /// For what those have no room for, and what has no name of its own.
    other: Crossing,
}

/// What the unit did across one boundary.
#[derive(Debug, Default)]
pub(crate) struct Crossing {
    /// The boundary's number plus one; 0 while unused.
    id: AtomicU32,
    calls: SharedSum,
    /// Calls that went on for a while: how many began, and how many ended.
    begun: SharedSum,
    ended: SharedSum,
    time: SharedSum,
    sent: SharedSum,
    received: SharedSum,
    waited: AtomicU64,
    retries: AtomicU64,
    failures: AtomicU64,
    /// How long the unit waited for it, as far as a thread has worked for the unit since; and not so far.
    wait: AtomicU64,
    wait_pending: AtomicU64,
    /// When the last call began.
    last_begun: AtomicU64,
}

/// Adds to what nobody adds to often, up to the most that there can be.
fn add_saturating(sum: &AtomicU64, n: u64) {
    let more = |sum: u64| Some(sum.saturating_add(n));
    let _ = sum.fetch_update(Relaxed, Relaxed, more);
}

impl Crossing {
    /// A call begins, on the unit's own thread or on another. One that only waits is no call before something came of it.
    #[inline(always)]
    pub(super) fn begin(&self, now: u64, waits: bool, by_owner: bool) {
        self.last_begun.store(now, Relaxed);
        if !waits {
            self.calls.add(1, by_owner);
        }
        self.begun.add(1, by_owner);
    }

    /// It ends, this long after.
    #[inline]
    pub(crate) fn end(&self, time: u64, by_owner: bool) {
        self.time.add(time, by_owner);
        self.ended.add(1, by_owner);
    }

    /// The unit waited for it so long, in which no thread worked for the unit. `pending`: nobody knows yet whether a
    /// thread will again.
    pub(super) fn was_waited_for(&self, lasted: u64, pending: bool) {
        let wait = if pending {
            &self.wait_pending
        } else {
            &self.wait
        };
        wait.fetch_add(lasted, Relaxed);
    }

    /// A thread works for the unit again.
    fn settle(&self) {
        let pending = self.wait_pending.swap(0, Relaxed);
        self.wait.fetch_add(pending, Relaxed);
    }

    /// When the last call began, if any goes on.
    fn goes_on_since(&self) -> Option<u64> {
        (self.begun.sum() > self.ended.sum()).then(|| self.last_begun.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn add(&self, metric: BoundaryMetric, n: u64, by_owner: bool) {
        match metric {
            BoundaryMetric::Calls => self.calls.add(n, by_owner),
            BoundaryMetric::Sent => self.sent.add_told(n, by_owner),
            BoundaryMetric::Received => self.received.add_told(n, by_owner),
            BoundaryMetric::Time => self.time.add(n, by_owner),
            BoundaryMetric::Waited => add_saturating(&self.waited, n),
            BoundaryMetric::Retries => add_saturating(&self.retries, n),
            BoundaryMetric::Failures => add_saturating(&self.failures, n),
            BoundaryMetric::Wait => self.was_waited_for(n, false),
        }
    }

    /// `with_pending`: what the unit waited for lately is in its time, whether a thread works for it again or not.
    fn value(&self, metric: BoundaryMetric, with_pending: bool) -> u64 {
        match metric {
            BoundaryMetric::Calls => (self.calls.sum()).saturating_add(self.retries.load(Relaxed)),
            BoundaryMetric::Time => self.time.sum(),
            BoundaryMetric::Sent => self.sent.sum(),
            BoundaryMetric::Received => self.received.sum(),
            BoundaryMetric::Waited => self.waited.load(Relaxed),
            BoundaryMetric::Retries => self.retries.load(Relaxed),
            BoundaryMetric::Failures => self.failures.load(Relaxed),
            BoundaryMetric::Wait => match with_pending {
                true => self.wait.load(Relaxed) + self.wait_pending.load(Relaxed),
                false => self.wait.load(Relaxed),
            },
        }
    }

    /// Whether it is this boundary's, as it is from here on if it was nobody's.
    #[inline]
    fn is_for(&self, id: u32) -> bool {
        match self.id.load(Relaxed) {
            0 => match self.id.compare_exchange(0, id, Relaxed, Relaxed) {
                Ok(_) => true,
                Err(winner) => winner == id,
            },
            found => found == id,
        }
    }

    fn reset(&self) {
        self.id.store(0, Relaxed);
        for sum in [
            &self.calls,
            &self.begun,
            &self.ended,
            &self.time,
            &self.sent,
            &self.received,
        ] {
            sum.clear();
        }
        for sum in [
            &self.waited,
            &self.retries,
            &self.failures,
            &self.wait,
            &self.wait_pending,
        ] {
            sum.store(0, Relaxed);
        }
    }
}

impl More {
    fn new() -> Self {
        More {
            cells: std::array::from_fn(|_| Crossing::default()),
            other: Crossing::default(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Crossing> {
        self.cells.iter().chain([&self.other])
    }

    /// What another thread made for the same place at the same time is for the next one.
    fn of(place: &StaticRef<More>) -> &'static Self {
        static SPARE: Lock<Vec<&'static More>> = Lock::new();
        if let Some(made) = place.get() {
            return made;
        }
        for_a_tool(|| {
            let mut spare = SPARE.lock();
            let new = spare.pop();
            let new = new.unwrap_or_else(|| Box::leak(Box::new(More::new())));
            let made = place.get_or_set(new);
            if !std::ptr::eq(made, new) {
                spare.push(new);
            }
            made
        })
    }
}

impl Crossed {
    /// The figures of one.
    #[inline]
    pub(super) fn of(&self, boundary: BoundaryId) -> &Crossing {
        if boundary != BoundaryId::OTHER {
            let id = boundary.0 + 1;
            if let Some(cell) = self.few.iter().find(|cell| cell.is_for(id)) {
                return cell;
            }
        }
        self.further(boundary)
    }

    #[inline(never)]
    fn further(&self, boundary: BoundaryId) -> &Crossing {
        let more = More::of(&self.more);
        let mut cells = more.cells.iter();
        let found = match boundary {
            BoundaryId::OTHER => None,
            BoundaryId(id) => cells.find(|cell| cell.is_for(id + 1)),
        };
        found.unwrap_or_else(|| {
            more.other.id.store(BoundaryId::OTHER.0 + 1, Relaxed);
            &more.other
        })
    }

    fn all(&self) -> impl Iterator<Item = &Crossing> {
        let more = self.more.get().into_iter().flat_map(More::all);
        self.few.iter().chain(more)
    }

    fn used(&self) -> impl Iterator<Item = (BoundaryId, &Crossing)> {
        let id = |cell: &Crossing| Some(BoundaryId(cell.id.load(Relaxed).checked_sub(1)?));
        self.all().filter_map(move |cell| Some((id(cell)?, cell)))
    }

    /// A thread works for the unit again: what it waited for is in its time.
    pub(super) fn settle(&self) {
        self.used().for_each(|(_, cell)| cell.settle());
    }

    /// Of the boundaries across which a call goes on, the one across which a call began last: what is called inside of
    /// another call is what is waited for.
    pub(super) fn last_begun(&self) -> Option<&Crossing> {
        let going_on =
            (self.used()).filter_map(|(_, crossed)| Some((crossed.goes_on_since()?, crossed)));
        let last = going_on.max_by_key(|(since, _)| *since);
        last.map(|(_, crossed)| crossed)
    }

    pub(super) fn fill(&self, boundaries: &mut Boundaries, with_pending: bool) {
        for (id, cell) in self.used() {
            let mut boundary = FinishedBoundary::none(id);
            for metric in BoundaryMetric::ALL {
                boundary.set(metric, cell.value(metric, with_pending));
            }
            // Twice, if somebody came too late for the unit before.
            match boundaries.iter_mut().find(|known| known.id == id) {
                Some(known) => known.add(&boundary),
                None => boundaries.push(boundary),
            }
        }
    }

    /// Those too that nobody has: who came too late for the unit before may have left something there.
    pub(super) fn reset(&self) {
        self.all().for_each(Crossing::reset);
    }
}
