//! How the process asks every thread to look at each of its calls of the allocator, and stops.

use super::published::{PROCESS, Placing, Published, Watchers};
use super::{block, registry};

static WATCHERS: Watchers = Watchers::new();
pub(super) static PLACING: Placing = Placing::new();

/// From here on every thread looks at each of its calls: the calling thread at all, others at each
/// free from now on, and at each allocation from their next free or [`block::LOOK_EVERY`] bytes on.
pub(super) fn start() {
    WATCHERS.add();
    registry::for_each_block(|block| block.raise(PROCESS));
    block::with(|block| block.look_at_next());
}

/// One watcher less.
pub(super) fn stop() {
    WATCHERS.remove();
}

/// From here on the frees of blocks that may be placed ones look up.
#[cfg(feature = "profile")]
pub(super) fn start_placing() {
    PLACING.start();
    registry::for_each_block(|block| block.heed(&PLACING));
}

/// Every thread looks up once: the calling one at its next allocation, others as for [`start`].
#[cfg(feature = "profile")]
pub(super) fn have_all_look() {
    start();
    stop();
}

/// A thread has published its block.
pub(super) fn join(block: &Published) {
    WATCHERS.join(block);
}

/// A thread has seen a call of its own.
#[inline]
pub(super) fn stand_down(block: &Published) {
    WATCHERS.stand_down(block, &PLACING);
}
