//! What the program's own allocations hold while it is under load; SQLite's are C's.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

/// In bytes, 0 until it is known.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The most in the second tenth of the time, when all is set up.
    early: AtomicI64,
    /// The most after that.
    later: AtomicI64,
}

impl Memory {
    /// Looks ten times a second, as long as it is polled.
    pub(crate) async fn watch(&self, within: Duration) {
        let start = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let held = alloc_tracker::process_usage().live_bytes();
            let elapsed = start.elapsed();
            if elapsed > within / 5 {
                self.later.fetch_max(held, Relaxed);
            } else if elapsed > within / 10 {
                self.early.fetch_max(held, Relaxed);
            }
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: &AtomicI64| bytes.load(Relaxed) / 1024;
        write!(
            f,
            "Memory of Rust's allocations: {} KiB at most early on, {} KiB later.",
            kib(&self.early),
            kib(&self.later)
        )
    }
}
