//! Units in progress. Each has a place for its figures, atomics, from a pool.

use super::in_unit::{MOST_UNITS, UnitRef};
use super::unit::{LiveUnit, Start};
use crate::cost::Finished;
use crate::tool::pool::{Allowed, CHUNK, Chunk, Pool, PoolItem, Pooled};
use alloc_tracker::raw::Lock;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// A unit that has ended, and the place that it leaves.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reference: UnitRef,
    /// By the instance's clock.
    pub(crate) started: u64,
    /// It is in the sample of exemplars.
    pub(crate) is_drawn: bool,
    /// An incident is about it, by its fields.
    pub(crate) is_in_incident: bool,
    pub(crate) place: PoolItem<LiveUnit>,
}

impl Pooled for LiveUnit {
    fn new() -> Self {
        LiveUnit::new()
    }

    fn forget(&self) {
        LiveUnit::forget(self);
    }

    fn spare() -> &'static Lock<Vec<&'static Chunk<Self>>> {
        static SPARE: Lock<Vec<&'static Chunk<LiveUnit>>> = Lock::new();
        &SPARE
    }

    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

/// The figures of all units in progress.
#[derive(Debug)]
pub(crate) struct LiveUnits {
    pool: Pool<LiveUnit>,
}

impl LiveUnits {
    pub(crate) fn new(max: usize) -> Self {
        LiveUnits {
            pool: Pool::new(max.clamp(CHUNK, MOST_UNITS)),
        }
    }

    /// How many places without a unit one more thread may keep at hand.
    pub(crate) fn allow(&self) -> Allowed {
        self.pool.allow()
    }

    /// How many units may be in progress.
    pub(crate) fn most(&self) -> usize {
        self.pool.most()
    }

    pub(crate) fn give_up(&self, allowed: Allowed) {
        self.pool.give_up(allowed);
    }

    /// Starts a unit at a place that the calling thread has at hand, or at one of the pool; `None`
    /// if the most units are in progress, which `is_full` says where it is not plain.
    #[inline(always)]
    pub(crate) fn begin(
        &self,
        start: Start,
        at_hand: Option<PoolItem<LiveUnit>>,
        is_full: impl FnOnce() -> bool,
    ) -> Option<(UnitRef, &'static LiveUnit)> {
        let taken = match at_hand.or_else(|| self.pool.take_again()) {
            Some(taken) => taken,
            None => self.pool.take_fresh(is_full)?,
        };
        let (index, live) = (taken.index(), taken.thing());
        let generation = live.generation.load(Relaxed) + 1;
        live.generation.store(generation, Relaxed);
        // Whoever reads what follows for the unit before sees that it is over; see `in_progress`.
        fence(Release);
        live.reset(start);
        let reference = UnitRef::new(index, generation);
        live.owner.store(reference.0, Release);
        Some((reference, live))
    }

    /// Where a unit is, or was.
    #[inline]
    pub(crate) fn place(&self, reference: UnitRef) -> Option<&'static LiveUnit> {
        self.pool.at(reference.index())
    }

    /// The unit's figures, unless the unit has ended.
    #[inline]
    pub(crate) fn get(&self, reference: UnitRef) -> Option<&'static LiveUnit> {
        self.place(reference).filter(|live| live.is(reference))
    }

    /// Ends a unit, and fills in what it cost. The caller, whose alone the end is, keeps its place at
    /// hand or gives it back. `now` is asked if the unit was never entered.
    #[inline]
    pub(crate) fn finish(
        &self,
        reference: UnitRef,
        now: impl FnOnce() -> u64,
        unit: &mut Finished,
    ) -> Option<Ended> {
        Self::finish_at(self.place(reference)?, reference, now, unit)
    }

    /// The same of a unit that lies there, if it does.
    #[inline]
    pub(crate) fn finish_at(
        live: &'static LiveUnit,
        reference: UnitRef,
        now: impl FnOnce() -> u64,
        unit: &mut Finished,
    ) -> Option<Ended> {
        if !live.is(reference) {
            return None;
        }
        live.take(now, unit);
        let ended = Ended {
            reference,
            started: live.started(),
            is_drawn: live.is_drawn(),
            is_in_incident: live.is_in_incident(),
            place: PoolItem::of(reference.index(), live),
        };
        live.owner.store(0, Release);
        Some(ended)
    }

    /// Calls `each` with every unit in progress, what it has cost until `now`, and whether a thread has
    /// entered it that never left it. A unit that ends meanwhile may be missing.
    pub(crate) fn in_progress(&self, now: u64, mut each: impl FnMut(UnitRef, &Finished, bool)) {
        let mut unit = Finished::empty();
        for (_, live) in self.pool.made() {
            // Acquire what was stored before the unit began.
            let owner = live.owner.load(Acquire);
            if owner == 0 {
                continue;
            }
            let is_inside = live.so_far(now, &mut unit);
            // If the unit has ended, the figures may be the next one's.
            fence(Acquire);
            if live.owner.load(Relaxed) == owner {
                each(UnitRef(owner), &unit, is_inside);
            }
        }
    }

    pub(crate) fn give_back(&self, place: PoolItem<LiveUnit>) {
        self.pool.give_back(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{BoundaryId, BoundaryMetric, KindId, Metric};
    use crate::os::Sampled;

    fn start(kind: u32, timed: bool, now: u64) -> Start {
        Start {
            kind: KindId(kind),
            timed,
            drawn: false,
            sampled: Sampled::No,
            now,
            thread: 1,
            name: Default::default(),
        }
    }

    #[test]
    fn a_late_reference_does_not_reach_the_next_unit() {
        let live_units = LiveUnits::new(1);
        let (first, _) = live_units.begin(start(1, false, 5), None, || true).unwrap();
        assert!(live_units.get(first).is_some());
        let mut unit = Finished::empty();
        let ended = live_units.finish(first, || 9, &mut unit).unwrap();
        assert_eq!((unit.costs.value(Metric::Wall), ended.started), (4, 5));
        let (second, _) = live_units
            .begin(start(1, false, 10), Some(ended.place), || true)
            .unwrap();
        assert_eq!(first.index(), second.index());
        assert!(live_units.get(first).is_none());
        assert!(
            live_units
                .finish(first, || 11, &mut Finished::empty())
                .is_none()
        );
        assert!(live_units.get(second).is_some());
    }

    #[test]
    fn a_place_starts_clean_however_many_boundaries_were_crossed_before() {
        let live_units = LiveUnits::new(1);
        let (unit, _) = live_units.begin(start(1, true, 1), None, || true).unwrap();
        let live = live_units.get(unit).unwrap();
        for n in 0..40 {
            // By its own thread, and by another.
            let crossed = live.begin_call(BoundaryId(n + 1), (1, false), u64::from(n % 2 + 1));
            crossed.add(BoundaryMetric::Sent, 2, n % 3 == 0);
        }
        let mut finished = Finished::empty();
        let ended = live_units.finish(unit, || 2, &mut finished).unwrap();
        let sum = |metric| -> u64 { finished.boundaries.iter().map(|b| b.value(metric)).sum() };
        assert_eq!(
            (sum(BoundaryMetric::Calls), sum(BoundaryMetric::Sent)),
            (40, 80)
        );
        let other = finished.boundaries.of(BoundaryId::OTHER).unwrap();
        assert_eq!(other.value(BoundaryMetric::Calls), 8);
        assert_eq!(finished.boundaries.len(), 33);
        live_units.give_back(ended.place);
        let (unit, _) = live_units.begin(start(1, false, 3), None, || true).unwrap();
        live_units.finish(unit, || 4, &mut finished).unwrap();
        assert!(finished.boundaries.is_empty());
        assert_eq!(finished.telemetry_ns, None);
    }

    #[test]
    fn past_the_most_units_there_is_none_and_ended_ones_make_room() {
        let live_units = LiveUnits::new(CHUNK);
        let units: Vec<_> = (0..CHUNK)
            .map(|_| {
                live_units
                    .begin(start(0, false, 1), None, || true)
                    .unwrap()
                    .0
            })
            .collect();
        assert!(
            live_units
                .begin(start(0, false, 1), None, || true)
                .is_none()
        );
        let ended = live_units.finish(units[3], || 2, &mut Finished::empty());
        live_units.give_back(ended.unwrap().place);
        assert!(
            live_units
                .begin(start(0, false, 1), None, || true)
                .is_some()
        );
    }
}
