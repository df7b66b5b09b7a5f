//! The part of a thread's block that other threads touch.

use super::counts::Counts;
use super::sync::{
    AcqRel, Acquire, AtomicU8, AtomicU64, AtomicUsize, Relaxed, SeqCst, constructor, fence, own,
};

/// A word that one thread writes and others may read.
///
/// PERF: the owner's reads are plain and its stores relaxed, so they compile to operands of the
/// instructions around them, and `add` to one `add` to memory. A `fetch_add` would be a locked
/// instruction, some 5 ns each.
#[derive(Debug)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    constructor! {
        pub(super) fn new(value: u64) -> Self {
            Counter(AtomicU64::new(value))
        }
    }

    #[inline(always)]
    pub(super) fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// # Safety
    ///
    /// The caller is on the thread that owns the counter.
    #[inline(always)]
    pub(super) unsafe fn own(&self) -> u64 {
        // SAFETY: the caller's contract: nobody else writes.
        unsafe { own(&self.0) }
    }

    #[inline(always)]
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline(always)]
    pub(super) fn add(&self, n: u64) {
        self.set(self.load().wrapping_add(n));
    }
}

/// The sums of a thread, which it alone writes, and a word by which others may ask it to look
/// up: see [`super::block`].
#[derive(Debug)]
#[repr(C)]
pub(super) struct Published {
    pub(super) allocs: Counter,
    pub(super) alloc_bytes: Counter,
    pub(super) frees: Counter,
    pub(super) freed_bytes: Counter,
    pub(super) reallocs: Counter,
    /// Not 0: every call looks up. Bits, so that the owner and others each change their own.
    alert: AtomicU8,
}

/// The thread is not, or not any more, read by others.
pub(super) const UNPUBLISHED: u8 = 1;
/// This thread wants to see each of its own calls.
pub(super) const OWN: u8 = 2;
/// The process wants to see each call of every thread: see [`super::watch`].
pub(super) const PROCESS: u8 = 4;

impl Published {
    constructor! {
        pub(super) fn new() -> Self {
            Published {
                allocs: Counter::new(0),
                alloc_bytes: Counter::new(0),
                frees: Counter::new(0),
                freed_bytes: Counter::new(0),
                reallocs: Counter::new(0),
                alert: AtomicU8::new(UNPUBLISHED),
            }
        }
    }

    /// On the owning thread exact, on others a few operations old.
    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        Counts {
            allocs: self.allocs.load(),
            reallocs: self.reallocs.load(),
            frees: self.frees.load(),
            alloc_bytes: self.alloc_bytes.load(),
            freed_bytes: self.freed_bytes.load(),
        }
    }

    #[inline(always)]
    pub(super) fn alerts(&self) -> u8 {
        self.alert.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn is_alert(&self) -> bool {
        self.alerts() != 0
    }

    /// Any thread may say so, and it stays said until the owner clears it.
    pub(super) fn raise(&self, bit: u8) {
        self.alert.fetch_or(bit, AcqRel);
    }

    /// The owner's alone.
    pub(super) fn clear(&self, bit: u8) {
        self.alert.fetch_and(!bit, AcqRel);
    }
}

/// How many want to see each call of every thread.
///
/// Who starts to watch adds to the number and then raises the alert of every published block. A
/// block that is published later is raised by its owner, which looks at the number. Nobody lowers
/// another's alert: an owner that finds no watcher left lowers its own.
#[derive(Debug)]
pub(super) struct Watchers {
    number: AtomicUsize,
}

impl Watchers {
    constructor! {
        pub(super) fn new() -> Self {
            Watchers { number: AtomicUsize::new(0) }
        }
    }

    /// One more. The caller now raises every published block.
    pub(super) fn add(&self) {
        self.number.fetch_add(1, AcqRel);
        // Handshakes. With `join`: we add and then look for the block, the owner publishes it and
        // then looks at the number. With `stand_down`: we add and then raise, the owner lowers
        // and then looks at the number. Each has a fence between the two, so one sees the other.
        fence(SeqCst);
    }

    pub(super) fn remove(&self) {
        self.number.fetch_sub(1, AcqRel);
    }

    /// The owner has published its block.
    pub(super) fn join(&self, block: &Published) {
        fence(SeqCst);
        if self.number.load(Acquire) > 0 {
            block.raise(PROCESS);
        }
    }

    /// The owner has seen a call of its own: no more, if nobody watches any more.
    #[inline]
    pub(super) fn stand_down(&self, block: &Published) {
        if block.alerts() & PROCESS != 0 && self.number.load(Acquire) == 0 {
            block.clear(PROCESS);
            self.join(block);
        }
    }
}
