//! Panics of other people's code, and of our own where it must go on.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` returns; `None` if it panics.
///
/// What it panicked with is dropped here, which may panic too: that is caught as well, and what that
/// panicked with is forgotten.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(payload);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Again(u32);

    impl Drop for Again {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::resume_unwind(Box::new(Again(self.0 - 1)));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_caught() {
        assert_eq!(caught(|| 7), Some(7));
        for times in 0..3 {
            let panics = || -> u32 { std::panic::resume_unwind(Box::new(Again(times))) };
            assert_eq!(caught(panics), None);
        }
    }
}
