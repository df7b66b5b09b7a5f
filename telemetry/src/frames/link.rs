//! A thread's connection to an instance: through it go the units that the thread begins and ends, the
//! details of what it does, and the events that it keeps back.

use super::{Frames, with};
use crate::callsites::SiteId;
use crate::core::Core;
use crate::details::{DetailRing, FieldBytes};
use crate::ledger::UnitDrop;
use crate::shard::Shard;
use crate::system::Sampled;
use crate::units::{Finished, KindId, Membership, Start, Taken};
use std::sync::{Arc, Weak};

/// The thread's connection to one telemetry instance, which it does not keep alive.
pub(super) struct Link {
    pub(super) id: usize,
    pub(super) core: Weak<Core>,
    pub(super) shard: Arc<Shard>,
    /// When the thread last looked at the instance's clock.
    pub(super) looked_at: u64,
    /// Units begun on this thread, to time every so many.
    begun: u32,
    /// Slots of units that this thread ended, for the next ones that it begins.
    slots: Vec<Taken>,
    /// Records of lean spans that this thread ended, for the next ones.
    pub(super) lean: Vec<Taken>,
    /// Spans of the subscriber that the thread has entered, if there is somebody to tell.
    pub(super) others: Vec<u64>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            for slot in self.slots.drain(..) {
                core.slots.give_back(slot);
            }
            for record in self.lean.drain(..) {
                core.spans.give_back(record);
            }
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
        let slot = core.slots.begin(start, None)?;
        core.kinds.get(kind).add_elsewhere(1);
        Some(Membership::of_root(slot, false))
    })
}

/// No thread has this number.
const NO_THREAD: u64 = u64::MAX;

/// A unit of this kind was ended: it is in progress no more, and its slot is free.
pub(crate) fn ended(core: &Arc<Core>, kind: KindId, slot: Taken) {
    let mut slot = Some(slot);
    if with(|all| all.link(core).ended(core, kind, &mut slot)).is_none() {
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
        link.ended(core, unit.kind, &mut slot);
        let shard = &link.shard;
        if shard.units.is_half_full() {
            core.drain_if_free(shard);
        }
        while !shard.units.push(unit) {
            // Full, and others were at the histograms all the while. No unit is lost for
            // that: the thread waits for them, some microseconds as a rule.
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
    /// A unit of this kind was ended. Its slot is kept at hand, if there is room.
    #[inline]
    fn ended(&mut self, core: &Core, kind: KindId, slot: &mut Option<Taken>) {
        self.shard.in_flight_changes(kind, -1);
        if self.slots.len() < core.slots.at_hand() {
            self.slots.extend(slot.take());
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
        let leaves_mark = core.keeps_details() && contextual;
        let mut frames = all.frames.iter();
        let place = match leaves_mark {
            true => frames.rfind(|f| f.core == core.id),
            false => None,
        };
        let place = place.map(|frame| (frame.member.slot(), frame.detail));
        let link = all.link(core);
        link.shard.suppress(site, now);
        let (slot, span) = place?;
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
        let thread = self.thread();
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
            thread,
            name: core.kinds.get(kind).unit_name(),
        };
        let slot = core.slots.begin(start, link.slots.pop())?;
        if link.shard.in_flight_changes(kind, 1) {
            core.look_at_in_flight(kind);
        }
        Some(Membership::of_root(slot, timed))
    }

    #[inline]
    pub(super) fn link(&mut self, core: &Arc<Core>) -> &mut Link {
        let at = match self.links.iter().position(|link| link.id == core.id) {
            Some(at) => at,
            None => alloc_tracker::excluded(|| {
                self.links.retain(|link| link.core.strong_count() > 0);
                self.links.push(Link {
                    id: core.id,
                    core: Arc::downgrade(core),
                    shard: core.new_shard(),
                    looked_at: 0,
                    begun: 0,
                    slots: Vec::with_capacity(core.slots.at_hand()),
                    lean: Vec::with_capacity(core.spans.at_hand()),
                    others: Vec::new(),
                });
                self.links.len() - 1
            }),
        };
        &mut self.links[at]
    }
}
