//! How the process asks every thread to look at each of its calls of the allocator, and stops.
//!
//! Whoever watches adds to [`WATCHERS`] and then raises the alert of every published thread; a
//! thread that is published later looks at `WATCHERS` itself. Nobody lowers another's alert: a
//! thread that finds no watcher left lowers its own.

use super::published::{PROCESS, Published};
use super::{block, registry};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

static WATCHERS: AtomicUsize = AtomicUsize::new(0);

/// From here on every thread looks at each of its calls: the calling thread at all, others at each
/// free from now on, and at each allocation from their next free or [`block::LOOK_EVERY`] bytes on.
pub(super) fn start() {
    // Handshakes, all SeqCst. `join`: we add and then look for the block, the thread publishes
    // its block and then looks at the number: one sees the other. `stand_down`: we add and
    // then raise, the thread lowers and then looks at the number: likewise.
    WATCHERS.fetch_add(1, SeqCst);
    registry::for_each_block(|block| block.raise(PROCESS));
    block::with(|block| block.look_at_next());
}

/// One watcher less.
pub(super) fn stop() {
    WATCHERS.fetch_sub(1, SeqCst);
}

/// A thread has published its block.
pub(super) fn join(block: &Published) {
    if WATCHERS.load(SeqCst) > 0 {
        block.raise(PROCESS);
    }
}

/// A thread has seen a call of its own: no more, if nobody watches any more.
#[inline]
pub(super) fn stand_down(block: &Published) {
    if block.alerts() & PROCESS != 0 && WATCHERS.load(SeqCst) == 0 {
        block.clear(PROCESS);
        join(block);
    }
}
