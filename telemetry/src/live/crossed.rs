//! The boundaries that a unit in progress has crossed.

use super::shared_sum::SharedSum;
use crate::cost::{BOUNDARIES_PER_UNIT, Boundaries, BoundaryId, BoundaryMetric, FinishedBoundary};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Of a place's unit: room for few at the place itself, and for further ones elsewhere, which is made when a unit at the
/// place first needs it and stays for those after it.
#[derive(Debug, Default)]
pub(super) struct Crossed {
    few: [Crossing; FEW],
    more: OnceLock<Box<More>>,
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
    begun: SharedSum,
    ended: SharedSum,
    time: SharedSum,
    sent: SharedSum,
    received: SharedSum,
    waited: AtomicU64,
    retries: AtomicU64,
    failures: AtomicU64,
    /// How long the unit waited for it.
    wait: AtomicU64,
    /// When the last call began.
    last_begun: AtomicU64,
}

impl Crossing {
    /// A call begins, on the unit's own thread or on another.
    #[inline]
    pub(super) fn begin(&self, now: u64, by_owner: bool) {
        self.last_begun.store(now, Relaxed);
        self.begun.add(1, by_owner);
    }

    /// It ends, this long after.
    #[inline]
    pub(crate) fn end(&self, time: u64, by_owner: bool) {
        self.time.add(time, by_owner);
        self.ended.add(1, by_owner);
    }

    /// A call has begun and ended.
    #[inline]
    pub(super) fn pass(&self, by_owner: bool) {
        self.begun.add(1, by_owner);
        self.ended.add(1, by_owner);
    }

    /// The unit waited for it so long, in which no thread worked for the unit.
    pub(super) fn was_waited_for(&self, lasted: u64) {
        self.wait.fetch_add(lasted, Relaxed);
    }

    /// When the last call began, if any goes on.
    fn goes_on_since(&self) -> Option<u64> {
        (self.begun.sum() > self.ended.sum()).then(|| self.last_begun.load(Relaxed))
    }

    #[inline]
    pub(crate) fn add(&self, metric: BoundaryMetric, n: u64, by_owner: bool) {
        match metric {
            BoundaryMetric::Calls => self.begun.add(n, by_owner),
            BoundaryMetric::Time => self.time.add(n, by_owner),
            BoundaryMetric::Sent => self.sent.add(n, by_owner),
            BoundaryMetric::Received => self.received.add(n, by_owner),
            BoundaryMetric::Waited => _ = self.waited.fetch_add(n, Relaxed),
            BoundaryMetric::Retries => _ = self.retries.fetch_add(n, Relaxed),
            BoundaryMetric::Failures => _ = self.failures.fetch_add(n, Relaxed),
            BoundaryMetric::Wait => _ = self.wait.fetch_add(n, Relaxed),
        }
    }

    fn value(&self, metric: BoundaryMetric) -> u64 {
        match metric {
            BoundaryMetric::Calls => self.begun.sum() + self.retries.load(Relaxed),
            BoundaryMetric::Time => self.time.sum(),
            BoundaryMetric::Sent => self.sent.sum(),
            BoundaryMetric::Received => self.received.sum(),
            BoundaryMetric::Waited => self.waited.load(Relaxed),
            BoundaryMetric::Retries => self.retries.load(Relaxed),
            BoundaryMetric::Failures => self.failures.load(Relaxed),
            BoundaryMetric::Wait => self.wait.load(Relaxed),
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
            &self.begun,
            &self.ended,
            &self.time,
            &self.sent,
            &self.received,
        ] {
            sum.clear();
        }
        for sum in [&self.waited, &self.retries, &self.failures, &self.wait] {
            sum.store(0, Relaxed);
        }
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
        let more = self.more.get_or_init(|| {
            alloc_tracker::raw::for_a_tool(|| {
                Box::new(More {
                    cells: std::array::from_fn(|_| Crossing::default()),
                    other: Crossing::default(),
                })
            })
        });
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

    fn used(&self) -> impl Iterator<Item = (BoundaryId, &Crossing)> {
        let more = self.more.get();
        let more = more
            .into_iter()
            .flat_map(|more| more.cells.iter().chain([&more.other]));
        let all = self.few.iter().chain(more);
        all.filter_map(|cell| Some((BoundaryId(cell.id.load(Relaxed).checked_sub(1)?), cell)))
    }

    /// Of the boundaries across which a call goes on, the one whose last call began last: what is called inside of another
    /// call is what is waited for.
    pub(super) fn last_begun(&self) -> Option<&Crossing> {
        let going_on =
            (self.used()).filter_map(|(_, crossed)| Some((crossed.goes_on_since()?, crossed)));
        let last = going_on.max_by_key(|(since, _)| *since);
        last.map(|(_, crossed)| crossed)
    }

    pub(super) fn fill(&self, boundaries: &mut Boundaries) {
        for (id, cell) in self.used() {
            let mut boundary = FinishedBoundary::none(id);
            for metric in BoundaryMetric::ALL {
                boundary.set(metric, cell.value(metric));
            }
            boundaries.push(boundary);
        }
    }

    pub(super) fn reset(&self) {
        self.used().for_each(|(_, cell)| cell.reset());
    }
}
