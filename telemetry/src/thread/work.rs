//! A thread's work for units: it begins at the first span of a unit that is entered and ends at the last that is left.
//! Of all that a thread has open at once, all but one is inside of the work for another unit.

use super::entry::Entry;
use super::state::ThreadState;
use crate::instance::Instance;
use crate::ledger::Untold;
use crate::live::{LiveUnit, UnitOfSpan, UnitRef};
use crate::os::Started;
use alloc_tracker::raw::Segment;

/// A thread's work for a unit, from its outermost entry on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// When it began; 0: this is not the outermost entry.
    pub(super) entered: u64,
    /// What it allocates.
    pub(super) segment: Segment,
    /// What more there is about it: [`SAMPLED`], [`INSIDE`].
    ///
    /// PERF: a whole word, as the others: a flag and the bytes beside it are copied by loads that overlap
    /// the store of the flag just before, for which a processor waits.
    pub(super) more: u64,
}

/// What the system said when it began is in [`ThreadState::samples`].
pub(super) const SAMPLED: u64 = 1;
/// It is inside of the work for another unit, whose figures have it as well. Of all that a thread has open, all but one
/// is.
pub(super) const INSIDE: u64 = 2;

impl Work {
    pub(super) const NONE: Work = Work {
        entered: 0,
        segment: Segment::NONE,
        more: 0,
    };

    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.entered == 0
    }

    pub(super) fn is_inside(&self) -> bool {
        self.more & INSIDE != 0
    }

    /// The same where it goes on for a unit for which other work is over.
    pub(super) fn in_place_of(self, over: &Work) -> Self {
        let more = self.more & !INSIDE | over.more & INSIDE;
        Work { more, ..self }
    }
}

impl ThreadState {
    /// The thread starts to work for a unit.
    #[inline(always)]
    pub(super) fn begin_work(&mut self, unit: &LiveUnit, unit_ref: UnitRef, now: u64) -> Work {
        let mut more = 0;
        if unit.is_sampled() {
            more = self.begin_sample(unit, unit_ref);
        }
        if self.stack.at_work().is_some() {
            more |= INSIDE;
        }
        Work {
            entered: now,
            more,
            segment: unit.open(now, self.thread),
        }
    }

    #[cold]
    fn begin_sample(&mut self, unit: &LiveUnit, unit_ref: UnitRef) -> u64 {
        let started = Started::now(unit.sampled());
        if let Some(started) = started {
            alloc_tracker::raw::for_a_tool(|| self.samples.push((unit_ref, started)));
        }
        if started.is_some() { SAMPLED } else { 0 }
    }

    /// The thread no longer works for a unit.
    #[inline(always)]
    pub(super) fn end_work(
        &mut self,
        unit_ref: UnitRef,
        unit: Option<&LiveUnit>,
        work: Work,
        now: u64,
    ) {
        if work.more & INSIDE != 0 {
            return self.end_inside(unit_ref, unit, work, now);
        }
        work.segment.close();
        if let Some(unit) = unit {
            unit.exit(work.entered, now, self.thread);
        }
        if work.more != 0 {
            self.end_sample(unit_ref, unit);
        }
    }

    /// The same of what was inside of the work for another unit.
    #[inline(never)]
    fn end_inside(&mut self, unit_ref: UnitRef, unit: Option<&LiveUnit>, work: Work, now: u64) {
        tell_inside(unit, &work, now);
        let more = work.more & !INSIDE;
        self.end_work(unit_ref, unit, Work { more, ..work }, now);
    }

    /// Work is over. If it was inside of none other, then of what goes on the outermost is from here on.
    pub(super) fn settle(&mut self, work: Work, now: u64) {
        if work.is_inside() {
            return;
        }
        if let Some(entry) = self.stack.at_work() {
            tell_inside(entry.known.live(), &entry.work, now);
            entry.work.more &= !INSIDE;
        }
    }

    #[cold]
    fn end_sample(&mut self, unit_ref: UnitRef, unit: Option<&LiveUnit>) {
        let started = self.take_sample(unit_ref);
        let costs = started.and_then(|started| started.elapsed());
        if let (Some(unit), Some(costs)) = (unit, costs) {
            unit.add_system_costs(costs);
        }
    }

    /// The same of work that is nobody's: what was done inside of it, no other figures have.
    pub(super) fn settle_untold(&mut self, work: Work) {
        if let Some(entry) = self.stack.at_work().filter(|_| !work.is_inside()) {
            entry.work.more &= !INSIDE;
        }
    }

    /// Spans may be left in any order: if another span of the unit is still entered here, the thread goes
    /// on working for it. Of what it does from here on, it is kept apart whether it ever ends.
    #[inline(never)]
    pub(super) fn hand_over(
        &mut self,
        instance: &Instance,
        in_unit: UnitOfSpan,
        over: Work,
        now: u64,
    ) {
        let unit = in_unit.unit();
        let has_heir = self
            .stack
            .heir(instance.spans.who_lives(), in_unit)
            .is_some();
        let live = instance.live_units.get(unit).filter(|_| has_heir);
        let Some(live) = live else {
            let has_inner = instance
                .live_units
                .get(unit)
                .is_some_and(LiveUnit::has_inner);
            if !has_inner || self.stay_around(instance, unit, &over, now).is_none() {
                self.settle(over, now);
            }
            return;
        };
        let work = self.begin_work(live, unit, now).in_place_of(&over);
        if let Some(heir) = self.stack.heir(instance.spans.who_lives(), in_unit) {
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
    pub(super) fn abandon_work(&mut self, instance: &Instance, unit_ref: UnitRef, work: Work) {
        work.segment.abandon();
        self.take_sample(unit_ref);
        if let Some(unit) = instance.live_units.get(unit_ref) {
            unit.abandon(instance.clock.now());
        }
        instance.counters.could_not_tell(Untold::NeverLeft);
    }

    /// The span of an entry is over and was never left here.
    pub(super) fn abandon(&mut self, instance: &Instance, entry: &Entry) {
        self.abandon_alone(instance, entry);
        if entry.carries() {
            self.leave_around(instance, &entry.known, false);
        }
    }

    /// The same, whatever it carries.
    pub(super) fn abandon_alone(&mut self, instance: &Instance, entry: &Entry) {
        if entry.work.is_none() {
            return;
        }
        let in_unit = entry.known.in_unit;
        self.abandon_work(instance, in_unit.unit(), entry.work);
        self.settle_untold(entry.work);
        // Of the unit, if it lives, the thread may have entered other spans since: inside of what there is.
        let more = match self.stack.at_work() {
            Some(_) => INSIDE,
            None => 0,
        };
        let over = Work { more, ..entry.work };
        self.hand_over(instance, in_unit, over, instance.clock.now());
    }
}

/// Whether the work for a unit that is entered on top of these is inside of the work for another one. `None`: one around it
/// is to be entered as well.
#[inline(never)]
pub(super) fn is_inside(entries: &[Entry], unit: &LiveUnit, in_unit: UnitOfSpan) -> Option<bool> {
    if in_unit.is_inner() {
        let outer = unit.outer()?.unit;
        let mut of_units = entries
            .iter()
            .filter(|entry| !entry.known.in_unit.is_none());
        of_units.find(|entry| entry.known.in_unit.unit() == outer)?;
    }
    Some(entries.iter().any(|entry| !entry.work.is_none()))
}

/// What a thread has done for a unit until now it did inside of the work for another one.
#[cold]
fn tell_inside(unit: Option<&LiveUnit>, work: &Work, now: u64) {
    if let Some(unit) = unit {
        let busy = now.saturating_sub(work.entered);
        unit.add_inside(work.segment.so_far(), busy);
    }
}
