//! The one clock: nanoseconds since the instance was built.

use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock {
            start: Instant::now(),
        }
    }

    /// Never 0, so that 0 can stand for "never".
    pub(crate) fn now(&self) -> u64 {
        // PERF: `as_nanos` computes in 128 bits; 64 last for 584 years.
        let elapsed = self.start.elapsed();
        let seconds = elapsed.as_secs().wrapping_mul(1_000_000_000);
        seconds
            .wrapping_add(u64::from(elapsed.subsec_nanos()))
            .max(1)
    }
}
