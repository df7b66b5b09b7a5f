//! How the process asks every thread to look at each of its calls of the allocator, and stops; and who asks.
//!
//! * [`sites`]: the call stacks that allocate while a budget is open; [`sizes`]: the sizes that are asked for.
//! * [`follow`]: blocks that are followed to their free, while there are [`followers`].

pub(super) mod follow;
pub(super) mod followers;
pub(super) mod sites;
pub(super) mod sizes;

use super::counter::block::{self, Block};
use super::counter::published::{OWN, PROCESS, Placing, Published, Watchers};
use super::counter::registry;

static WATCHERS: Watchers = Watchers::new();
pub(crate) static PLACING: Placing = Placing::new();

/// From here on every thread looks at each of its calls: the calling thread at all, others at each
/// free from now on, and at each allocation from their next free or [`LOOK_EVERY`](block::LOOK_EVERY) bytes on.
pub(crate) fn start() {
    WATCHERS.add();
    registry::for_each_block(|block| block.raise(PROCESS));
    block::with(|block| block.look_at_next());
}

/// One watcher less.
pub(crate) fn stop() {
    WATCHERS.remove();
}

/// From here on the frees of blocks that may be placed ones look up.
#[cfg(feature = "profile")]
pub(crate) fn start_placing() {
    PLACING.start();
    registry::for_each_block(|block| block.heed(&PLACING));
}

/// Every thread looks up once: the calling one at its next allocation, others as for [`start`].
#[cfg(feature = "profile")]
pub(crate) fn have_all_look() {
    start();
    stop();
}

/// A thread has published its block.
pub(crate) fn join(block: &Published) {
    WATCHERS.join(block);
}

/// A thread has seen a call of its own.
#[inline]
pub(crate) fn stand_down(block: &Published) {
    WATCHERS.stand_down(block, &PLACING);
}

impl Block {
    /// Whether this thread has to see each of its own calls.
    pub(crate) fn watch_own(&self, watch: bool) {
        if watch {
            self.published.raise(OWN);
            self.look_at_next();
        } else {
            self.published.clear(OWN, &PLACING);
        }
    }
}
