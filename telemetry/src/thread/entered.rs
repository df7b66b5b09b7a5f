//! Spans are entered and left, and with them the thread's work for their units.

use super::stack::{Entry, Found, Left};
use super::state::ThreadState;
use super::with;
use crate::instance::Instance;
use crate::ledger::Untold;
use crate::live::{KnownSpan, LiveUnit, UnitOfSpan, UnitRef};
use crate::os::Started;
use alloc_tracker::raw::Segment;
use std::sync::Arc;
use std::thread;

/// A thread's work for a unit, from its outermost entry on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// When it began; 0: this is not the outermost entry.
    entered: u64,
    /// What it allocates.
    segment: Segment,
    /// How much more about it there is in [`ThreadState::samples`].
    ///
    /// PERF: a whole word, as the others: a flag and the bytes beside it are copied by loads that overlap
    /// the store of the flag just before, for which a processor waits.
    samples: u64,
}

impl Work {
    pub(super) const NONE: Work = Work {
        entered: 0,
        segment: Segment::NONE,
        samples: 0,
    };

    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.entered == 0
    }
}

/// A span of a unit was entered or left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryOrExit {
    pub(crate) in_unit: UnitOfSpan,
    /// A panic unwinds through it.
    pub(crate) unwinds: bool,
    /// The thread's stack has grown: it is to be [tidied](tidy).
    pub(crate) wants_tidying: bool,
    /// When this began, if the unit is one of those of which telemetry itself is timed.
    pub(crate) timed_from: Option<u64>,
}

impl EntryOrExit {
    #[inline]
    fn now(instance: &Instance, in_unit: UnitOfSpan) -> Self {
        EntryOrExit {
            in_unit,
            unwinds: false,
            wants_tidying: false,
            timed_from: in_unit.timed().then(|| instance.clock.now()),
        }
    }
}

/// A span of a unit is entered.
#[inline]
pub(crate) fn enter(instance: &Arc<Instance>, span: u64, known: KnownSpan) -> Option<EntryOrExit> {
    with(|all| {
        let in_unit = known.in_unit;
        let mut passed = EntryOrExit::now(instance, in_unit);
        let state = all.state(instance);
        let found = state.stack.enter(span, &known);
        // Nobody works for a unit that is over.
        let unit = match found {
            Found::Nothing => instance.live_units.get(in_unit.unit()),
            Found::Same | Found::SameUnit => None,
        };
        let mut work = Work::NONE;
        if unit.is_some() || instance.keeps_details() {
            let now = instance.clock.now();
            state.looked_at = now;
            if instance.keeps_details() {
                (state.outbox.details).enter(now, in_unit.unit(), known.detail);
            }
            if let Some(unit) = unit {
                unit.enter(state.thread);
                work = state.begin_work(unit, in_unit.unit(), now);
            }
        }
        if found != Found::Same {
            passed.wants_tidying = (state.stack).push(span, known, thread::panicking(), work);
        }
        passed
    })
}

/// A span that only the subscriber knows is entered.
#[inline]
pub(crate) fn enter_other(instance: &Arc<Instance>, span: u64) -> Option<EntryOrExit> {
    with(|all| {
        // With nothing of ours around it, the subscriber is asked anyway.
        let state = (all.known_state(instance)).filter(|state| !state.stack.is_empty())?;
        Some(EntryOrExit {
            wants_tidying: state.stack.enter_other(span),
            ..EntryOrExit::now(instance, UnitOfSpan::NONE)
        })
    })?
}

/// What the thread has entered and is over goes. `is_there`: whether the subscriber still has a span that
/// only it knows.
#[cold]
pub(crate) fn tidy(instance: &Arc<Instance>, is_there: impl Fn(u64) -> bool) {
    with(|all| {
        let Some(state) = all.known_state(instance) else {
            return;
        };
        alloc_tracker::raw::for_a_tool(|| {
            let mut over = Vec::new();
            (state.stack).tidy(&instance.spans, is_there, |entry| over.push(entry));
            for entry in over {
                state.abandon(instance, &entry);
            }
        });
    });
}

/// Who has a span: the subscriber as well, or telemetry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOwner {
    Subscriber,
    Telemetry,
}

/// A span is left; `None` if this thread had not entered it, it is not of a unit, or somebody else has it.
#[inline]
pub(crate) fn exit(instance: &Arc<Instance>, span: u64, who: SpanOwner) -> Option<EntryOrExit> {
    with(|all| {
        let is_lean = who == SpanOwner::Telemetry;
        let Some(state) = all.known_state(instance) else {
            left_elsewhere(instance, span, is_lean);
            return None;
        };
        if !state.stack.is_innermost(span) {
            return state.exit_further_out(instance, span, is_lean);
        }
        match state.stack.leave(&instance.spans, is_lean) {
            Some(left) => state.exit(instance, left),
            None => {
                left_elsewhere(instance, span, is_lean);
                None
            }
        }
    })?
}

/// A unit ends. What the calling thread still does for it, as far as it can tell, is in its figures.
#[inline]
pub(crate) fn ends(instance: &Arc<Instance>, in_unit: UnitOfSpan) {
    with(|all| {
        let Some(state) = all
            .known_state(instance)
            .filter(|state| !state.stack.is_empty())
        else {
            return;
        };
        let Some(work) = state.stack.take_work(in_unit) else {
            return;
        };
        let unit_ref = in_unit.unit();
        match instance
            .live_units
            .get(unit_ref)
            .is_some_and(LiveUnit::was_left_elsewhere)
        {
            true => state.abandon_work(instance, unit_ref, work),
            false => state.end_work(instance, unit_ref, work, instance.clock.now()),
        }
    });
}

/// A span is left that this thread had not entered, or that somebody else has.
#[cold]
fn left_elsewhere(instance: &Instance, span: u64, is_lean: bool) {
    let known = instance.spans.get(span);
    let known = known.filter(|known| known.lean().is_some() == is_lean);
    if let Some(unit) = known.and_then(|known| instance.live_units.get(known.in_unit.unit())) {
        unit.mark_left_elsewhere();
    }
}

impl ThreadState {
    #[inline(always)]
    fn exit(&mut self, instance: &Instance, left: Left) -> Option<EntryOrExit> {
        let (in_unit, work) = (left.in_unit, left.work);
        if in_unit.is_none() {
            return None;
        }
        let mut passed = EntryOrExit::now(instance, in_unit);
        // Not if a destructor entered it: it may be well, while something else panicked.
        passed.unwinds = thread::panicking() && !left.entered_in_unwinding;
        // PERF: two instructions. A unit that lasts, a connection say, ends nothing for a long time; what it
        // costs meanwhile is written because of this.
        instance.background.something_happened();
        if work.is_none() && !instance.keeps_details() {
            return Some(passed);
        }
        let now = instance.clock.now();
        self.looked_at = now;
        if instance.keeps_details() {
            (self.outbox.details).exit(now, in_unit.unit(), left.detail);
        }
        if !work.is_none() {
            self.end_work(instance, in_unit.unit(), work, now);
            if !self.stack.is_empty() {
                self.hand_over(instance, in_unit, now);
            }
        }
        Some(passed)
    }

    /// PERF: apart, all of it: what is left is copied only where two ways meet.
    #[cold]
    #[inline(never)]
    fn exit_further_out(
        &mut self,
        instance: &Instance,
        span: u64,
        is_lean: bool,
    ) -> Option<EntryOrExit> {
        match self.stack.leave_further_out(&instance.spans, span, is_lean) {
            Some(left) => self.exit(instance, left),
            None => {
                left_elsewhere(instance, span, is_lean);
                None
            }
        }
    }

    /// The thread starts to work for a unit.
    #[inline]
    fn begin_work(&mut self, unit: &LiveUnit, unit_ref: UnitRef, now: u64) -> Work {
        let started = Started::now(unit.sampled());
        if let Some(started) = started {
            alloc_tracker::raw::for_a_tool(|| self.samples.push((unit_ref, started)));
        }
        Work {
            entered: now,
            samples: u64::from(started.is_some()),
            segment: unit.open(),
        }
    }

    /// The thread no longer works for a unit.
    #[inline]
    fn end_work(&mut self, instance: &Instance, unit_ref: UnitRef, work: Work, now: u64) {
        work.segment.close();
        let unit = instance.live_units.get(unit_ref);
        if let Some(unit) = unit {
            unit.exit(work.entered, now, self.thread);
        }
        if work.samples > 0
            && let Some(started) = self.take_sample(unit_ref)
            && let (Some(unit), Some(costs)) = (unit, started.elapsed())
        {
            unit.add_system_costs(costs);
        }
    }

    /// Spans may be left in any order: if another span of the unit is still entered here, the thread goes
    /// on working for it. Of what it does from here on, it is told apart whether it ever ends.
    #[inline]
    fn hand_over(&mut self, instance: &Instance, in_unit: UnitOfSpan, now: u64) {
        if self.stack.heir(&instance.spans, in_unit).is_none() {
            return;
        }
        let Some(unit) = instance.live_units.get(in_unit.unit()) else {
            return;
        };
        let work = self.begin_work(unit, in_unit.unit(), now);
        if let Some(heir) = self.stack.heir(&instance.spans, in_unit) {
            heir.work = work;
        }
    }

    fn take_sample(&mut self, unit_ref: UnitRef) -> Option<Started> {
        let at = self.samples.iter().rposition(|(of, _)| *of == unit_ref)?;
        Some(self.samples.remove(at).1)
    }

    /// What the thread did since it entered was only in part for the unit, and nobody can tell which: it is
    /// nobody's.
    #[cold]
    fn abandon_work(&mut self, instance: &Instance, unit_ref: UnitRef, work: Work) {
        work.segment.abandon();
        self.take_sample(unit_ref);
        instance.counters.could_not_tell(Untold::NeverLeft);
    }

    /// The span of an entry is over and was never left here.
    pub(super) fn abandon(&mut self, instance: &Instance, entry: &Entry) {
        if entry.work.is_none() {
            return;
        }
        let in_unit = entry.known.in_unit;
        self.abandon_work(instance, in_unit.unit(), entry.work);
        // Of the unit, if it lives, the thread may have entered other spans since.
        let now = instance.clock.now();
        self.hand_over(instance, in_unit, now);
    }
}
