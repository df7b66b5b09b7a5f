//! A thread's connection to an instance: through it go the units that the thread begins and ends, the
//! details of what it does, and the events that it keeps back.

use super::stack::{Innermost, Stack};
use super::{Frames, with};
use crate::callsites::SiteId;
use crate::core::Core;
use crate::cost::{Finished, KindId};
use crate::details::{DetailRing, FieldBytes};
use crate::ledger::UnitDrop;
use crate::shard::Shard;
use crate::system::{Sampled, Started};
use crate::units::{Allowed, Membership, SlotRef, Start, Taken};
use std::sync::{Arc, Weak};

/// The thread's connection to one telemetry instance, which it does not keep alive.
pub(super) struct Link {
    pub(super) id: usize,
    /// The thread's number.
    pub(super) thread: u64,
    pub(super) core: Weak<Core>,
    pub(super) shard: Arc<Shard>,
    /// When the thread last looked at the instance's clock.
    pub(super) looked_at: u64,
    /// Units begun on this thread, to time every so many.
    begun: u32,
    /// Slots of units that this thread ended, for the next ones that it begins.
    slots: Vec<Taken>,
    slots_allowed: Allowed,
    /// Records of lean spans that this thread ended, for the next ones.
    pub(super) lean: Vec<Taken>,
    pub(super) lean_allowed: Allowed,
    /// The spans that the thread has entered.
    pub(super) stack: Stack,
    /// What the system knew of the thread when it began to work for a unit that it is asked about.
    pub(super) samples: Vec<(SlotRef, Started)>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            for slot in self.slots.drain(..) {
                core.slots.give_back(slot);
            }
            core.slots.give_up(std::mem::take(&mut self.slots_allowed));
            for record in self.lean.drain(..) {
                core.spans.give_back(record);
            }
            core.spans.give_up(std::mem::take(&mut self.lean_allowed));
            core.retire(&self.shard);
        }
    }
}

/// Begins a unit at `now`. `None` if too many are in progress.
#[inline]
pub(crate) fn begin(core: &Arc<Core>, kind: KindId, now: u64) -> Option<Membership> {
    // The thread is ending: it has no number, and nothing at hand.
    with(|all| all.begin(core, kind, now)).unwrap_or_else(|| {
        let start = Start {
            kind,
            timed: false,
            drawn: false,
            sampled: Sampled::No,
            now,
            thread: NO_THREAD,
            name: core.kinds.get(kind).unit_name(),
        };
        let slot = core.slots.begin(start, None, || core.is_full(now))?;
        core.kinds.get(kind).add_elsewhere(1);
        Some(Membership::of_root(slot, false))
    })
}

/// No thread has this number.
const NO_THREAD: u64 = u64::MAX;

/// A unit of this kind was ended: it is in progress no more, and its slot is free.
pub(crate) fn ended(core: &Arc<Core>, kind: KindId, slot: Taken) {
    let mut slot = Some(slot);
    if with(|all| all.link(core).ended(kind, &mut slot)).is_none() {
        core.kinds.get(kind).add_elsewhere(-1);
    }
    if let Some(slot) = slot {
        core.slots.give_back(slot);
    }
}

/// A unit has ended: puts it into the thread's ring, and drains the ring in time.
#[inline]
pub(crate) fn hand_on(core: &Arc<Core>, unit: &Finished, slot: Taken) {
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
            // that: the thread waits for them, some microseconds mostly.
            if !core.drain(shard) {
                core.drop_unit(UnitDrop::Forked);
                break;
            }
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
    /// The innermost span that the thread has entered.
    #[inline(always)]
    pub(super) fn innermost(&mut self, core: &Core) -> Innermost {
        let innermost = self.stack.innermost(&core.spans);
        if let Innermost::Over = innermost {
            self.bury(core);
        }
        innermost
    }

    /// What is innermost and over, if anything is, goes.
    #[cold]
    pub(super) fn bury(&mut self, core: &Core) {
        while let Some(entry) = self.stack.bury(&core.spans) {
            self.abandon(core, &entry);
        }
    }

    /// A unit of this kind was ended. Its slot is kept at hand, if there is room.
    #[inline]
    fn ended(&mut self, kind: KindId, slot: &mut Option<Taken>) {
        self.shard.in_flight_changes(kind, -1);
        if self.slots_allowed.one_more(self.slots.len())
            && let Some(slot) = slot.take()
        {
            self.slots.push(slot);
        }
    }
}

/// Lets `write` leave an entry in the thread's ring of details, at a time: `now`, or when the thread
/// last looked at the clock. A ring's times never go back.
#[inline]
pub(crate) fn detail(core: &Arc<Core>, now: Option<u64>, write: impl FnOnce(&DetailRing, u64)) {
    with(|all| {
        let link = all.link(core);
        link.looked_at = link.looked_at.max(now.unwrap_or(0));
        write(&link.shard.details, link.looked_at);
    });
}

/// What the thread hands to an instance, if it ever did.
pub(crate) fn shard(core: &Core) -> Option<Arc<Shard>> {
    with(|all| {
        let link = all.links.iter().find(|link| link.id == core.id)?;
        Some(Arc::clone(&link.shard))
    })?
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
        let Innermost::OfUnit(known) = link.innermost(core) else {
            return None;
        };
        let (slot, span) = (known.member.slot(), known.detail);
        if !core.slots.get(slot)?.is_drawn() {
            (link.shard.details).event(link.looked_at, slot, span, site, &[]);
            return None;
        }
        Some((slot, span))
    });
    core.background.something_happened();
    match drawn {
        None => core.events.retire(site, 1, now),
        Some(None) => {}
        Some(Some((slot, span))) => {
            // Visited outside: it is the user's code, which may have spans and events of its own.
            let fields = fields();
            detail(core, Some(core.clock.now()), |details, at| {
                details.event(at, slot, span, site, fields.as_bytes());
            });
        }
    }
}

impl Frames {
    /// Begins a unit at `now`. `None` if too many are in progress.
    #[inline]
    pub(super) fn begin(&mut self, core: &Arc<Core>, kind: KindId, now: u64) -> Option<Membership> {
        let drawn = core.has_exporters && core.head_sample.draws(self.random());
        let sampled = core.sampling.decide(self.random());
        let link = self.link(core);
        link.looked_at = now;
        link.begun = link.begun.wrapping_add(1);
        // Every 64th of the thread has its own telemetry cost timed; not its first, which sets
        // things up.
        let timed = link.begun.is_multiple_of(64);
        let start = Start {
            kind,
            timed,
            drawn,
            sampled,
            now,
            thread: link.thread,
            name: core.kinds.get(kind).unit_name(),
        };
        let slot = core
            .slots
            .begin(start, link.slots.pop(), || core.is_full(now))?;
        if link.shard.in_flight_changes(kind, 1) {
            core.look_at_in_flight(kind);
        }
        Some(Membership::of_root(slot, timed))
    }

    /// The thread's connection to an instance, if it has one.
    #[inline]
    pub(super) fn known_link(&mut self, core: &Core) -> Option<&mut Link> {
        if !self.is_first(core) && !self.bring_forward(core) {
            return None;
        }
        self.links.first_mut()
    }

    /// PERF: there is one instance mostly, and of more the last one is asked for several times in a row.
    #[inline]
    fn is_first(&self, core: &Core) -> bool {
        self.links.first().is_some_and(|first| first.id == core.id)
    }

    /// Has the connection to an instance be the first one, if there is one.
    #[cold]
    fn bring_forward(&mut self, core: &Core) -> bool {
        let at = self.links.iter().position(|link| link.id == core.id);
        if let Some(at) = at {
            self.links.swap(0, at);
        }
        at.is_some()
    }

    /// The thread's connection to an instance.
    #[inline]
    pub(super) fn link(&mut self, core: &Arc<Core>) -> &mut Link {
        if !self.is_first(core) {
            self.connect(core);
        }
        match self.links.first_mut() {
            Some(first) => first,
            None => unreachable!("it is connected"),
        }
    }

    #[cold]
    #[inline(never)]
    fn connect(&mut self, core: &Arc<Core>) {
        if self.bring_forward(core) {
            return;
        }
        let thread = self.thread();
        alloc_tracker::raw::for_a_tool(|| {
            self.links.retain(|link| link.core.strong_count() > 0);
            let (slots_allowed, lean_allowed) = (core.slots.allow(), core.spans.allow());
            self.links.push(Link {
                id: core.id,
                thread,
                core: Arc::downgrade(core),
                shard: core.new_shard(),
                looked_at: 0,
                begun: 0,
                slots: Vec::with_capacity(slots_allowed.most()),
                slots_allowed,
                lean: Vec::with_capacity(lean_allowed.most()),
                lean_allowed,
                stack: Stack::new(),
                samples: Vec::new(),
            });
        });
        self.bring_forward(core);
    }
}
