//! How many handles something has.

use crate::tool::sync::{Acquire, AtomicU64, Relaxed, Release, fence};

/// A count of handles; 0 while nobody has any.
#[derive(Debug)]
pub(crate) struct Refs(AtomicU64);

impl Refs {
    pub(crate) fn none() -> Self {
        Refs(AtomicU64::new(0))
    }

    /// Whoever had one has none any more.
    pub(crate) fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// The first handle. The caller has the thing to itself.
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.store(1, Relaxed);
    }

    /// One more, by somebody who has one, or who knows that another has.
    #[inline]
    pub(crate) fn hold(&self) {
        // Relaxed: the new handle reaches other threads by something that orders memory, if at all.
        self.0.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(crate) fn are_held(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    /// One less. True if it was the last one: the thing is the caller's alone, and what others did with
    /// their handles is seen.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        // PERF: who has the only handle need not tell anybody that it goes: no locked instruction.
        // Acquire what the owners of the others did before they gave them up.
        match self.0.load(Acquire) {
            // Given up once too often: it was over.
            0 => false,
            1 => {
                self.0.store(0, Relaxed);
                true
            }
            _ => {
                // Release what this handle's owner did; the last one acquires it all.
                let is_last = self.0.fetch_sub(1, Release) == 1;
                if is_last {
                    fence(Acquire);
                }
                is_last
            }
        }
    }
}
