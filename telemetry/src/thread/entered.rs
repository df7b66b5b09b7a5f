//! Spans are entered and left, and with them the thread's work for their units.

use super::inner::EnteredAround;
use super::stack::{Found, Left};
use super::state::ThreadState;
use super::with;
use super::work::{INSIDE, Work, is_inside};
use crate::instance::Instance;
use crate::live::{KnownSpan, LiveUnit, SpanOwner, UnitOfSpan};
use std::sync::Arc;
use std::thread;

/// A span of a unit was entered or left, and there is more to do about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryOrExit {
    pub(crate) in_unit: UnitOfSpan,
    /// A panic unwinds through it.
    pub(crate) unwinds: bool,
    /// The thread's stack has grown: it is to be [tidied](tidy).
    pub(crate) wants_tidying: bool,
    /// It is to be noted where the unit is in a trace.
    pub(crate) wants_trace: bool,
    /// When this began, if the unit is one of those of which telemetry itself is timed.
    pub(crate) timed_from: Option<u64>,
}

/// What became of an entry or exit.
///
/// PERF: mostly one of two plain answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Passed {
    /// All is done.
    Done,
    /// There is more to do.
    More(EntryOrExit),
    /// Nothing was done: the span is in no unit, or not his who asks.
    Another,
}

impl Passed {
    #[inline]
    fn through(in_unit: UnitOfSpan, timed_from: Option<u64>) -> Self {
        match timed_from {
            None => Passed::Done,
            Some(_) => Passed::More(EntryOrExit {
                in_unit,
                unwinds: false,
                wants_tidying: false,
                wants_trace: false,
                timed_from,
            }),
        }
    }
}

#[inline]
fn timed_from(instance: &Instance, in_unit: UnitOfSpan) -> Option<u64> {
    in_unit.timed().then(|| instance.clock.now())
}

/// A span is entered.
#[inline]
pub(crate) fn enter(instance: &Arc<Instance>, span: u64, who: SpanOwner) -> Passed {
    let entered = with(|all| match all.known_state(instance) {
        Some(state) => {
            state.enter_again(instance, span, who) || state.enter_plainly(instance, span, who)
        }
        None => false,
    });
    match entered {
        Some(true) => Passed::Done,
        _ => enter_otherwise(instance, span, who),
    }
}

/// PERF: apart, so that the common way keeps nothing for it.
#[inline(never)]
fn enter_otherwise(instance: &Arc<Instance>, span: u64, who: SpanOwner) -> Passed {
    let passed = with(|all| {
        let Some(known) = instance.known(span).filter(|known| who.has(known)) else {
            return Passed::Another;
        };
        let state = all.state(instance);
        let around = match known.in_unit.is_inner() {
            true => state.enter_around(instance, &known),
            false => None,
        };
        state.stack.expect(span, known);
        state.enter(instance, &known, around)
    });
    // The thread is ending, or this is a callback in a callback.
    passed.unwrap_or_else(|| match instance.spans.get(span) {
        Some(known) if who.has(&known) => Passed::Done,
        _ => Passed::Another,
    })
}

/// A span that only the subscriber knows is entered.
#[inline]
pub(crate) fn enter_other(instance: &Arc<Instance>, span: u64) -> Passed {
    let passed = with(|all| {
        // With nothing of ours around it, the subscriber is asked anyway.
        let state = (all.known_state(instance)).filter(|state| !state.stack.is_empty())?;
        state.stack.enter_other(span).then_some(EntryOrExit {
            in_unit: UnitOfSpan::NONE,
            unwinds: false,
            wants_tidying: true,
            wants_trace: false,
            timed_from: None,
        })
    });
    passed.flatten().map_or(Passed::Another, Passed::More)
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
            (state.stack).tidy(instance.spans.who_lives(), is_there, |entry| {
                over.push(entry)
            });
            for entry in over {
                state.abandon(instance, &entry);
            }
        });
    });
}

/// A span is left. [`Passed::Another`]: this thread had not entered it, it is not of a unit, or somebody else has it.
#[inline]
pub(crate) fn exit(instance: &Arc<Instance>, span: u64, who: SpanOwner) -> Passed {
    let left = with(|all| match all.known_state(instance) {
        Some(state) => state.exit_plainly(instance, span, who),
        None => false,
    });
    match left {
        Some(true) => Passed::Done,
        _ => exit_otherwise(instance, span, who),
    }
}

/// PERF: as [`enter_otherwise`].
#[inline(never)]
fn exit_otherwise(instance: &Arc<Instance>, span: u64, who: SpanOwner) -> Passed {
    let passed = with(|all| {
        let is_lean = who == SpanOwner::Telemetry;
        let left = all.known_state(instance).and_then(|state| {
            let left = match state.stack.is_innermost(span) {
                true => state.stack.leave(instance.spans.who_lives(), is_lean),
                false => state
                    .stack
                    .leave_further_out(instance.spans.who_lives(), span, is_lean),
            };
            Some(state.exit(instance, left?))
        });
        left.unwrap_or_else(|| {
            left_elsewhere(instance, span, is_lean);
            Passed::Another
        })
    });
    passed.unwrap_or(Passed::Another)
}

/// A span is left that this thread had not entered, or that somebody else has.
#[cold]
fn left_elsewhere(instance: &Instance, span: u64, is_lean: bool) {
    let known = instance.known(span);
    let known = known.filter(|known| known.is_lean() == is_lean);
    if let Some(unit) = known.and_then(|known| known.live()) {
        unit.mark_left_elsewhere();
    }
}

impl ThreadState {
    /// Enters a span that is expected, if there is nothing about it but to count. False: nothing was done.
    #[inline(always)]
    fn enter_plainly(&mut self, instance: &Instance, span: u64, who: SpanOwner) -> bool {
        let Some((entries, next)) = self.stack.next_and_room() else {
            return false;
        };
        if next.span != span || !who.has(&next.known) || !next.lives(instance.spans.who_lives()) {
            return false;
        }
        let known = next.known;
        let in_unit = known.in_unit;
        if in_unit.is_special() || thread::panicking() {
            return false;
        }
        let mut unit = known.live();
        for entry in entries.iter().rev() {
            if entry.span == span {
                return false;
            }
            if entry.known.in_unit.unit() == in_unit.unit() {
                unit = None;
            }
        }
        let mut work = Work::NONE;
        if unit.is_some() || instance.keeps_details() {
            let mut more = 0;
            if let Some(unit) = unit {
                if unit.is_sampled() {
                    return false;
                }
                // PERF: most units are entered where nothing is.
                if !entries.is_empty() || in_unit.is_inner() {
                    match is_inside(entries, unit, in_unit) {
                        Some(is_inside) => more = if is_inside { INSIDE } else { 0 },
                        None => return false,
                    }
                }
            }
            let now = instance.clock.now();
            self.looked_at = now;
            if instance.keeps_details() {
                (self.outbox.details).enter(now, in_unit.unit(), known.detail);
            }
            if let Some(unit) = unit {
                unit.enter(self.thread);
                work = Work {
                    entered: now,
                    more,
                    segment: unit.open(now, self.thread),
                };
            }
        }
        next.begin(work);
        self.stack.push_begun();
        true
    }

    /// Enters the innermost span once more, if there is nothing about it but to count. False: nothing was done.
    ///
    /// PERF: a stream that is instrumented with the current span, as sqlx makes them, does that for each row.
    #[inline(always)]
    fn enter_again(&mut self, instance: &Instance, span: u64, who: SpanOwner) -> bool {
        let Some(last) = self.stack.innermost_of(span) else {
            return false;
        };
        who.has(&last.known)
            && last.lives(instance.spans.who_lives())
            && !last.known.in_unit.timed()
            && last.begin_again()
    }

    /// The expected span is entered, of which this is known, and maybe one around its unit was for it.
    fn enter(
        &mut self,
        instance: &Instance,
        known: &KnownSpan,
        around: Option<EnteredAround>,
    ) -> Passed {
        let in_unit = known.in_unit;
        let timed_from = timed_from(instance, in_unit);
        let mut has_grown = self.enter_expected(instance, known, thread::panicking());
        if let Some(around) = around {
            self.stack.carry();
            has_grown |= around.has_grown;
        }
        let wants_trace = in_unit.is_traced() && known.live().is_some_and(LiveUnit::asks_for_trace);
        if has_grown || wants_trace {
            return Passed::More(EntryOrExit {
                in_unit,
                unwinds: false,
                wants_tidying: has_grown,
                wants_trace,
                timed_from,
            });
        }
        Passed::through(in_unit, timed_from)
    }

    /// True: the stack had to grow.
    #[inline(always)]
    fn enter_expected(
        &mut self,
        instance: &Instance,
        known: &KnownSpan,
        in_unwinding: bool,
    ) -> bool {
        let found = match self.stack.is_empty() {
            true => Found::Nothing,
            false => self.stack.enter(),
        };
        // Nobody works for a unit that is over.
        let unit = match found {
            Found::Nothing => known.live(),
            Found::Same | Found::SameUnit => None,
        };
        if found == Found::Same {
            // What the thread is in, it is in once: the details have no more of it.
            return false;
        }
        let mut work = Work::NONE;
        if unit.is_some() || instance.keeps_details() {
            let now = instance.clock.now();
            self.looked_at = now;
            if instance.keeps_details() {
                (self.outbox.details).enter(now, known.in_unit.unit(), known.detail);
            }
            if let Some(unit) = unit {
                unit.enter(self.thread);
                work = self.begin_work(unit, known.in_unit.unit(), now);
            }
        }
        self.stack.push(in_unwinding, work)
    }

    /// Leaves the innermost span, if it is this one and there is nothing about it but to count. False: nothing was
    /// done.
    #[inline(always)]
    fn exit_plainly(&mut self, instance: &Instance, span: u64, who: SpanOwner) -> bool {
        let Some(entry) = self.stack.innermost_of(span) else {
            return false;
        };
        let known = &entry.known;
        if !who.has(known) || known.in_unit.timed() {
            return false;
        }
        if !entry.lives(instance.spans.who_lives()) || thread::panicking() {
            return false;
        }
        if !entry.is_left_plainly() {
            let is_left = entry.leave_again();
            if is_left {
                instance.background.something_happened();
            }
            return is_left;
        }
        let (known, work) = (*known, entry.work);
        self.stack.pop();
        self.leave(instance, &known, work);
        true
    }

    fn exit(&mut self, instance: &Instance, left: Left) -> Passed {
        let Left { entry, .. } = left;
        let in_unit = entry.known.in_unit;
        if in_unit.is_none() {
            return Passed::Another;
        }
        let timed_from = timed_from(instance, in_unit);
        match left.is_still_entered {
            true => instance.background.something_happened(),
            false => self.leave(instance, &entry.known, entry.work),
        }
        if entry.carries() {
            self.leave_around(instance, &entry.known, true);
        }
        // Not if a destructor entered it: it may be well, while something else panicked.
        if thread::panicking() && !left.entered_in_unwinding {
            return Passed::More(EntryOrExit {
                in_unit,
                unwinds: true,
                wants_tidying: false,
                wants_trace: false,
                timed_from,
            });
        }
        Passed::through(in_unit, timed_from)
    }

    /// A span is no longer entered, nor the thread at this work.
    #[inline(always)]
    pub(super) fn leave(&mut self, instance: &Instance, known: &KnownSpan, work: Work) {
        let in_unit = known.in_unit;
        // PERF: two instructions. A unit that lasts, a connection say, ends nothing for a long time; what it
        // costs meanwhile is written because of this.
        instance.background.something_happened();
        if work.is_none() && !instance.keeps_details() {
            return;
        }
        let now = instance.clock.now();
        self.looked_at = now;
        if instance.keeps_details() {
            (self.outbox.details).exit(now, in_unit.unit(), known.detail);
        }
        if !work.is_none() {
            self.end_work(in_unit.unit(), known.live(), work, now);
            if !self.stack.is_empty() && !self.goes_alone(known, work) {
                self.hand_over(instance, in_unit, work, now);
            }
        }
    }

    /// Whether nothing else changes when this is left: it was inside of other work, and nothing of its unit is left.
    ///
    /// PERF: apart, so that where nothing is around it nothing is kept for it.
    #[inline(never)]
    fn goes_alone(&self, known: &KnownSpan, work: Work) -> bool {
        let unit = known.live().filter(|_| work.is_inside());
        unit.is_some_and(|unit| !unit.has_inner() && !self.stack.has(known.in_unit.unit()))
    }

    /// A unit ends. What the thread still does for it, as far as it can tell, is in its figures.
    #[inline]
    pub(crate) fn ends(&mut self, instance: &Instance, in_unit: UnitOfSpan) {
        if !self.stack.is_empty() {
            self.ends_inside(instance, in_unit);
        }
    }

    #[inline(never)]
    fn ends_inside(&mut self, instance: &Instance, in_unit: UnitOfSpan) {
        let Some(work) = self.stack.take_work(in_unit) else {
            return;
        };
        let unit_ref = in_unit.unit();
        let unit = instance.live_units.get(unit_ref);
        if unit.is_some_and(LiveUnit::was_left_elsewhere) {
            self.abandon_work(instance, unit_ref, work);
            self.settle_untold(work);
        } else {
            let now = instance.clock.now();
            self.end_work(unit_ref, unit, work, now);
            self.settle(work, now);
        }
    }
}
