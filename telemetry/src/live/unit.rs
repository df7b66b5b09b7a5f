//! What one unit in progress has cost so far.

use super::crossed::{Crossed, Crossing};
use super::in_unit::UnitRef;
use super::moments::{Moments, Stretch};
use super::nested::{Nested, Outer};
use super::shared_sum::SharedSum;
use crate::cost::{
    BoundaryId, BoundaryMetric, Finished, KindId, Metric, Outcome, Source, UnitCosts,
};
use crate::os::{Sampled, SystemCosts};
use crate::record::TraceIds;
use alloc_tracker::Usage;
use alloc_tracker::raw::{Account, Segment, UnitName};
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

const NOT_SAMPLED: u8 = 0;
const WITHOUT_IO: u8 = 1;
const WITH_IO: u8 = 2;

/// What one unit has cost so far. Times are nanoseconds of the instance's clock.
///
/// All accesses are relaxed: sums stand for themselves, and the unit's end is ordered after its
/// work by the span handles that were passed around (their counts release and acquire).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct LiveUnit {
    /// The [`UnitRef`](super::UnitRef) of the unit at this place; 0 when free.
    pub(super) owner: AtomicU64,
    pub(super) generation: AtomicU64,
    pub(super) next_free: AtomicU32,
    kind: AtomicU32,
    error: AtomicBool,
    /// This unit's own telemetry cost is being timed.
    timed: AtomicBool,
    /// It was drawn for the sample of exemplars.
    drawn: AtomicBool,
    /// An incident is about it, by its fields.
    in_incident: AtomicBool,
    /// A thread that had not entered it left it: the one that had cannot tell how long it worked for it.
    left_elsewhere: AtomicBool,
    /// The number of the thread that began the unit.
    thread: AtomicU64,
    /// Where its allocations are, and those of the units at this place after it.
    account: Account,
    started: AtomicU64,
    last_exit: SharedSum,
    moments: Moments,
    /// How long some thread was at work for it.
    active: SharedSum,
    /// How often it was woken and not polled since, and how long it was so while no thread was at work.
    woken: AtomicU32,
    queued: AtomicU64,
    /// The same since a thread was at work last: of that nobody knows yet whether one will be again.
    queued_pending: AtomicU64,
    /// That, or the same of a boundary, is not nothing.
    has_pending: AtomicBool,
    /// Its wake-ups are seen.
    is_seen_woken: AtomicBool,
    /// What threads add to: see [`Source::Added`].
    added: [SharedSum; Source::ADDED.len()],
    telemetry_ns: AtomicU64,
    /// What the system is asked about the unit: a [`Sampled`] as a number.
    sampled: AtomicU8,
    /// The answers.
    asked: [AtomicU64; Source::ASKED.len()],
    asked_for_io: [AtomicU64; Source::ASKED_FOR_IO.len()],
    crossed: Crossed,
    nested: Nested,
    /// Where it is in a trace: [`TraceIds`] as words; 0s: nowhere, or not known yet.
    trace: [AtomicU64; 3],
    /// Whoever knows that was asked.
    trace_was_asked: AtomicBool,
    /// Some boundary was crossed, or `nested` or `trace` says something.
    has_more: AtomicBool,
}

impl LiveUnit {
    pub(super) fn new() -> Self {
        LiveUnit::default()
    }

    /// Whether it is about this unit.
    #[inline]
    pub(crate) fn is(&self, unit: UnitRef) -> bool {
        self.owner.load(Acquire) == unit.0
    }

    /// Nobody works for the unit at this place, if there is one, and nobody finds it.
    pub(super) fn forget(&self) {
        self.owner.store(0, Relaxed);
        self.account.exchange();
    }

    /// Adds to a figure, on the thread with this number.
    #[inline(always)]
    pub(crate) fn add(&self, metric: Metric, n: u64, thread: u64) {
        self.added[metric.place()].add(n, self.is_owner(thread));
    }

    /// The thread with this number enters the unit.
    #[inline]
    pub(crate) fn enter(&self, thread: u64) {
        self.add(Metric::Wakeups, 1, thread);
    }

    /// It starts to work for it: what it allocates from here on is the unit's.
    #[inline(always)]
    pub(crate) fn open(&self, now: u64, thread: u64) -> Segment {
        let stretch = self.moments.enter(now);
        self.put(stretch, self.is_owner(thread));
        self.account.open()
    }

    /// It stops, at `now`, after having started at `entered`.
    #[inline(always)]
    pub(crate) fn exit(&self, entered: u64, now: u64, thread: u64) {
        // PERF: asked once for all.
        let by_owner = self.is_owner(thread);
        self.added[Metric::Busy.place()].add(now.saturating_sub(entered), by_owner);
        self.last_exit.reach(now, by_owner);
        let stretch = self.moments.exit(now);
        self.put(stretch, by_owner);
    }

    /// Whether the system is to be asked at each entry and exit.
    #[inline]
    pub(crate) fn is_sampled(&self) -> bool {
        self.sampled.load(Relaxed) != NOT_SAMPLED
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
        let asked = |metric: Metric, n| self.asked[metric.place()].fetch_add(n, Relaxed);
        asked(Metric::Cpu, costs.cpu);
        asked(Metric::VoluntarySwitches, costs.voluntary);
        asked(Metric::InvoluntarySwitches, costs.involuntary);
        let io = costs.io.unwrap_or_default();
        let asked_for_io = |metric: Metric, n| {
            self.asked_for_io[metric.place()].fetch_add(n, Relaxed);
        };
        asked_for_io(Metric::IoCalls, io.calls);
        asked_for_io(Metric::IoBytes, io.bytes);
        if costs.io.is_none() {
            // The kernel does not say: unknown, not none.
            self.sampled.store(WITHOUT_IO, Relaxed);
        }
    }

    /// What the system said, if it was asked, and knows.
    #[inline]
    fn fill_asked(&self, costs: &mut UnitCosts) {
        let sampled = self.sampled();
        let is_asked = sampled != Sampled::No && costs.value(Metric::Wakeups) > 0;
        costs.tell(Source::Asked, is_asked);
        costs.tell(Source::AskedForIo, is_asked && sampled == Sampled::UseAndIo);
        if is_asked {
            for metric in Source::ASKED {
                costs.set(metric, self.asked[metric.place()].load(Relaxed));
            }
            for metric in Source::ASKED_FOR_IO {
                costs.set(metric, self.asked_for_io[metric.place()].load(Relaxed));
            }
            // Two clocks, and what a reading takes differs by a little: nobody has a processor for longer
            // than he has been at work.
            let cpu = costs.value(Metric::Cpu);
            costs.set(Metric::Cpu, cpu.min(costs.value(Metric::Busy)));
        }
    }

    /// Whether the thread with this number began it.
    #[inline]
    pub(crate) fn is_owner(&self, thread: u64) -> bool {
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

    /// A call across a boundary begins, on the thread with this number.
    #[inline(always)]
    pub(crate) fn begin_call(
        &'static self,
        boundary: BoundaryId,
        (now, waits): (u64, bool),
        thread: u64,
    ) -> &'static Crossing {
        self.waits_otherwise(now);
        let crossed = self.crossed.of(boundary);
        crossed.begin(now, waits, self.is_owner(thread));
        // Afterwards, and Release: who comes too late for the unit leaves sums that the next reset clears.
        self.has_more.store(true, Release);
        crossed
    }

    /// Something was added to what it does across a boundary.
    #[inline]
    pub(crate) fn has_crossed(&self) {
        // As where a call begins.
        self.has_more.store(true, Release);
    }

    /// A call across a boundary has begun and ended, and with it there is so much more of a figure.
    #[inline(always)]
    pub(crate) fn pass(&self, boundary: BoundaryId, metric: BoundaryMetric, n: u64, thread: u64) {
        let by_owner = self.is_owner(thread);
        let crossed = self.crossed.of(boundary);
        crossed.add(BoundaryMetric::Calls, 1, by_owner);
        crossed.add(metric, n, by_owner);
        // As where a call begins.
        self.has_more.store(true, Release);
    }

    /// What it does across a boundary, across which a call has begun.
    pub(crate) fn crossing(&self, boundary: BoundaryId) -> &Crossing {
        self.crossed.of(boundary)
    }

    /// Whether it was drawn for the sample of exemplars.
    #[inline]
    pub(crate) fn is_drawn(&self) -> bool {
        self.drawn.load(Relaxed)
    }

    /// Whether an incident is about it, by its fields.
    #[inline]
    pub(crate) fn is_in_incident(&self) -> bool {
        self.in_incident.load(Relaxed)
    }

    pub(crate) fn mark_incident(&self) {
        self.in_incident.store(true, Relaxed);
    }

    /// A thread leaves it that had not entered it.
    pub(crate) fn mark_left_elsewhere(&self) {
        self.left_elsewhere.store(true, Relaxed);
    }

    pub(crate) fn was_left_elsewhere(&self) -> bool {
        self.left_elsewhere.load(Relaxed)
    }

    #[inline]
    pub(crate) fn kind(&self) -> KindId {
        KindId(self.kind.load(Relaxed))
    }

    /// It is of another kind from here on, called so in heap profiles; the one that it was of.
    pub(crate) fn set_kind(&self, kind: KindId, name: UnitName) -> KindId {
        self.account.set_name(name);
        KindId(self.kind.swap(kind.0, Relaxed))
    }

    /// Where it is in a trace, if that is known.
    pub(crate) fn trace(&self) -> Option<TraceIds> {
        let words = [0, 1, 2].map(|n: usize| self.trace[n].load(Relaxed));
        (words != [0; 3]).then(|| TraceIds::from_words(words))
    }

    /// Whether nobody was asked for that so far. From here on somebody was.
    pub(crate) fn asks_for_trace(&self) -> bool {
        self.has_more.store(true, Relaxed);
        !self.trace_was_asked.swap(true, Relaxed)
    }

    pub(crate) fn set_trace(&self, ids: TraceIds) {
        for (word, value) in self.trace.iter().zip(ids.as_words()) {
            word.store(value, Relaxed);
        }
        // As with boundaries.
        self.has_more.store(true, Release);
    }

    /// The unit begins inside another one.
    pub(crate) fn begin_inside(&self, outer: Outer) {
        self.nested.begin(outer);
        self.has_more.store(true, Relaxed);
    }

    /// Work for it is over that was done inside of the work for another unit.
    pub(crate) fn add_inside(&self, usage: Option<Usage>, busy: u64) {
        self.nested.add(usage, busy);
        // As with boundaries.
        self.has_more.store(true, Release);
    }

    /// The unit around it, which may be over.
    #[inline]
    pub(crate) fn outer(&self) -> Option<Outer> {
        self.nested.outer()
    }

    /// A unit begins inside this one.
    pub(super) fn set_has_inner(&self) {
        self.nested.set_has_inner();
        self.has_more.store(true, Relaxed);
    }

    /// Whether units have begun inside it.
    #[inline]
    pub(crate) fn has_inner(&self) -> bool {
        self.nested.has_inner()
    }

    /// How many units are around it.
    pub(super) fn depth(&self) -> u8 {
        self.nested.depth()
    }

    pub(super) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Fills in what the unit has cost, now that it has ended. `now` is asked if it was never entered.
    ///
    /// PERF: in place: it is 200 bytes, and every move of it is a copy.
    #[inline]
    pub(super) fn take(&self, now: impl FnOnce() -> u64, unit: &mut Finished) {
        let last_exit = self.last_exit.latest();
        let usage = Some(self.account.exchange()).filter(Usage::is_tracked);
        // A close can come long after the work: the last exit tells the truth, if there was one, and what came after it is
        // in no wall time. A unit that was never entered lasted until now.
        let is_entered = last_exit != 0;
        let end = if is_entered { last_exit } else { now() };
        if !is_entered {
            self.waits_otherwise(end);
        }
        let with_pending = !is_entered;
        self.fill(end, usage, unit, with_pending);
    }

    /// Fills in what the unit, which may be in progress, has cost until `now`: what a thread does for it is
    /// in it when the thread leaves it. True if a thread has entered it, and none ever left it.
    pub(super) fn so_far(&self, now: u64, unit: &mut Finished) -> bool {
        let usage = self.account.ended_usage();
        self.fill(now, usage, unit, true);
        unit.costs.value(Metric::Wakeups) > 0 && self.last_exit.latest() == 0
    }

    #[inline(always)]
    fn fill(&self, end: u64, usage: Option<Usage>, unit: &mut Finished, with_pending: bool) {
        let timed = self.timed.load(Relaxed);
        unit.kind = self.kind();
        unit.error = self.error.load(Relaxed);
        let costs = &mut unit.costs;
        let wall = end.saturating_sub(self.started());
        costs.set(Metric::Wall, wall);
        costs.set(Metric::Retries, 0);
        costs.set(Metric::Wait, 0);
        costs.set(Metric::Queued, 0);
        for metric in Source::ADDED {
            costs.set(metric, self.added[metric.place()].sum());
        }
        costs.tell(Source::Tracked, usage.is_some());
        costs.tell(Source::Woken, false);
        let usage = usage.unwrap_or_default();
        costs.set(Metric::Allocs, usage.allocs);
        costs.set(Metric::AllocBytes, usage.alloc_bytes);
        costs.set(Metric::PeakBytes, usage.peak_bytes);
        self.fill_asked(costs);
        unit.telemetry_ns = timed.then(|| self.telemetry_ns.load(Relaxed));
        unit.exemplar = Outcome::default();
        unit.inside = None;
        unit.boundaries.clear();
        if self.has_more.load(Relaxed) {
            unit.inside = self.nested.costs();
            self.crossed.fill(&mut unit.boundaries, with_pending);
            let retries = unit.boundaries.iter();
            let retries = retries.map(|crossed| crossed.value(BoundaryMetric::Retries));
            unit.costs.set(Metric::Retries, retries.sum());
            self.fill_idle(unit, with_pending);
        }
        // Clocks of different cores differ by a little.
        let costs = &mut unit.costs;
        let idle = costs.value(Metric::Queued) + costs.value(Metric::Wait);
        let active = self.active.sum().min(wall - idle);
        costs.set(Metric::Active, active);
        costs.set(Metric::Unexplained, wall - idle - active);
    }

    #[inline]
    pub(super) fn reset(&self, start: Start) {
        let Start {
            kind,
            timed,
            drawn,
            sampled,
            now,
            thread,
            name,
        } = start;
        self.account.set_name(name);
        self.kind.store(kind.0, Relaxed);
        let sampled = match sampled {
            Sampled::No => NOT_SAMPLED,
            Sampled::Use => WITHOUT_IO,
            Sampled::UseAndIo => WITH_IO,
        };
        self.sampled.store(sampled, Relaxed);
        if sampled != NOT_SAMPLED {
            let asked = self.asked.iter().chain(&self.asked_for_io);
            asked.for_each(|sum| sum.store(0, Relaxed));
        }
        self.error.store(false, Relaxed);
        self.timed.store(timed, Relaxed);
        self.drawn.store(drawn, Relaxed);
        self.in_incident.store(false, Relaxed);
        self.left_elsewhere.store(false, Relaxed);
        self.thread.store(thread, Relaxed);
        self.started.store(now, Relaxed);
        self.last_exit.clear();
        self.moments.begin(now);
        self.active.clear();
        self.added.iter().for_each(SharedSum::clear);
        self.telemetry_ns.store(0, Relaxed);
        // PERF: few units have any.
        if self.has_more.load(Relaxed) {
            self.has_more.store(false, Relaxed);
            self.nested.reset();
            self.trace.iter().for_each(|word| word.store(0, Relaxed));
            self.trace_was_asked.store(false, Relaxed);
            self.crossed.reset();
            self.woken.store(0, Relaxed);
            self.queued.store(0, Relaxed);
            self.queued_pending.store(0, Relaxed);
            self.has_pending.store(false, Relaxed);
            self.is_seen_woken.store(false, Relaxed);
        }
    }
}

/// A unit that starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) kind: KindId,
    /// What telemetry itself takes for it is timed.
    pub(crate) timed: bool,
    /// It is in the sample of exemplars.
    pub(crate) drawn: bool,
    pub(crate) sampled: Sampled,
    /// The time.
    pub(crate) now: u64,
    /// The number of the thread.
    pub(crate) thread: u64,
    /// What heap profiles call it.
    pub(crate) name: UnitName,
}

#[cfg(test)]
mod tests;
mod wall;
