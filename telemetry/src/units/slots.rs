//! Units in progress. Each has a slot of atomics, taken from a pool that grows in chunks up to a
//! fixed number and never shrinks.

use super::KindId;
use crate::boundary::BoundaryId;
use crate::system::{Io, Sampled, SystemCosts};
use alloc_tracker::raw::UnitId;
use alloc_tracker::{Unit, Usage};
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Boundary cells of a unit. The last is for what the others have no room for.
pub(crate) const BOUNDARIES_PER_UNIT: usize = 8;

const CHUNK: usize = 64;

const NOT_SAMPLED: u8 = 0;
const WITHOUT_IO: u8 = 1;
const WITH_IO: u8 = 2;

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

/// What one unit has cost so far. Times are nanoseconds of the instance's clock.
///
/// All accesses are relaxed: sums stand for themselves, and the unit's end is ordered after its
/// work by the span handles that were passed around (their counts release and acquire).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    /// The [`SlotRef`] of the unit in this slot; 0 when free.
    owner: AtomicU64,
    generation: AtomicU64,
    next_free: AtomicU32,
    kind: AtomicU32,
    error: AtomicBool,
    /// This unit's own telemetry cost is being timed.
    timed: AtomicBool,
    /// The number of the thread that began the unit.
    thread: AtomicU64,
    /// The account in which its allocations are. Kept from one unit of the slot to the next.
    unit: AtomicU64,
    started: AtomicU64,
    last_exit: Figure,
    busy: Figure,
    wakeups: Figure,
    retries: AtomicU64,
    telemetry_ns: AtomicU64,
    /// What the system is asked about the unit: a [`Sampled`] as a number.
    sampled: AtomicU8,
    /// The answers: CPU time, voluntary and involuntary switches, calls and bytes of input and output.
    system: [AtomicU64; 5],
    boundaries: [BoundaryCell; BOUNDARIES_PER_UNIT],
}

#[derive(Debug, Default)]
struct BoundaryCell {
    /// The boundary's number plus one; 0 while unused.
    id: AtomicU32,
    calls: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A figure to which any thread may add.
///
/// PERF: most units are worked for by the thread that began them. What that one adds takes no locked
/// instruction, as it has a word of its own.
#[derive(Debug, Default)]
struct Figure {
    own: AtomicU64,
    others: AtomicU64,
}

impl Figure {
    fn add(&self, n: u64, by_owner: bool) {
        if by_owner {
            self.own.store(self.own.load(Relaxed) + n, Relaxed);
        } else {
            self.others.fetch_add(n, Relaxed);
        }
    }

    fn sum(&self) -> u64 {
        self.own.load(Relaxed) + self.others.load(Relaxed)
    }

    /// For a figure that is a moment: it only moves forward.
    fn reach(&self, moment: u64, by_owner: bool) {
        if by_owner {
            self.own.store(moment, Relaxed);
        } else {
            self.others.fetch_max(moment, Relaxed);
        }
    }

    fn latest(&self) -> u64 {
        self.own.load(Relaxed).max(self.others.load(Relaxed))
    }

    fn clear(&self) {
        self.own.store(0, Relaxed);
        self.others.store(0, Relaxed);
    }
}

/// A unit that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finished {
    pub(crate) kind: KindId,
    pub(crate) error: bool,
    pub(crate) wall: u64,
    pub(crate) busy: u64,
    pub(crate) wakeups: u64,
    pub(crate) retries: u64,
    /// `None` where nothing is tracked.
    pub(crate) usage: Option<(u64, u64, u64)>,
    /// What telemetry itself took, if that was timed.
    pub(crate) telemetry_ns: Option<u64>,
    /// What the system says, if it was asked and knows.
    pub(crate) system: Option<SystemCosts>,
    pub(crate) boundaries: Boundaries,
}

/// The boundaries that a unit crossed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Boundaries {
    len: usize,
    crossed: [FinishedBoundary; BOUNDARIES_PER_UNIT],
}

impl Boundaries {
    /// Past the most that a unit tells apart, it is ignored; nobody hands in more.
    pub(crate) fn push(&mut self, boundary: FinishedBoundary) {
        if let Some(place) = self.crossed.get_mut(self.len) {
            *place = boundary;
            self.len += 1;
        }
    }
}

impl Deref for Boundaries {
    type Target = [FinishedBoundary];

    fn deref(&self) -> &[FinishedBoundary] {
        &self.crossed[..self.len]
    }
}

impl PartialEq for Boundaries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FinishedBoundary {
    pub(crate) id: BoundaryId,
    pub(crate) calls: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Default for FinishedBoundary {
    fn default() -> Self {
        FinishedBoundary {
            id: BoundaryId::OTHER,
            calls: 0,
            sent: 0,
            received: 0,
        }
    }
}

impl Slot {
    fn new() -> Self {
        let slot = Slot::default();
        slot.unit.store(UnitId::leak(Unit::new()).0, Relaxed);
        slot
    }

    /// The thread with this number starts to work for the unit.
    pub(crate) fn enter(&self, thread: u64) -> alloc_tracker::raw::Segment {
        self.wakeups.add(1, self.is_owner(thread));
        UnitId(self.unit.load(Relaxed)).open()
    }

    /// It stops, at `now`, after having started at `entered`.
    pub(crate) fn exit(&self, entered: u64, now: u64, thread: u64) {
        let by_owner = self.is_owner(thread);
        self.busy.add(now.saturating_sub(entered), by_owner);
        self.last_exit.reach(now, by_owner);
    }

    /// What the system is to be asked at each entry and exit.
    #[inline]
    pub(crate) fn sampled(&self) -> Sampled {
        match self.sampled.load(Relaxed) {
            NOT_SAMPLED => Sampled::No,
            WITH_IO => Sampled::UseAndIo,
            _ => Sampled::Use,
        }
    }

    pub(crate) fn add_system_costs(&self, costs: SystemCosts) {
        let io = costs.io.unwrap_or_default();
        let figures = [
            costs.cpu,
            costs.voluntary,
            costs.involuntary,
            io.calls,
            io.bytes,
        ];
        for (sum, n) in self.system.iter().zip(figures) {
            sum.fetch_add(n, Relaxed);
        }
        if costs.io.is_none() {
            // The kernel does not say: unknown, not none.
            self.sampled.store(WITHOUT_IO, Relaxed);
        }
    }

    fn system_costs(&self) -> Option<SystemCosts> {
        let sampled = self.sampled();
        if sampled == Sampled::No || self.wakeups.sum() == 0 {
            return None;
        }
        let [cpu, voluntary, involuntary, calls, bytes] =
            std::array::from_fn(|i| self.system[i].load(Relaxed));
        Some(SystemCosts {
            cpu,
            voluntary,
            involuntary,
            io: (sampled == Sampled::UseAndIo).then_some(Io { calls, bytes }),
        })
    }

    fn is_owner(&self, thread: u64) -> bool {
        self.thread.load(Relaxed) == thread
    }

    pub(crate) fn mark_error(&self) {
        if !self.error.load(Relaxed) {
            self.error.store(true, Relaxed);
        }
    }

    pub(crate) fn add_telemetry_ns(&self, ns: u64) {
        self.telemetry_ns.fetch_add(ns, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// Adds to the figures of one boundary.
    pub(crate) fn cross(&self, boundary: BoundaryId, calls: u64, sent: u64, received: u64) {
        let cell = self.boundary(boundary);
        for (sum, n) in [
            (&cell.calls, calls),
            (&cell.sent, sent),
            (&cell.received, received),
        ] {
            if n > 0 {
                sum.fetch_add(n, Relaxed);
            }
        }
    }

    fn boundary(&self, boundary: BoundaryId) -> &BoundaryCell {
        let (last, cells) = (&self.boundaries[BOUNDARIES_PER_UNIT - 1], &self.boundaries);
        // What has no name of its own goes to the last cell, where the ninth boundary goes too.
        let named = if boundary == BoundaryId::OTHER {
            0
        } else {
            BOUNDARIES_PER_UNIT - 1
        };
        for cell in &cells[..named] {
            let id = boundary.0 + 1;
            let found = match cell.id.load(Relaxed) {
                0 => match cell.id.compare_exchange(0, id, Relaxed, Relaxed) {
                    Ok(_) => id,
                    Err(winner) => winner,
                },
                found => found,
            };
            if found == id {
                return cell;
            }
        }
        last.id.store(BoundaryId::OTHER.0 + 1, Relaxed);
        last
    }

    fn take(&self, now: u64) -> Finished {
        let started = self.started.load(Relaxed);
        let last_exit = self.last_exit.latest();
        let usage = Some(self.usage()).filter(Usage::is_tracked);
        let timed = self.timed.load(Relaxed);
        let mut finished = Finished {
            kind: KindId(self.kind.load(Relaxed)),
            error: self.error.load(Relaxed),
            // A close can come long after the work: the last exit tells the truth, if there was
            // one. A unit that was never entered lasted until now.
            wall: (if last_exit == 0 { now } else { last_exit }).saturating_sub(started),
            busy: self.busy.sum(),
            wakeups: self.wakeups.sum(),
            retries: self.retries.load(Relaxed),
            usage: usage.map(|u| (u.allocs, u.alloc_bytes, u.peak_bytes)),
            telemetry_ns: timed.then(|| self.telemetry_ns.load(Relaxed)),
            system: self.system_costs(),
            boundaries: Boundaries::default(),
        };
        for cell in &self.boundaries {
            if let Some(id) = cell.id.load(Relaxed).checked_sub(1) {
                finished.boundaries.push(FinishedBoundary {
                    id: BoundaryId(id),
                    calls: cell.calls.load(Relaxed),
                    sent: cell.sent.load(Relaxed),
                    received: cell.received.load(Relaxed),
                });
            }
        }
        finished
    }

    /// What the unit allocated, and the account made ready for the next one.
    fn usage(&self) -> Usage {
        let (usage, next) = UnitId(self.unit.load(Relaxed)).exchange();
        self.unit.store(next.0, Relaxed);
        usage
    }

    fn reset(&self, start: Start) {
        let Start {
            kind,
            timed,
            sampled,
            now,
            thread,
        } = start;
        self.kind.store(kind.0, Relaxed);
        let sampled = match sampled {
            Sampled::No => NOT_SAMPLED,
            Sampled::Use => WITHOUT_IO,
            Sampled::UseAndIo => WITH_IO,
        };
        self.sampled.store(sampled, Relaxed);
        if sampled != NOT_SAMPLED {
            self.system.iter().for_each(|sum| sum.store(0, Relaxed));
        }
        self.error.store(false, Relaxed);
        self.timed.store(timed, Relaxed);
        self.thread.store(thread, Relaxed);
        self.started.store(now, Relaxed);
        self.last_exit.clear();
        self.busy.clear();
        self.wakeups.clear();
        self.retries.store(0, Relaxed);
        self.telemetry_ns.store(0, Relaxed);
        for cell in &self.boundaries {
            if cell.id.load(Relaxed) == 0 {
                continue;
            }
            cell.id.store(0, Relaxed);
            cell.calls.store(0, Relaxed);
            cell.sent.store(0, Relaxed);
            cell.received.store(0, Relaxed);
        }
    }
}

/// A unit that starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) kind: KindId,
    /// What telemetry itself takes for it is timed.
    pub(crate) timed: bool,
    pub(crate) sampled: Sampled,
    /// The time.
    pub(crate) now: u64,
    /// The number of the thread.
    pub(crate) thread: u64,
}

/// A slot without a unit, for a thread to keep at hand: taking one from the pool, and giving it back,
/// are locked instructions on a cache line that all threads share.
#[derive(Debug)]
pub(crate) struct FreeSlot(u32);

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

    /// Ends a unit. The caller, whose alone the end is, keeps its slot at hand or gives it back.
    pub(crate) fn finish(&self, reference: SlotRef, now: u64) -> Option<(Finished, FreeSlot)> {
        let slot = self.get(reference)?;
        let finished = slot.take(now);
        slot.owner.store(0, Release);
        Some((finished, FreeSlot(reference.index() as u32)))
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

impl Drop for Slot {
    fn drop(&mut self) {
        let _last = UnitId(*self.unit.get_mut()).reclaim();
    }
}

fn next_tag(head: u64) -> u64 {
    (head & !u64::from(u32::MAX)).wrapping_add(1 << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(kind: u32, timed: bool, now: u64) -> Start {
        Start {
            kind: KindId(kind),
            timed,
            sampled: Sampled::No,
            now,
            thread: 1,
        }
    }

    #[test]
    fn a_late_reference_does_not_reach_the_next_unit() {
        let slots = Slots::new(1);
        let first = slots.begin(start(1, false, 5), None).unwrap();
        assert!(slots.get(first).is_some());
        let (finished, free) = slots.finish(first, 9).unwrap();
        assert_eq!(finished.wall, 4);
        let second = slots.begin(start(1, false, 10), Some(free)).unwrap();
        assert_eq!(first.index(), second.index());
        assert!(slots.get(first).is_none());
        assert!(slots.finish(first, 11).is_none());
        assert!(slots.get(second).is_some());
    }

    #[test]
    fn a_slot_starts_clean_however_many_boundaries_were_crossed_before() {
        let slots = Slots::new(1);
        let unit = slots.begin(start(1, true, 1), None).unwrap();
        for n in 0..20 {
            slots.get(unit).unwrap().cross(BoundaryId(n + 1), 1, 2, 3);
        }
        let (finished, free) = slots.finish(unit, 2).unwrap();
        let calls: u64 = finished.boundaries.iter().map(|b| b.calls).sum();
        assert_eq!(calls, 20);
        assert_eq!(finished.boundaries[7].id, BoundaryId::OTHER);
        slots.give_back(free);
        let unit = slots.begin(start(1, false, 3), None).unwrap();
        let (finished, _) = slots.finish(unit, 4).unwrap();
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
        let (_, free) = slots.finish(units[3], 2).unwrap();
        slots.give_back(free);
        assert!(slots.begin(start(0, false, 1), None).is_some());
    }
}
