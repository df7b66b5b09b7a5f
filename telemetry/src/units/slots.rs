//! Units in progress. Each has a slot of atomics, taken from a pool that grows in chunks up to a
//! fixed number and never shrinks.

use super::finished::Finished;
use super::slot::{Slot, Start};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

const CHUNK: usize = 64;

/// A slot and the generation of the unit in it: a late caller cannot mistake the next unit for
/// its own. The index in the lower 20 bits, the generation above, 62 bits in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRef(pub(crate) u64);

const INDEX_BITS: u32 = 20;
/// Units in progress that can be told apart.
pub(crate) const MAX_SLOTS: usize = 1 << INDEX_BITS;

impl SlotRef {
    fn new(index: u32, generation: u64) -> Self {
        SlotRef((generation << INDEX_BITS | u64::from(index)) & (u64::MAX >> 2))
    }

    fn index(self) -> usize {
        (self.0 & (MAX_SLOTS as u64 - 1)) as usize
    }
}

/// A slot without a unit, for a thread to keep at hand: taking one from the pool, and giving it back,
/// are locked instructions on a cache line that all threads share.
#[derive(Debug)]
pub(crate) struct FreeSlot(u32);

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
    pub(crate) slot: FreeSlot,
}

/// The pool of slots.
#[derive(Debug)]
pub(crate) struct Slots {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    /// Slots in chunks that exist.
    len: AtomicU32,
    /// The first free slot's index plus one in the lower half; a tag in the upper that changes
    /// with every push and pop, so that a slot which left and came back is not mistaken.
    free: AtomicU64,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        let chunks = max.clamp(CHUNK, MAX_SLOTS).div_ceil(CHUNK);
        Slots {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            len: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// How many free slots a thread may keep at hand: enough for it to begin and end units in turns,
    /// and so few that 500 threads leave half of them to others.
    pub(crate) fn at_hand(&self) -> usize {
        (self.chunks.len() * CHUNK / 1024).clamp(1, 16)
    }

    /// Starts a unit in a slot that the calling thread has at hand, or in one of the pool; `None`
    /// if the most units are in progress.
    pub(crate) fn begin(&self, start: Start, at_hand: Option<FreeSlot>) -> Option<SlotRef> {
        let index = match at_hand.map(|slot| slot.0).or_else(|| self.pop()) {
            Some(index) => index,
            None => self.grow()?,
        };
        let slot = self.at(index as usize)?;
        let generation = slot.generation.load(Relaxed) + 1;
        slot.generation.store(generation, Relaxed);
        slot.reset(start);
        let reference = SlotRef::new(index, generation);
        slot.owner.store(reference.0, Release);
        Some(reference)
    }

    /// The unit's slot, unless the unit has ended.
    pub(crate) fn get(&self, reference: SlotRef) -> Option<&Slot> {
        let slot = self.at(reference.index())?;
        (slot.owner.load(Acquire) == reference.0).then_some(slot)
    }

    /// Ends a unit, and fills in what it cost. The caller, whose alone the end is, keeps its slot at
    /// hand or gives it back. `now` is asked if the unit was never entered.
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
            slot: FreeSlot(reference.index() as u32),
        };
        slot.owner.store(0, Release);
        Some(ended)
    }

    pub(crate) fn give_back(&self, slot: FreeSlot) {
        self.push(slot.0);
    }

    fn at(&self, index: usize) -> Option<&Slot> {
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
    }

    fn push(&self, index: u32) {
        let Some(slot) = self.at(index as usize) else {
            return;
        };
        let mut head = self.free.load(Relaxed);
        loop {
            slot.next_free.store(head as u32, Relaxed);
            let new = next_tag(head) | u64::from(index + 1);
            // Release `next_free` and the slot's state to whoever pops it.
            match self.free.compare_exchange_weak(head, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop(&self) -> Option<u32> {
        let mut head = self.free.load(Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            // Stale if another thread pops the slot now; the tag then fails the exchange.
            let next = self.at(index as usize)?.next_free.load(Relaxed);
            let new = next_tag(head) | u64::from(next);
            match self.free.compare_exchange_weak(head, new, Acquire, Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    /// Takes a fresh slot, and makes the chunk that it lies in if it is the chunk's first.
    #[cold]
    fn grow(&self) -> Option<u32> {
        let max = (self.chunks.len() * CHUNK) as u32;
        let index = self
            .len
            .fetch_update(Relaxed, Relaxed, |len| (len < max).then_some(len + 1))
            .ok()?;
        self.chunks[index as usize / CHUNK]
            .get_or_init(|| alloc_tracker::excluded(|| (0..CHUNK).map(|_| Slot::new()).collect()));
        Some(index)
    }
}

fn next_tag(head: u64) -> u64 {
    (head & !u64::from(u32::MAX)).wrapping_add(1 << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::BoundaryId;
    use crate::system::Sampled;
    use crate::units::KindId;

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
        let first = slots.begin(start(1, false, 5), None).unwrap();
        assert!(slots.get(first).is_some());
        let mut unit = Finished::blank();
        let ended = slots.finish(first, || 9, &mut unit).unwrap();
        assert_eq!((unit.wall, ended.started), (4, 5));
        let second = slots.begin(start(1, false, 10), Some(ended.slot)).unwrap();
        assert_eq!(first.index(), second.index());
        assert!(slots.get(first).is_none());
        assert!(slots.finish(first, || 11, &mut Finished::blank()).is_none());
        assert!(slots.get(second).is_some());
    }

    #[test]
    fn a_slot_starts_clean_however_many_boundaries_were_crossed_before() {
        let slots = Slots::new(1);
        let unit = slots.begin(start(1, true, 1), None).unwrap();
        for n in 0..20 {
            slots.get(unit).unwrap().cross(BoundaryId(n + 1), 1, 2, 3);
        }
        let mut finished = Finished::blank();
        let ended = slots.finish(unit, || 2, &mut finished).unwrap();
        let calls: u64 = finished.boundaries.iter().map(|b| b.calls).sum();
        assert_eq!(calls, 20);
        assert_eq!(finished.boundaries[7].id, BoundaryId::OTHER);
        slots.give_back(ended.slot);
        let unit = slots.begin(start(1, false, 3), None).unwrap();
        slots.finish(unit, || 4, &mut finished).unwrap();
        assert!(finished.boundaries.is_empty());
        assert_eq!(finished.telemetry_ns, None);
    }

    #[test]
    fn past_the_most_units_there_is_none_and_ended_ones_make_room() {
        let slots = Slots::new(CHUNK);
        let units: Vec<_> = (0..CHUNK)
            .map(|_| slots.begin(start(0, false, 1), None).unwrap())
            .collect();
        assert!(slots.begin(start(0, false, 1), None).is_none());
        let ended = slots.finish(units[3], || 2, &mut Finished::blank());
        slots.give_back(ended.unwrap().slot);
        assert!(slots.begin(start(0, false, 1), None).is_some());
    }
}
