//! The outboxes of the threads: who hands over, and what is read from all of them.

use super::Instance;
use crate::cost::{Finished, KindId};
use crate::details::DetailRing;
use crate::events::SuppressedSite;
use crate::exemplars::{self, Kept};
use crate::live::{Ended, LiveUnit, SpanOwner, UnitRef};
use crate::outbox::Outbox;
use crate::record::{Observability, SpanLedger};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The outboxes of all threads, and what is remembered of those that have ended.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    live: Vec<Arc<Outbox>>,
    /// The details of threads that have ended: a unit that they worked for may not have.
    gone: VecDeque<Arc<DetailRing>>,
    /// When the last of them was forgotten: of units that began before, something may be missing.
    forgotten_at: u64,
    /// Spans that threads which have ended have made, by [`SpanOwner`].
    spans: [u64; SpanOwner::ALL.len()],
    /// What other layers allocated there: how often, and bytes.
    of_others: [u64; 2],
}

/// Threads that have ended whose details are remembered.
const MOST_GONE: usize = 8;

impl Instance {
    /// What is known of a unit that is kept: its entries in the rings of all threads.
    ///
    /// It typically takes microseconds, and a millisecond if two hundred threads filled their rings
    /// while the unit lasted.
    pub(crate) fn capture(
        &self,
        unit: &Finished,
        ended: &Ended,
        kept: Kept,
    ) -> exemplars::Captured {
        let (rings, forgotten_at) = {
            // At once: a thread that ends is in one of the lists, and not in both.
            let outboxes = self.outboxes.lock();
            let live = outboxes.live.iter().map(|outbox| &outbox.details);
            let rings: Vec<_> = live.chain(&outboxes.gone).cloned().collect();
            (rings, outboxes.forgotten_at)
        };
        let mut entries = Vec::new();
        let mut whole = self.keeps_details() && ended.started > forgotten_at;
        for details in &rings {
            whole &= details.entries_of(ended.reference, ended.started, &mut entries);
        }
        exemplars::Captured {
            id: self.exemplar_ids.fetch_add(1, Relaxed),
            kept,
            unit: unit.clone(),
            reference: ended.reference,
            outer: Self::outer_of(ended.place.thing()),
            trace: ended.place.thing().trace(),
            ended: self.calendar.now(),
            started: ended.started,
            entries,
            whole,
        }
    }

    /// The unit around one that has ended, if that lives, and its kind.
    fn outer_of(unit: &LiveUnit) -> Option<(UnitRef, KindId)> {
        let outer = unit.outer()?;
        Some((outer.unit, outer.live()?.kind()))
    }

    /// An outbox for a thread that is new here.
    pub(crate) fn new_outbox(&self) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(self.kinds.most(), self.detail_words));
        self.outboxes.lock().live.push(Arc::clone(&outbox));
        outbox
    }

    /// The thread of an outbox ends: what is in the outbox is kept, the outbox is not.
    pub(crate) fn retire(&self, outbox: &Arc<Outbox>) {
        self.drain(outbox);
        let mut outboxes = self.outboxes.lock();
        for (id, kind) in self.kinds.all() {
            kind.add_elsewhere(outbox.in_flight(id));
        }
        for owner in SpanOwner::ALL {
            outboxes.spans[owner as usize] += outbox.spans(owner);
        }
        for (sum, n) in outboxes.of_others.iter_mut().zip(outbox.of_others()) {
            *sum += n;
        }
        self.events.retire_outbox(outbox);
        outboxes.live.retain(|other| !Arc::ptr_eq(other, outbox));
        if self.keeps_details() {
            if outboxes.gone.len() == MOST_GONE {
                outboxes.gone.pop_front();
                outboxes.forgotten_at = self.clock.now();
            }
            outboxes.gone.push_back(Arc::clone(&outbox.details));
        }
    }

    /// What each call site of events kept back since this was last called, `most` of them.
    pub(crate) fn take_suppressed(&self, most: usize) -> Vec<SuppressedSite> {
        // The lock: a thread that ends moves its counts.
        let outboxes = self.outboxes.lock();
        (self.events).take_suppressed(&self.callsites, &outboxes.live, most)
    }

    /// How many events a limit kept back.
    pub(super) fn events_rate_limited(&self) -> u64 {
        let outboxes = self.outboxes.lock();
        self.events.rate_limited(&self.callsites, &outboxes.live)
    }

    /// Spans of units that were made.
    pub(super) fn spans_made(&self) -> SpanLedger {
        let outboxes = self.outboxes.lock();
        let [shared, lean] = SpanOwner::ALL.map(|owner| {
            let live = outboxes.live.iter().map(|outbox| outbox.spans(owner));
            outboxes.spans[owner as usize] + live.sum::<u64>()
        });
        SpanLedger::new(lean, shared)
    }

    /// What other layers have allocated while they were told of something.
    pub(super) fn observability(&self) -> Observability {
        let outboxes = self.outboxes.lock();
        let mut sums = outboxes.of_others;
        for outbox in &outboxes.live {
            let of = outbox.of_others();
            sums.iter_mut().zip(of).for_each(|(sum, n)| *sum += n);
        }
        let [allocs, alloc_bytes] = sums;
        Observability::new(allocs, alloc_bytes)
    }

    /// Units of a kind in progress: now, and the most that were seen.
    pub(crate) fn in_flight(&self, kind: KindId) -> (u64, u64) {
        in_flight_of(self, kind, &self.outboxes.lock())
    }

    /// A thread has more units of a kind in progress than ever: perhaps all threads together have.
    #[cold]
    pub(crate) fn look_at_in_flight(&self, kind: KindId) {
        // Somebody else is looking: at a figure that is as good.
        if let Some(outboxes) = self.outboxes.try_lock() {
            in_flight_of(self, kind, &outboxes);
        }
    }

    /// Whether as many units are in progress as may be. False while somebody else is at the list of threads.
    ///
    /// All threads are asked, so not again within a millisecond of a yes: this is when there is no time.
    #[cold]
    pub(crate) fn is_full(&self, now: u64) -> bool {
        const AGAIN_AFTER: u64 = 1_000_000;
        if now < self.full_until.load(Relaxed) {
            return true;
        }
        let Some(outboxes) = self.outboxes.try_lock() else {
            return false;
        };
        let of_kind = |(id, _)| in_flight_of(self, id, &outboxes).0 as usize;
        let is_full = self.kinds.all().map(of_kind).sum::<usize>() >= self.live_units.most();
        if is_full {
            self.full_until.store(now + AGAIN_AFTER, Relaxed);
        }
        is_full
    }

    /// The outboxes that there are now.
    pub(crate) fn outboxes(&self) -> Vec<Arc<Outbox>> {
        let mut outboxes = self.outboxes.lock();
        // In the child of a fork that came while the list was changed: a new list, which does not know
        // the one thread that was there before.
        if !outboxes.is_first() {
            let is_new = |own: &Arc<Outbox>| {
                let mut live = outboxes.live.iter();
                !live.any(|outbox| Arc::ptr_eq(outbox, own))
            };
            let own = (self.own_outbox)(self).filter(is_new);
            outboxes.live.extend(own);
        }
        outboxes.live.clone()
    }
}

fn in_flight_of(instance: &Instance, kind: KindId, outboxes: &Outboxes) -> (u64, u64) {
    let in_outboxes = outboxes
        .live
        .iter()
        .map(|outbox| outbox.in_flight(kind))
        .sum();
    instance.kinds.get(kind).in_flight(in_outboxes)
}
