//! The part of a thread's block that other threads touch.

use super::counts::Counts;
use super::sync::{AtomicU8, AtomicU64, Relaxed, SeqCst, constructor, own};

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

    /// Any thread may say so; SeqCst for the handshakes of [`super::watch`].
    pub(super) fn raise(&self, bit: u8) {
        self.alert.fetch_or(bit, SeqCst);
    }

    pub(super) fn clear(&self, bit: u8) {
        self.alert.fetch_and(!bit, SeqCst);
    }
}
