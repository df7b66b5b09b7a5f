//! A thread that works for an inner unit works for the one around it as well, also where it has not entered a span of
//! that: one is entered beneath, and left with the inner one's.

use super::state::ThreadState;
use super::work::Work;
use crate::instance::Instance;
use crate::live::{KnownSpan, LiveUnit, Outer, UnitRef};

/// A span that was entered for one of an inner unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    /// The inner unit, and what the details call the span of it.
    carrier: (UnitRef, u64),
    span: u64,
}

/// A span of the unit around was entered. Whether the stack had to grow for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnteredAround {
    pub(super) has_grown: bool,
}

impl ThreadState {
    /// A span of an inner unit is about to be entered: if the thread works neither for it nor for the unit around it, it
    /// enters the span that the inner one began in, and so on outwards. That is [left with the other](Self::leave_around).
    pub(super) fn enter_around(
        &mut self,
        instance: &Instance,
        known: &KnownSpan,
    ) -> Option<EnteredAround> {
        let outer = known.live()?.outer()?;
        if self.stack.has(known.in_unit.unit()) || self.stack.has(outer.unit) {
            return None;
        }
        let (around, unit) = span_around(instance, outer)?;
        // Not deeper than `MOST_DEPTH`.
        let further_out = match around.in_unit.is_inner() {
            true => self.enter_around(instance, &around),
            false => None,
        };
        let now = instance.clock.now();
        unit.enter(self.thread);
        let work = self.begin_around(instance, (&around, unit), now);
        self.stack.expect(outer.span, around);
        let mut has_grown = self.stack.push(false, work);
        self.stack.is_carried_by_next();
        if let Some(further_out) = further_out {
            self.stack.carry();
            has_grown |= further_out.has_grown;
        }
        self.remember(known, outer.span);
        Some(EnteredAround { has_grown })
    }

    /// An entry of an inner unit is gone that carries another one, which is left now. `told`: what the thread did since it
    /// entered is known to be theirs; else nobody can tell.
    #[cold]
    pub(super) fn leave_around(&mut self, instance: &Instance, known: &KnownSpan, told: bool) {
        let carrier = (known.in_unit.unit(), known.detail);
        let Some(at) = self.around.iter().rposition(|of| of.carrier == carrier) else {
            return;
        };
        let Carried { span, .. } = self.around.remove(at);
        let Some(entry) = self.stack.leave_carried(span) else {
            return;
        };
        match told {
            true => self.leave(instance, &entry.known, entry.work),
            false => self.abandon_alone(instance, &entry),
        }
        if entry.carries() {
            self.leave_around(instance, &entry.known, told);
        }
    }

    /// The thread has left all spans of a unit, for which this work is over. If it has not left those of a unit inside it,
    /// it goes on working for both; `None`: it has.
    pub(super) fn stay_around(
        &mut self,
        instance: &Instance,
        unit: UnitRef,
        over: &Work,
        now: u64,
    ) -> Option<()> {
        let (at, inner, outer) = self.stack.inner_of(unit)?;
        let (around, live) = span_around(instance, outer)?;
        let work = self.begin_around(instance, (&around, live), now);
        let work = work.in_place_of(over);
        if (self.stack).enter_beneath(at, outer.span, around, work) {
            self.remember(&inner, outer.span);
        }
        Some(())
    }

    fn begin_around(
        &mut self,
        instance: &Instance,
        (around, unit): (&KnownSpan, &LiveUnit),
        now: u64,
    ) -> Work {
        let of = around.in_unit.unit();
        if instance.keeps_details() {
            (self.outbox.details).enter(now, of, around.detail);
        }
        self.begin_work(unit, of, now)
    }

    fn remember(&mut self, carrier: &KnownSpan, span: u64) {
        let carrier = (carrier.in_unit.unit(), carrier.detail);
        alloc_tracker::raw::for_a_tool(|| self.around.push(Carried { carrier, span }));
    }
}

/// The span that an inner unit began in, and its unit, if both live.
fn span_around(instance: &Instance, outer: Outer) -> Option<(KnownSpan, &'static LiveUnit)> {
    let around = instance.known(outer.span)?;
    let unit = around.live()?;
    (around.in_unit.unit() == outer.unit).then_some((around, unit))
}
