//! A stack of free numbers, which any number of threads push to and pop from without a lock.
//!
//! The links lie with what the numbers stand for. The head carries a tag that changes with every push
//! and pop, so that a number which left and came back is not mistaken for one that stayed.

use super::sync::{Acquire, AtomicU32, AtomicU64, Relaxed, Release, constructor};

/// The tag in the upper half; the first free number plus one in the lower.
#[derive(Debug)]
pub(super) struct FreeStack(AtomicU64);

const ONE_TAG: u64 = 1 << 32;
const NUMBER: u64 = ONE_TAG - 1;

impl FreeStack {
    constructor! {
        pub(super) fn new() -> Self {
            FreeStack(AtomicU64::new(0))
        }
    }

    /// `link` belongs to what `number` stands for, which is the caller's until here.
    pub(super) fn push(&self, number: u32, link: &AtomicU32) {
        let mut head = self.0.load(Relaxed);
        loop {
            link.store((head & NUMBER) as u32, Relaxed);
            let new = (head & !NUMBER).wrapping_add(ONE_TAG) | (u64::from(number) + 1);
            // Release what the number stands for, the link among it, to whoever pops it.
            match self.0.compare_exchange_weak(head, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// `link_of` finds the link of a number that was pushed.
    pub(super) fn pop<'a>(&self, link_of: impl Fn(u32) -> Option<&'a AtomicU32>) -> Option<u32> {
        let mut head = self.0.load(Acquire);
        loop {
            let number = (head & NUMBER).checked_sub(1)? as u32;
            // May be stale if another thread pops the number now; the tag then fails the exchange.
            let next = u64::from(link_of(number)?.load(Relaxed));
            let new = (head & !NUMBER).wrapping_add(ONE_TAG) | next;
            // Acquire what the pusher released. A later push or pop keeps the release sequence.
            match self.0.compare_exchange_weak(head, new, Acquire, Acquire) {
                Ok(_) => return Some(number),
                Err(now) => head = now,
            }
        }
    }
}
