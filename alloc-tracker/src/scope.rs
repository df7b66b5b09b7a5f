//! Measuring one thread, synchronously.

use crate::{Usage, engine};
use std::marker::PhantomData;

/// Runs `work` and returns its value and what it allocated on this thread.
///
/// What `work` hands to other threads is not included: use a [`Unit`](crate::Unit) for that.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// let (boxed, usage) = alloc_tracker::measure(|| Box::new([0u8; 32]));
/// # drop(boxed);
/// println!("{usage}"); // 1 alloc, 0 frees, 32 B allocated, 0 B freed, peak 32 B
/// ```
///
/// # Panics
///
/// Only if `work` does; the measurement is then dropped.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let scope = Scope::enter();
    let value = work();
    (value, scope.finish())
}

/// Counts what this thread allocates from [`enter`](Scope::enter) until it is finished or dropped.
///
/// Scopes nest: an outer scope's figures include the inner one's. They may end in any order.
/// A scope belongs to its thread and cannot be sent to another.
///
/// A scope that is held across an `.await` counts everything its thread does meanwhile, other
/// tasks included; [`InUnit`](crate::InUnit) counts one future alone.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::Scope;
///
/// let scope = Scope::enter();
/// let first = vec![1u8; 100];
/// let so_far = scope.usage();
/// drop(first);
/// let whole = scope.finish();
/// # #[cfg(feature = "track")] {
/// assert_eq!((so_far.live_bytes(), whole.live_bytes()), (100, 0));
/// assert_eq!(whole.peak_bytes, 100);
/// # }
/// ```
///
/// # Cost
///
/// A few nanoseconds, no allocation.
///
/// # Limits
///
/// Up to 64 measurements may be open on a thread at once with exact peaks, counting those that
/// ended while later ones were open. The peak of a deeper one is an upper bound, or, if it outlasts
/// all the others, a lower one. All other figures are exact at any depth and in any order.
#[derive(Debug)]
#[must_use = "a scope measures until it is dropped"]
pub struct Scope {
    segment: engine::Segment,
    /// The segment is a difference of this thread's counters.
    _not_send: PhantomData<*mut ()>,
}

impl Scope {
    /// Starts counting on this thread.
    #[inline]
    pub fn enter() -> Self {
        Scope {
            segment: engine::open(),
            _not_send: PhantomData,
        }
    }

    /// What this thread has allocated since [`enter`](Scope::enter).
    #[inline]
    pub fn usage(&self) -> Usage {
        engine::read(self.segment)
    }

    /// Ends the scope and returns its figures.
    #[inline]
    #[must_use = "the figures are lost; a scope that nobody asks ends when it is dropped"]
    pub fn finish(self) -> Usage {
        let usage = engine::close(self.segment);
        std::mem::forget(self);
        usage
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        engine::close(self.segment);
    }
}

/// Runs `work` without charging its allocations to any open scope or unit of this thread.
///
/// For the machinery that measures (an exporter's buffer, a registry) and that the measured work
/// should not pay for. [`process_usage`](crate::process_usage) still includes it.
///
/// A scope or a unit that is entered inside is to be left inside: otherwise nothing is excluded.
///
/// A block that is allocated inside and freed outside lowers the live bytes of the scope that
/// frees it, as freeing any foreign block does.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::{excluded, measure};
///
/// let (_, usage) = measure(|| excluded(|| vec![0u8; 4096].len()));
/// # #[cfg(feature = "track")]
/// assert_eq!(usage.allocs, 0);
/// ```
pub fn excluded<T>(work: impl FnOnce() -> T) -> T {
    let _excluded = engine::Excluded::start();
    work()
}
