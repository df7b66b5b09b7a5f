//! The spans that a thread has entered, and its work for their units.

use super::{Frames, with};
use crate::core::Core;
use crate::system::Started;
use crate::units::{Membership, Slot, SlotRef};
use alloc_tracker::raw::Segment;
use std::sync::Arc;

/// One entered span.
pub(super) struct Frame {
    pub(super) core: usize,
    pub(super) span: u64,
    pub(super) member: Membership,
    /// The thread's outermost entry of the unit.
    work: Option<Work>,
}

/// A thread's work for a unit, from its outermost entry on.
///
/// PERF: it is copied at every entry and exit. What only sampled units have lies in
/// [`Frames::samples`].
#[derive(Clone, Copy)]
struct Work {
    entered: u64,
    /// What it allocates.
    segment: Segment,
    is_sampled: bool,
}

impl Frame {
    fn is_for(&self, core: &Core, slot: SlotRef) -> bool {
        self.core == core.id && self.member.slot == slot
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
        let timed_from = member.timed.then(|| core.clock.now());
        Passed { member, timed_from }
    }
}

/// A span is entered; `None` if it is not one of ours.
#[inline]
pub(crate) fn enter(core: &Arc<Core>, span: u64) -> Option<Passed> {
    with(|all| {
        let member = core.spans.get(span)?;
        let passed = Passed::now(core, member);
        // PERF: from the innermost on: a child finds its unit at once, however deep it is nested.
        let inside = all.frames.iter().rev().any(|f| f.is_for(core, member.slot));
        let unit = match inside {
            true => None,
            false => core.slots.get(member.slot),
        };
        let mut work = None;
        if unit.is_some() || core.keeps_details() {
            let now = core.clock.now();
            let link = all.link(core);
            link.looked_at = now;
            if core.keeps_details() {
                link.shard.details.enter(now, member.slot, span);
            }
            work = unit.map(|unit| all.begin_work(unit, member.slot, now));
        }
        if all.frames.len() == all.frames.capacity() {
            alloc_tracker::excluded(|| all.frames.reserve(64));
        }
        all.frames.push(Frame {
            core: core.id,
            span,
            member,
            work,
        });
        Some(passed)
    })?
}

/// A span is left; `None` if this thread had not entered it as one of ours.
#[inline]
pub(crate) fn exit(core: &Arc<Core>, span: u64) -> Option<Passed> {
    with(|all| {
        let is_it = |f: &Frame| f.core == core.id && f.span == span;
        let at = all.frames.iter().rposition(is_it)?;
        // PERF: the last one as a rule, and `remove` moves memory even if that is none.
        let frame = if at + 1 == all.frames.len() {
            all.frames.pop()?
        } else {
            all.frames.remove(at)
        };
        let passed = Passed::now(core, frame.member);
        if frame.work.is_none() && !core.keeps_details() {
            return Some(passed);
        }
        let now = core.clock.now();
        let link = all.link(core);
        link.looked_at = now;
        if core.keeps_details() {
            link.shard.details.exit(now, frame.member.slot, span);
        }
        let Some(work) = frame.work else {
            return Some(passed);
        };
        // Spans may be left in any order: if another span of the unit is still entered here, the
        // thread goes on working for it.
        let still_in = all.frames[at..]
            .iter_mut()
            .find(|f| f.is_for(core, frame.member.slot));
        match still_in {
            Some(other) => other.work = frame.work,
            None => all.end_work(core, frame.member.slot, work, now),
        }
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
            is_sampled: started.is_some(),
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
        if work.is_sampled
            && let Some(at) = self.samples.iter().rposition(|(of, _)| *of == slot)
        {
            let (_, started) = self.samples.remove(at);
            if let (Some(unit), Some(costs)) = (unit, started.elapsed()) {
                unit.add_system_costs(costs);
            }
        }
    }
}
