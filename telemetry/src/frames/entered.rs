//! Spans are entered and left, and with them the thread's work for their units.

use super::link::Link;
use super::stack::{Entry, Found, Left};
use super::with;
use crate::core::Core;
use crate::ledger::Untold;
use crate::system::Started;
use crate::units::{Known, Membership, Slot, SlotRef};
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
    /// How much more about it there is in [`Link::samples`].
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
pub(crate) struct Passed {
    pub(crate) member: Membership,
    /// A panic unwinds through it.
    pub(crate) unwinds: bool,
    /// The thread's stack has grown: it is to be [tidied](tidy).
    pub(crate) wants_tidying: bool,
    /// When this began, if the unit is one of those of which telemetry itself is timed.
    pub(crate) timed_from: Option<u64>,
}

impl Passed {
    #[inline]
    fn now(core: &Core, member: Membership) -> Self {
        Passed {
            member,
            unwinds: false,
            wants_tidying: false,
            timed_from: member.timed().then(|| core.clock.now()),
        }
    }
}

/// A span of a unit is entered.
#[inline]
pub(crate) fn enter(core: &Arc<Core>, span: u64, known: Known) -> Option<Passed> {
    with(|all| {
        let member = known.member;
        let mut passed = Passed::now(core, member);
        let link = all.link(core);
        let found = link.stack.enter(span, &known);
        // Nobody works for a unit that is over.
        let unit = match found {
            Found::Nothing => core.slots.get(member.slot()),
            Found::Same | Found::SameUnit => None,
        };
        let mut work = Work::NONE;
        if unit.is_some() || core.keeps_details() {
            let now = core.clock.now();
            link.looked_at = now;
            if core.keeps_details() {
                (link.shard.details).enter(now, member.slot(), known.detail);
            }
            if let Some(unit) = unit {
                unit.enter(link.thread);
                work = link.begin_work(unit, member.slot(), now);
            }
        }
        if found != Found::Same {
            passed.wants_tidying = (link.stack).push(span, known, thread::panicking(), work);
        }
        passed
    })
}

/// A span that only the subscriber knows is entered.
#[inline]
pub(crate) fn enter_other(core: &Arc<Core>, span: u64) -> Option<Passed> {
    with(|all| {
        // With nothing of ours around it, the subscriber is asked anyway.
        let link = (all.known_link(core)).filter(|link| !link.stack.is_empty())?;
        Some(Passed {
            wants_tidying: link.stack.enter_other(span),
            ..Passed::now(core, Membership::NONE)
        })
    })?
}

/// What the thread has entered and is over goes. `is_there`: whether the subscriber still has a span that
/// only it knows.
#[cold]
pub(crate) fn tidy(core: &Arc<Core>, is_there: impl Fn(u64) -> bool) {
    with(|all| {
        let Some(link) = all.known_link(core) else {
            return;
        };
        alloc_tracker::raw::for_a_tool(|| {
            let mut over = Vec::new();
            (link.stack).tidy(&core.spans, is_there, |entry| over.push(entry));
            for entry in over {
                link.abandon(core, &entry);
            }
        });
    });
}

/// Who has a span: the subscriber as well, or telemetry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    Subscriber,
    Nobody,
}

/// A span is left; `None` if this thread had not entered it, it is not of a unit, or somebody else has it.
#[inline]
pub(crate) fn exit(core: &Arc<Core>, span: u64, who: Has) -> Option<Passed> {
    with(|all| {
        let is_lean = who == Has::Nobody;
        let Some(link) = all.known_link(core) else {
            left_elsewhere(core, span, is_lean);
            return None;
        };
        if !link.stack.is_innermost(span) {
            return link.exit_further_out(core, span, is_lean);
        }
        match link.stack.leave(&core.spans, is_lean) {
            Some(left) => link.exit(core, left),
            None => {
                left_elsewhere(core, span, is_lean);
                None
            }
        }
    })?
}

/// A unit ends. What the calling thread still does for it, as far as it can tell, is in its figures.
#[inline]
pub(crate) fn ends(core: &Arc<Core>, member: Membership) {
    with(|all| {
        let Some(link) = all.known_link(core).filter(|link| !link.stack.is_empty()) else {
            return;
        };
        let Some(work) = link.stack.take_work(member) else {
            return;
        };
        let slot = member.slot();
        match core.slots.get(slot).is_some_and(Slot::was_left_elsewhere) {
            true => link.abandon_work(core, slot, work),
            false => link.end_work(core, slot, work, core.clock.now()),
        }
    });
}

/// A span is left that this thread had not entered, or that somebody else has.
#[cold]
fn left_elsewhere(core: &Core, span: u64, is_lean: bool) {
    let known = core.spans.get(span);
    let known = known.filter(|known| known.lean().is_some() == is_lean);
    if let Some(unit) = known.and_then(|known| core.slots.get(known.member.slot())) {
        unit.mark_left_elsewhere();
    }
}

impl Link {
    #[inline(always)]
    fn exit(&mut self, core: &Core, left: Left) -> Option<Passed> {
        let (member, work) = (left.member, left.work);
        if member.is_none() {
            return None;
        }
        let mut passed = Passed::now(core, member);
        // Not if a destructor entered it: it may be well, while something else panicked.
        passed.unwinds = thread::panicking() && !left.entered_in_unwinding;
        // PERF: two instructions. A unit that lasts, a connection say, ends nothing for a long time; what it
        // costs meanwhile is written because of this.
        core.background.something_happened();
        if work.is_none() && !core.keeps_details() {
            return Some(passed);
        }
        let now = core.clock.now();
        self.looked_at = now;
        if core.keeps_details() {
            (self.shard.details).exit(now, member.slot(), left.detail);
        }
        if !work.is_none() {
            self.end_work(core, member.slot(), work, now);
            if !self.stack.is_empty() {
                self.hand_over(core, member, now);
            }
        }
        Some(passed)
    }

    /// PERF: apart, all of it: what is left is copied only where two ways meet.
    #[cold]
    #[inline(never)]
    fn exit_further_out(&mut self, core: &Core, span: u64, is_lean: bool) -> Option<Passed> {
        match self.stack.leave_further_out(&core.spans, span, is_lean) {
            Some(left) => self.exit(core, left),
            None => {
                left_elsewhere(core, span, is_lean);
                None
            }
        }
    }

    /// The thread starts to work for a unit.
    #[inline]
    fn begin_work(&mut self, unit: &Slot, slot: SlotRef, now: u64) -> Work {
        let started = Started::now(unit.sampled());
        if let Some(started) = started {
            alloc_tracker::raw::for_a_tool(|| self.samples.push((slot, started)));
        }
        Work {
            entered: now,
            samples: u64::from(started.is_some()),
            segment: unit.open(),
        }
    }

    /// The thread no longer works for a unit.
    #[inline]
    fn end_work(&mut self, core: &Core, slot: SlotRef, work: Work, now: u64) {
        work.segment.close();
        let unit = core.slots.get(slot);
        if let Some(unit) = unit {
            unit.exit(work.entered, now, self.thread);
        }
        if work.samples > 0
            && let Some(started) = self.take_sample(slot)
            && let (Some(unit), Some(costs)) = (unit, started.elapsed())
        {
            unit.add_system_costs(costs);
        }
    }

    /// Spans may be left in any order: if another span of the unit is still entered here, the thread goes
    /// on working for it. Of what it does from here on, it is told apart whether it ever ends.
    #[inline]
    fn hand_over(&mut self, core: &Core, member: Membership, now: u64) {
        if self.stack.heir(&core.spans, member).is_none() {
            return;
        }
        let Some(unit) = core.slots.get(member.slot()) else {
            return;
        };
        let work = self.begin_work(unit, member.slot(), now);
        if let Some(heir) = self.stack.heir(&core.spans, member) {
            heir.work = work;
        }
    }

    fn take_sample(&mut self, slot: SlotRef) -> Option<Started> {
        let at = self.samples.iter().rposition(|(of, _)| *of == slot)?;
        Some(self.samples.remove(at).1)
    }

    /// What the thread did since it entered was only in part for the unit, and nobody can tell which: it is
    /// nobody's.
    #[cold]
    fn abandon_work(&mut self, core: &Core, slot: SlotRef, work: Work) {
        work.segment.abandon();
        self.take_sample(slot);
        core.counters.could_not_tell(Untold::NeverLeft);
    }

    /// The span of an entry is over and was never left here.
    pub(super) fn abandon(&mut self, core: &Core, entry: &Entry) {
        if entry.work.is_none() {
            return;
        }
        let member = entry.known.member;
        self.abandon_work(core, member.slot(), entry.work);
        // Of the unit, if it lives, the thread may have entered other spans since.
        let now = core.clock.now();
        self.hand_over(core, member, now);
    }
}
