//! The shards of the threads: who hands over, and what is read from all of them.

use super::{Core, lock};
use crate::exemplars::{self, Kept};
use crate::shard::Shard;
use crate::units::{Ended, Finished, KindId};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

/// Threads that have ended whose details are remembered.
const MOST_ENDED_DETAILS: usize = 8;

impl Core {
    /// What is known of a unit that is kept: its entries in the rings of all threads.
    pub(crate) fn capture(
        &self,
        unit: &Finished,
        ended: &Ended,
        kept: Kept,
    ) -> exemplars::Captured {
        let mut entries = Vec::new();
        let mut whole = self.keeps_details();
        let live = self.shards();
        let gone = lock(&self.ended_details).clone();
        for details in live.iter().map(|shard| &shard.details).chain(&gone) {
            whole &= details.entries_of(ended.reference, ended.started, &mut entries);
        }
        exemplars::Captured {
            id: self.exemplar_ids.fetch_add(1, Relaxed),
            kept,
            unit: *unit,
            ended: SystemTime::now(),
            started: ended.started,
            entries,
            whole,
        }
    }

    /// A shard for a thread that is new here.
    pub(crate) fn new_shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::new(self.kinds.most(), self.detail_words));
        lock(&self.shards).push(Arc::clone(&shard));
        shard
    }

    /// The thread of a shard ends: what is in the shard is kept, the shard is not.
    pub(crate) fn retire(&self, shard: &Arc<Shard>) {
        self.drain(shard);
        let mut shards = lock(&self.shards);
        for (id, kind) in self.kinds.all() {
            kind.add_elsewhere(shard.in_flight(id));
        }
        self.events.retire_shard(&self.callsites, shard);
        shards.retain(|other| !Arc::ptr_eq(other, shard));
        drop(shards);
        if self.keeps_details() {
            let mut ended = lock(&self.ended_details);
            if ended.len() == MOST_ENDED_DETAILS {
                ended.pop_front();
            }
            ended.push_back(Arc::clone(&shard.details));
        }
    }

    /// Units of a kind in progress: now, and the most that were seen.
    pub(crate) fn in_flight(&self, kind: KindId) -> (u64, u64) {
        self.in_flight_of(kind, &lock(&self.shards))
    }

    /// A thread has more units of a kind in progress than ever: perhaps all threads together have.
    #[cold]
    pub(crate) fn look_at_in_flight(&self, kind: KindId) {
        // Somebody else is looking: at a figure that is as good.
        if let Ok(shards) = self.shards.try_lock() {
            self.in_flight_of(kind, &shards);
        }
    }

    pub(super) fn in_flight_of(&self, kind: KindId, shards: &[Arc<Shard>]) -> (u64, u64) {
        let in_shards = shards.iter().map(|shard| shard.in_flight(kind)).sum();
        self.kinds.get(kind).in_flight(in_shards)
    }

    /// The shards that there are now.
    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).clone()
    }
}
