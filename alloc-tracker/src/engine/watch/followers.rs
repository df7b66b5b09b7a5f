//! Whether any unit follows its blocks: as long as one does, every thread's frees are looked up.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Units that follow their blocks.
static FOLLOWERS: AtomicUsize = AtomicUsize::new(0);

/// A unit follows its blocks from here on: frees are looked up.
pub(crate) fn begin() {
    FOLLOWERS.fetch_add(1, SeqCst);
    super::start();
}

/// It does no more.
pub(crate) fn end() {
    super::stop();
    FOLLOWERS.fetch_sub(1, SeqCst);
}

pub(crate) fn is_idle() -> bool {
    FOLLOWERS.load(SeqCst) == 0
}
