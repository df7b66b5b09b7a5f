//! Where one thread at a time publishes its counters.
//!
//! What a slot stands for is one number per figure, read without a lock:
//!
//! ```text
//!   nobody here:   total
//!   thread here:   carry + its block        (carry = total at the moment it came)
//! ```
//!
//! The switch from one to the other is a single store of the block's address, before which both
//! sides have the same value. So a reader counts every operation once, whatever happens.

use super::counts::{Counts, SharedCounts};
use super::published::Published;
use super::sync::{
    Acquire, AtomicPtr, AtomicU32, Relaxed, Release, SeqCst, constructor, fence, pause,
};
use std::ptr;

#[derive(Debug)]
pub(super) struct Slot {
    block: AtomicPtr<Published>,
    /// Readers that may be looking at `block` now.
    readers: AtomicU32,
    carry: SharedCounts,
    total: SharedCounts,
}

impl Slot {
    constructor! {
        pub(super) fn new() -> Self {
            Slot {
                block: AtomicPtr::new(ptr::null_mut()),
                readers: AtomicU32::new(0),
                carry: SharedCounts::new(),
                total: SharedCounts::new(),
            }
        }
    }

    /// From here on readers see `block`, of which `drained` is in the totals already.
    pub(super) fn publish(&self, block: &Published, drained: Counts) {
        self.carry.store(self.total.load().minus(drained));
        // Release `carry` to the reader that sees the address.
        self.block.store(ptr::from_ref(block).cast_mut(), Release);
    }

    /// From here on readers see `total`. Returns when nobody looks at the block any more.
    pub(super) fn retract(&self, counts: Counts) {
        // Release the block's counts and address to who sees the new total, to be acquired by the
        // fence of the next read: it must not see an older figure there.
        fence(Release);
        self.total.store(self.carry.load().plus(counts));
        // Release `total` to the reader that sees null.
        self.block.store(ptr::null_mut(), Release);
        // Handshake: we store `block` and then load `readers`, a reader adds to `readers` and
        // then loads `block`. With a fence between, either it sees null or we see it.
        fence(SeqCst);
        let mut tries = 0u32;
        // Acquire what a reader did before it left: it is done with the block.
        while self.readers.load(Acquire) != 0 {
            // A reader holds on for a few dozen instructions, more only if it is preempted.
            tries += 1;
            pause(tries);
        }
    }

    pub(super) fn read(&self) -> Counts {
        self.with_block(|block| self.carry.load().plus(block.counts()))
            .unwrap_or_else(|| self.total.load())
    }

    /// Calls `f` with the block of the thread that is here now.
    pub(super) fn with_block<T>(&self, f: impl FnOnce(&Published) -> T) -> Option<T> {
        self.readers.fetch_add(1, Relaxed);
        // See `retract`.
        fence(SeqCst);
        let block = self.block.load(Acquire);
        // SAFETY: a published address is that of a live thread's block, and that thread does not
        // end before it has set `block` to null and then seen `readers` at 0 (see `retract`; for
        // the one thread that could, see `thread_exit::register`). All fields are atomics, so
        // sharing them is sound.
        let result = unsafe { block.as_ref() }.map(f);
        self.readers.fetch_sub(1, Release);
        result
    }

    /// In the child of a fork, for the slot of a thread that does not exist here.
    pub(super) fn abandon(&self) {
        self.forget_readers();
        let block = self.block.load(Relaxed);
        // SAFETY: the child has a copy of the parent's memory, in it the blocks of the threads
        // that were running; no thread has been started here that could reuse it.
        if let Some(block) = unsafe { block.as_ref() } {
            self.total.store(self.carry.load().plus(block.counts()));
            self.block.store(ptr::null_mut(), Relaxed);
        }
    }

    /// In the child of a fork: a reader that was preempted by it does not exist here.
    pub(super) fn forget_readers(&self) {
        self.readers.store(0, Relaxed);
    }
}
