//! Units in progress. Each has a slot of atomics, taken from a pool.

use super::pool::{Allowed, CHUNK, Pool, Pooled, Taken};
use super::slot::{Slot, Start};
use crate::cost::Finished;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// A slot and the generation of the unit in it: a late caller cannot mistake the next unit for
/// its own. The index in the lower 21 bits, the generation above, 61 bits in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRef(pub(crate) u64);

const INDEX_BITS: u32 = 21;
/// Slots that can be told apart.
const MAX_SLOTS: usize = 1 << INDEX_BITS;
/// Units that may be in progress at once: threads that do nothing may keep half as many slots.
const MOST_UNITS: usize = 1 << (INDEX_BITS - 1);

impl SlotRef {
    /// What [`Membership`](super::Membership) has room for beside its flags.
    pub(super) const MASK: u64 = u64::MAX >> 3;

    fn new(index: u32, generation: u64) -> Self {
        SlotRef((generation << INDEX_BITS | u64::from(index)) & SlotRef::MASK)
    }

    fn index(self) -> u32 {
        (self.0 & (MAX_SLOTS as u64 - 1)) as u32
    }
}

/// A unit that has ended, and the slot that it leaves.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reference: SlotRef,
    /// By the instance's clock.
    pub(crate) started: u64,
    /// It is in the sample of exemplars.
    pub(crate) is_drawn: bool,
    /// An incident is about it, by its fields.
    pub(crate) is_in_incident: bool,
    pub(crate) slot: Taken,
}

impl Pooled for Slot {
    fn new() -> Self {
        Slot::new()
    }

    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

/// The slots of all units.
#[derive(Debug)]
pub(crate) struct Slots {
    pool: Pool<Slot>,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        Slots {
            pool: Pool::new(max.clamp(CHUNK, MOST_UNITS)),
        }
    }

    /// How many slots without a unit one more thread may keep at hand.
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

    /// Starts a unit in a slot that the calling thread has at hand, or in one of the pool; `None`
    /// if the most units are in progress, which `is_full` says where it is not plain.
    #[inline]
    pub(crate) fn begin(
        &self,
        start: Start,
        at_hand: Option<Taken>,
        is_full: impl FnOnce() -> bool,
    ) -> Option<SlotRef> {
        let taken = match at_hand.or_else(|| self.pool.take_again()) {
            Some(taken) => taken,
            None => self.pool.take_fresh(is_full)?,
        };
        let index = taken.0;
        let slot = self.pool.at(index)?;
        let generation = slot.generation.load(Relaxed) + 1;
        slot.generation.store(generation, Relaxed);
        // Whoever reads what follows for the unit before sees that it is over; see `in_progress`.
        fence(Release);
        slot.reset(start);
        let reference = SlotRef::new(index, generation);
        slot.owner.store(reference.0, Release);
        Some(reference)
    }

    /// The unit's slot, unless the unit has ended.
    #[inline]
    pub(crate) fn get(&self, reference: SlotRef) -> Option<&Slot> {
        let slot = self.pool.at(reference.index())?;
        (slot.owner.load(Acquire) == reference.0).then_some(slot)
    }

    /// Ends a unit, and fills in what it cost. The caller, whose alone the end is, keeps its slot at
    /// hand or gives it back. `now` is asked if the unit was never entered.
    #[inline]
    pub(crate) fn finish(
        &self,
        reference: SlotRef,
        now: impl FnOnce() -> u64,
        unit: &mut Finished,
    ) -> Option<Ended> {
        let slot = self.get(reference)?;
        slot.take(now, unit);
        let ended = Ended {
            reference,
            started: slot.started(),
            is_drawn: slot.is_drawn(),
            is_in_incident: slot.is_in_incident(),
            slot: Taken(reference.index()),
        };
        slot.owner.store(0, Release);
        Some(ended)
    }

    /// Calls `each` with every unit in progress, what it has cost until `now`, and whether a thread has
    /// entered it that never left it. A unit that ends meanwhile may be missing.
    pub(crate) fn in_progress(&self, now: u64, mut each: impl FnMut(SlotRef, &Finished, bool)) {
        let mut unit = Finished::blank();
        for (_, slot) in self.pool.made() {
            // Acquire what was stored before the unit began.
            let owner = slot.owner.load(Acquire);
            if owner == 0 {
                continue;
            }
            let is_inside = slot.so_far(now, &mut unit);
            // If the unit has ended, the figures may be the next one's.
            fence(Acquire);
            if slot.owner.load(Relaxed) == owner {
                each(SlotRef(owner), &unit, is_inside);
            }
        }
    }

    pub(crate) fn give_back(&self, slot: Taken) {
        self.pool.give_back(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{BoundaryId, KindId, Metric};
    use crate::system::Sampled;

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
        let slots = Slots::new(1);
        let first = slots.begin(start(1, false, 5), None, || true).unwrap();
        assert!(slots.get(first).is_some());
        let mut unit = Finished::blank();
        let ended = slots.finish(first, || 9, &mut unit).unwrap();
        assert_eq!((unit.costs.value(Metric::Wall), ended.started), (4, 5));
        let second = slots
            .begin(start(1, false, 10), Some(ended.slot), || true)
            .unwrap();
        assert_eq!(first.index(), second.index());
        assert!(slots.get(first).is_none());
        assert!(slots.finish(first, || 11, &mut Finished::blank()).is_none());
        assert!(slots.get(second).is_some());
    }

    #[test]
    fn a_slot_starts_clean_however_many_boundaries_were_crossed_before() {
        let slots = Slots::new(1);
        let unit = slots.begin(start(1, true, 1), None, || true).unwrap();
        for n in 0..20 {
            slots.get(unit).unwrap().cross(BoundaryId(n + 1), 1, 2, 3);
        }
        let mut finished = Finished::blank();
        let ended = slots.finish(unit, || 2, &mut finished).unwrap();
        let calls: u64 = finished.boundaries.iter().map(|b| b.calls).sum();
        assert_eq!(calls, 20);
        assert_eq!(finished.boundaries[7].id, BoundaryId::OTHER);
        slots.give_back(ended.slot);
        let unit = slots.begin(start(1, false, 3), None, || true).unwrap();
        slots.finish(unit, || 4, &mut finished).unwrap();
        assert!(finished.boundaries.is_empty());
        assert_eq!(finished.telemetry_ns, None);
    }

    #[test]
    fn past_the_most_units_there_is_none_and_ended_ones_make_room() {
        let slots = Slots::new(CHUNK);
        let units: Vec<_> = (0..CHUNK)
            .map(|_| slots.begin(start(0, false, 1), None, || true).unwrap())
            .collect();
        assert!(slots.begin(start(0, false, 1), None, || true).is_none());
        let ended = slots.finish(units[3], || 2, &mut Finished::blank());
        slots.give_back(ended.unwrap().slot);
        assert!(slots.begin(start(0, false, 1), None, || true).is_some());
    }
}
