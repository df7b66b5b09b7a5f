//! Waiting for another thread, however long that takes, and not for ever.

use std::time::{Duration, Instant};

/// What has not happened by now, on whatever machine, will not: a hang, and no matter of speed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Looks until it is so.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it hangs");
        std::thread::yield_now();
    }
}
