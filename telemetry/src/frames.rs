//! What each thread is working on: a thread-local stack of the spans it has entered that belong to
//! a unit, and its shard of each instance.

use crate::callsites::SiteId;
use crate::core::Core;
use crate::details::{DetailRing, FieldBytes};
use crate::shard::Shard;
use crate::system::{RANDOM_BITS, Sampled, Started};
use crate::units::{Finished, FreeSlot, KindId, Membership, Slot, SlotRef, Start};
use alloc_tracker::raw::Segment;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// One entered span.
struct Frame {
    core: usize,
    span: u64,
    member: Membership,
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

/// The thread's connection to one telemetry instance, which it does not keep alive.
struct Link {
    id: usize,
    core: Weak<Core>,
    shard: Arc<Shard>,
    /// When the thread last looked at the instance's clock.
    looked_at: u64,
    /// The last span that was made here, which as a rule is entered next.
    newest: Option<(u64, Membership)>,
    /// Slots of units that this thread ended, for the next ones that it begins.
    slots: Vec<FreeSlot>,
}

/// Free slots that a thread keeps at hand: enough for it to begin and end units in turns.
const SLOTS_AT_HAND: usize = 16;

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            for slot in self.slots.drain(..) {
                core.slots.give_back(slot);
            }
            core.retire(&self.shard);
        }
    }
}

#[derive(Default)]
struct Frames {
    frames: Vec<Frame>,
    links: Vec<Link>,
    /// What the system knew of the thread when it began to work for a unit that it is asked about.
    samples: Vec<(SlotRef, Started)>,
    /// Units begun on this thread, to time every so many.
    begun: u32,
    /// The thread's number, which no other has or had; 0 until it is asked for.
    thread: u64,
    /// The state of [`Frames::random`]; 0 until it is asked for.
    random: u64,
}

thread_local! {
    static FRAMES: RefCell<Frames> = const {
        RefCell::new(Frames {
            frames: Vec::new(),
            links: Vec::new(),
            samples: Vec::new(),
            begun: 0,
            thread: 0,
            random: 0,
        })
    };
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Nothing that this thread does from here on is a unit or belongs to one: it is telemetry's own.
pub(crate) fn be_silent() {
    SILENT.set(true);
}

pub(crate) fn is_silent() -> bool {
    SILENT.get()
}

/// `None` while the thread is ending, and in a callback inside a callback: nothing is counted
/// then, and nothing breaks.
fn with<T>(f: impl FnOnce(&mut Frames) -> T) -> Option<T> {
    FRAMES
        .try_with(|frames| {
            frames
                .try_borrow_mut()
                .ok()
                .map(|mut frames| f(&mut frames))
        })
        .ok()
        .flatten()
}

/// The innermost span that this thread has entered in `core`, and what a child of it belongs to.
pub(crate) fn current_in(core: &Core) -> Option<(u64, Membership)> {
    with(|all| {
        let frame = all.frames.iter().rfind(|f| f.core == core.id)?;
        Some((frame.span, frame.member.of_child()))
    })?
}

/// The unit that this thread works for in each instance, the innermost first.
#[inline]
pub(crate) fn current_units(mut each: impl FnMut(Arc<Core>, SlotRef)) {
    with(|all| {
        for (at, frame) in all.frames.iter().enumerate().rev() {
            // PERF: an instance's outer frames are passed over; as a rule there is one instance.
            if all.frames[at + 1..].iter().any(|f| f.core == frame.core) {
                continue;
            }
            let link = all.links.iter().find(|link| link.id == frame.core);
            if let Some(core) = link.and_then(|link| link.core.upgrade()) {
                each(core, frame.member.slot);
            }
            if all.links.len() == 1 {
                return;
            }
        }
    });
}

/// A span was made on this thread, for a unit. `detail` may leave an entry, at a time: `now`, or when
/// the thread last looked at the clock. A ring's times never go back.
#[inline]
pub(crate) fn made(
    core: &Arc<Core>,
    span: u64,
    member: Membership,
    now: Option<u64>,
    detail: impl FnOnce(&DetailRing, u64),
) {
    with(|all| {
        let link = all.link(core);
        link.newest = Some((span, member));
        if core.keeps_details() {
            link.looked_at = link.looked_at.max(now.unwrap_or(0));
            detail(&link.shard.details, link.looked_at);
        }
    });
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
        let link = all.link(core);
        // PERF: an id is never used again before the slot in the membership is another unit's.
        let member = match link.newest {
            Some((newest, member)) if newest == span => member,
            _ => core.spans.get(span)?,
        };
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

/// Begins a unit at `now`. `None` if too many are in progress.
pub(crate) fn begin(core: &Arc<Core>, kind: KindId, now: u64) -> Option<Membership> {
    let begun = with(|all| {
        all.begun = all.begun.wrapping_add(1);
        // Every 64th of the thread has its own telemetry cost timed; not its first, which sets
        // things up.
        let timed = all.begun.is_multiple_of(64);
        let thread = all.thread();
        let start = Start {
            kind,
            timed,
            drawn: core.has_exporters && core.head_sample.draws(all.random()),
            sampled: core.sampling.decide(all.random()),
            now,
            thread,
        };
        let link = all.link(core);
        link.looked_at = now;
        let slot = core.slots.begin(start, link.slots.pop())?;
        if link.shard.in_flight_changes(kind, 1) {
            core.look_at_in_flight(kind);
        }
        Some((slot, timed))
    });
    // The thread is ending: it has no number, and nothing at hand.
    let begun = begun.unwrap_or_else(|| {
        let start = Start {
            kind,
            timed: false,
            drawn: false,
            sampled: Sampled::No,
            now,
            thread: NO_THREAD,
        };
        let slot = core.slots.begin(start, None)?;
        core.kinds.get(kind).add_elsewhere(1);
        Some((slot, false))
    });
    begun.map(|(slot, timed)| Membership {
        slot,
        is_root: true,
        timed,
    })
}

/// No thread has this number.
const NO_THREAD: u64 = u64::MAX;

/// A unit of this kind was ended: it is in progress no more, and its slot is free.
pub(crate) fn ended(core: &Arc<Core>, kind: KindId, slot: FreeSlot) {
    let mut slot = Some(slot);
    if with(|all| all.link(core).ended(kind, &mut slot)).is_none() {
        core.kinds.get(kind).add_elsewhere(-1);
    }
    if let Some(slot) = slot {
        core.slots.give_back(slot);
    }
}

/// A unit has ended: puts it into the thread's ring, and drains the ring in time.
pub(crate) fn hand_on(core: &Arc<Core>, unit: &Finished, slot: FreeSlot) {
    let mut slot = Some(slot);
    let handed_on = with(|all| {
        let link = all.link(core);
        link.ended(unit.kind, &mut slot);
        let shard = &link.shard;
        if shard.units.is_half_full() {
            core.drain_if_free(shard);
        }
        while !shard.units.push(unit) {
            // Full, and others were at the histograms all the while. No unit is lost for
            // that: the thread waits for them, some microseconds as a rule.
            core.drain(shard);
        }
    });
    if handed_on.is_none() {
        // The thread is ending: straight into the histograms.
        core.take_in(unit);
        core.kinds.get(unit.kind).add_elsewhere(-1);
    }
    if let Some(slot) = slot {
        core.slots.give_back(slot);
    }
    core.background.something_happened();
}

impl Link {
    /// A unit of this kind was ended. Its slot is kept at hand, if there is room.
    #[inline]
    fn ended(&mut self, kind: KindId, slot: &mut Option<FreeSlot>) {
        self.shard.in_flight_changes(kind, -1);
        if self.slots.len() < SLOTS_AT_HAND {
            self.slots.extend(slot.take());
        }
    }
}

/// Lets `write` leave an entry in the thread's ring of details, at `now` or when the thread last
/// looked at the clock.
#[inline]
pub(crate) fn detail(core: &Arc<Core>, now: u64, write: impl FnOnce(&DetailRing, u64)) {
    with(|all| {
        let link = all.link(core);
        link.looked_at = link.looked_at.max(now);
        write(&link.shard.details, link.looked_at);
    });
}

/// The thread keeps back an event of this call site, which happened in its innermost span or, if it
/// is not `contextual`, elsewhere. In a unit of the sample it leaves its `fields` in the detail all
/// the same; in another one a mark.
#[inline]
pub(crate) fn suppress(
    core: &Arc<Core>,
    site: SiteId,
    now: u64,
    contextual: bool,
    fields: impl FnOnce() -> FieldBytes,
) {
    let drawn = with(|all| {
        let link = all.link(core);
        link.shard.suppress(site, now);
        if !core.keeps_details() || !contextual {
            return None;
        }
        let frame = all.frames.iter().rfind(|f| f.core == core.id)?;
        let (slot, span) = (frame.member.slot, frame.span);
        let link = all.link(core);
        if !core.slots.get(slot)?.is_drawn() {
            (link.shard.details).event(link.looked_at, slot, span, site, &[]);
            return None;
        }
        Some((slot, span))
    });
    match drawn {
        None => core.events.retire(site, 1, now),
        Some(None) => {}
        Some(Some((slot, span))) => {
            // Visited outside: it is the user's code, which may have spans and events of its own.
            let fields = fields();
            detail(core, core.clock.now(), |details, at| {
                details.event(at, slot, span, site, fields.as_bytes());
            });
        }
    }
}

/// [`RANDOM_BITS`] of a random number.
pub(crate) fn random() -> u64 {
    with(Frames::random).unwrap_or(0)
}

impl Frames {
    /// [`RANDOM_BITS`] of xorshift, seeded by the thread's number, which differs.
    #[inline]
    fn random(&mut self) -> u64 {
        if self.random == 0 {
            self.random = self.thread().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        }
        let mut random = self.random;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random = random;
        // Its low bits are the weaker ones.
        random >> (u64::BITS - RANDOM_BITS)
    }

    #[inline]
    fn thread(&mut self) -> u64 {
        if self.thread == 0 {
            self.thread = next_thread();
        }
        self.thread
    }

    #[inline]
    fn link(&mut self, core: &Arc<Core>) -> &mut Link {
        let at = match self.links.iter().position(|link| link.id == core.id) {
            Some(at) => at,
            None => alloc_tracker::excluded(|| {
                self.links.retain(|link| link.core.strong_count() > 0);
                self.links.push(Link {
                    id: core.id,
                    core: Arc::downgrade(core),
                    shard: core.new_shard(),
                    looked_at: 0,
                    newest: None,
                    slots: Vec::with_capacity(SLOTS_AT_HAND),
                });
                self.links.len() - 1
            }),
        };
        &mut self.links[at]
    }
}

#[cold]
fn next_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}
