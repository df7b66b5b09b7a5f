//! The spans that a thread has entered, and its work for their units.

use super::{Frames, with};
use crate::core::Core;
use crate::system::Started;
use crate::units::{Known, LeanRef, Membership, Slot, SlotRef};
use alloc_tracker::raw::Segment;
use std::sync::Arc;

/// One entered span.
///
/// PERF: plain words, and few: they are written at every entry and read at every exit.
pub(super) struct Frame {
    pub(super) core: usize,
    pub(super) span: u64,
    pub(super) member: Membership,
    /// What the details call the span.
    pub(super) detail: u64,
    pub(super) lean: Option<LeanRef>,
    /// How many of [`Link::others`](super::link::Link) were entered before.
    pub(super) others: usize,
    /// How often the span was entered already: for the registry that is then not the current one.
    pub(super) again: usize,
    work: Work,
}

/// A thread's work for a unit, from its outermost entry on.
#[derive(Clone, Copy)]
struct Work {
    /// When it began; 0: this is not the outermost entry.
    entered: u64,
    /// What it allocates.
    segment: Segment,
    /// How much more about it there is in [`Frames::samples`].
    ///
    /// PERF: a whole word, as the others: a flag and the bytes beside it are copied by loads that overlap
    /// the store of the flag just before, for which a processor waits.
    samples: u64,
}

impl Work {
    const NONE: Work = Work {
        entered: 0,
        segment: Segment::NONE,
        samples: 0,
    };

    fn is_none(self) -> bool {
        self.entered == 0
    }
}

impl Frame {
    fn is_for(&self, core: &Core, slot: SlotRef) -> bool {
        self.core == core.id && self.member.slot() == slot
    }
}

/// A span of a unit was entered or left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) member: Membership,
    /// When this began, if the unit is one of those of which telemetry itself is timed.
    pub(crate) timed_from: Option<u64>,
}

impl Passed {
    #[inline]
    fn now(core: &Core, member: Membership) -> Self {
        let timed_from = member.timed().then(|| core.clock.now());
        Passed { member, timed_from }
    }
}

/// Who has a span: the subscriber as well, or telemetry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    Subscriber,
    Nobody,
}

/// A span is entered; `None` if it is not one of ours, or somebody else has it.
#[inline]
pub(crate) fn enter(core: &Arc<Core>, span: u64, who: Has) -> Option<Passed> {
    with(|all| {
        let known = core.spans.get(span)?;
        let Known {
            member,
            detail,
            lean,
        } = known;
        if lean.is_some() != (who == Has::Nobody) {
            return None;
        }
        let passed = Passed::now(core, member);
        // PERF: from the innermost on: a child finds its unit at once, however deep it is nested.
        let inside = all
            .frames
            .iter()
            .rev()
            .any(|f| f.is_for(core, member.slot()));
        let unit = match inside {
            true => None,
            false => core.slots.get(member.slot()),
        };
        let again = match inside && lean.is_some() {
            true => all
                .frames
                .iter()
                .filter(|f| f.span == span && f.core == core.id)
                .count(),
            false => 0,
        };
        let mut work = Work::NONE;
        let link = all.link(core);
        let others = link.others.len();
        if unit.is_some() || core.keeps_details() {
            let now = core.clock.now();
            link.looked_at = now;
            if core.keeps_details() {
                link.shard.details.enter(now, member.slot(), detail);
            }
            if let Some(unit) = unit {
                work = all.begin_work(unit, member.slot(), now);
            }
        }
        if all.frames.len() == all.frames.capacity() {
            alloc_tracker::excluded(|| all.frames.reserve(64));
        }
        all.frames.push(Frame {
            core: core.id,
            span,
            member,
            detail,
            lean,
            others,
            again,
            work,
        });
        Some(passed)
    })?
}

/// A span is left; `None` if this thread had not entered it as one of ours, or somebody else has it.
#[inline]
pub(crate) fn exit(core: &Arc<Core>, span: u64, who: Has) -> Option<Passed> {
    with(|all| {
        let is_it = |f: &Frame| f.span == span && f.core == core.id;
        // PERF: the last one as a rule.
        let at = match all.frames.last() {
            Some(last) if is_it(last) => all.frames.len() - 1,
            _ => all.frames.iter().rposition(is_it)?,
        };
        let frame = &all.frames[at];
        if frame.lean.is_some() != (who == Has::Nobody) {
            return None;
        }
        let (member, detail, work) = (frame.member, frame.detail, frame.work);
        if at + 1 == all.frames.len() {
            all.frames.truncate(at);
        } else {
            all.frames.remove(at);
        }
        let passed = Passed::now(core, member);
        if work.is_none() && !core.keeps_details() {
            return Some(passed);
        }
        let now = core.clock.now();
        let link = all.link(core);
        link.looked_at = now;
        if core.keeps_details() {
            (link.shard.details).exit(now, member.slot(), detail);
        }
        if work.is_none() {
            core.background.something_happened();
            return Some(passed);
        }
        // Spans may be left in any order: if another span of the unit is still entered here, the
        // thread goes on working for it.
        let still_in = all.frames[at..]
            .iter_mut()
            .find(|f| f.is_for(core, member.slot()));
        match still_in {
            Some(other) => other.work = work,
            None => all.end_work(core, member.slot(), work, now),
        }
        // PERF: two instructions. A unit that lasts, a connection say, ends nothing for a long time; what it
        // costs meanwhile is written because of this.
        core.background.something_happened();
        Some(passed)
    })?
}

impl Frames {
    /// The thread starts to work for a unit.
    #[inline]
    fn begin_work(&mut self, unit: &Slot, slot: SlotRef, now: u64) -> Work {
        let started = Started::now(unit.sampled());
        if let Some(started) = started {
            alloc_tracker::excluded(|| self.samples.push((slot, started)));
        }
        let thread = self.thread();
        Work {
            entered: now,
            samples: u64::from(started.is_some()),
            segment: unit.enter(thread),
        }
    }

    /// The thread no longer works for a unit.
    #[inline]
    fn end_work(&mut self, core: &Core, slot: SlotRef, work: Work, now: u64) {
        work.segment.close();
        let thread = self.thread();
        let unit = core.slots.get(slot);
        if let Some(unit) = unit {
            unit.exit(work.entered, now, thread);
        }
        if work.samples > 0
            && let Some(at) = self.samples.iter().rposition(|(of, _)| *of == slot)
        {
            let (_, started) = self.samples.remove(at);
            if let (Some(unit), Some(costs)) = (unit, started.elapsed()) {
                unit.add_system_costs(costs);
            }
        }
    }
}
