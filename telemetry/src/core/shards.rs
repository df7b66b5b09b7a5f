//! The shards of the threads: who hands over, and what is read from all of them.

use super::Core;
use crate::cost::{Finished, KindId};
use crate::details::DetailRing;
use crate::events::SuppressedSite;
use crate::exemplars::{self, Kept};
use crate::shard::Shard;
use crate::units::Ended;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The shards of all threads, and what is remembered of those that have ended.
#[derive(Debug, Default)]
pub(super) struct Shards {
    live: Vec<Arc<Shard>>,
    /// The details of threads that have ended: a unit that they worked for may not have.
    gone: VecDeque<Arc<DetailRing>>,
    /// When the last of them was forgotten: of units that began before, something may be missing.
    forgotten_at: u64,
}

/// Threads that have ended whose details are remembered.
const MOST_GONE: usize = 8;

impl Core {
    /// What is known of a unit that is kept: its entries in the rings of all threads.
    ///
    /// It takes microseconds as a rule, and a millisecond if two hundred threads filled their rings
    /// while the unit lasted.
    pub(crate) fn capture(
        &self,
        unit: &Finished,
        ended: &Ended,
        kept: Kept,
    ) -> exemplars::Captured {
        let (rings, forgotten_at) = {
            // At once: a thread that ends is in one of the lists, and not in both.
            let shards = self.shards.lock();
            let live = shards.live.iter().map(|shard| &shard.details);
            let rings: Vec<_> = live.chain(&shards.gone).cloned().collect();
            (rings, shards.forgotten_at)
        };
        let mut entries = Vec::new();
        let mut whole = self.keeps_details() && ended.started > forgotten_at;
        for details in &rings {
            whole &= details.entries_of(ended.reference, ended.started, &mut entries);
        }
        exemplars::Captured {
            id: self.exemplar_ids.fetch_add(1, Relaxed),
            kept,
            unit: *unit,
            ended: self.calendar.now(),
            started: ended.started,
            entries,
            whole,
        }
    }

    /// A shard for a thread that is new here.
    pub(crate) fn new_shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::new(self.kinds.most(), self.detail_words));
        self.shards.lock().live.push(Arc::clone(&shard));
        shard
    }

    /// The thread of a shard ends: what is in the shard is kept, the shard is not.
    pub(crate) fn retire(&self, shard: &Arc<Shard>) {
        self.drain(shard);
        let mut shards = self.shards.lock();
        for (id, kind) in self.kinds.all() {
            kind.add_elsewhere(shard.in_flight(id));
        }
        self.events.retire_shard(shard);
        shards.live.retain(|other| !Arc::ptr_eq(other, shard));
        if self.keeps_details() {
            if shards.gone.len() == MOST_GONE {
                shards.gone.pop_front();
                shards.forgotten_at = self.clock.now();
            }
            shards.gone.push_back(Arc::clone(&shard.details));
        }
    }

    /// What each call site of events kept back since this was last called, `most` of them.
    pub(crate) fn take_suppressed(&self, most: usize) -> Vec<SuppressedSite> {
        // The lock: a thread that ends moves its counts.
        let shards = self.shards.lock();
        (self.events).take_suppressed(&self.callsites, &shards.live, most)
    }

    /// How many events a limit kept back.
    pub(super) fn events_rate_limited(&self) -> u64 {
        let shards = self.shards.lock();
        self.events.rate_limited(&self.callsites, &shards.live)
    }

    /// Units of a kind in progress: now, and the most that were seen.
    pub(crate) fn in_flight(&self, kind: KindId) -> (u64, u64) {
        in_flight_of(self, kind, &self.shards.lock())
    }

    /// A thread has more units of a kind in progress than ever: perhaps all threads together have.
    #[cold]
    pub(crate) fn look_at_in_flight(&self, kind: KindId) {
        // Somebody else is looking: at a figure that is as good.
        if let Some(shards) = self.shards.try_lock() {
            in_flight_of(self, kind, &shards);
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
        let Some(shards) = self.shards.try_lock() else {
            return false;
        };
        let of_kind = |(id, _)| in_flight_of(self, id, &shards).0 as usize;
        let is_full = self.kinds.all().map(of_kind).sum::<usize>() >= self.slots.most();
        if is_full {
            self.full_until.store(now + AGAIN_AFTER, Relaxed);
        }
        is_full
    }

    /// The shards that there are now.
    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        let mut shards = self.shards.lock();
        // In the child of a fork that came while the list was changed: a new list, which does not know
        // the one thread that was there before.
        if !shards.is_first()
            && let Some(own) = (self.own_shard)(self)
            && !shards.live.iter().any(|shard| Arc::ptr_eq(shard, &own))
        {
            shards.live.push(own);
        }
        shards.live.clone()
    }
}

fn in_flight_of(core: &Core, kind: KindId, shards: &Shards) -> (u64, u64) {
    let in_shards = shards.live.iter().map(|shard| shard.in_flight(kind)).sum();
    core.kinds.get(kind).in_flight(in_shards)
}
