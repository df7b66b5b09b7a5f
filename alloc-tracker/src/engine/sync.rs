//! The atomics of the modules that hand memory from thread to thread.
//!
//! `alloc-tracker/loom` compiles those modules a second time, with loom's atomics in this one's
//! place: they name no others.

pub(super) use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

/// What the calling thread has stored, and nobody else stores.
///
/// PERF: a plain read, which the compiler makes a part of the instruction that needs it. It leaves an atomic one an
/// instruction of its own.
///
/// # Safety
///
/// No other thread stores while this one reads.
#[inline(always)]
pub(super) unsafe fn load_own(word: &AtomicU64) -> u64 {
    // SAFETY: nobody stores meanwhile, says the caller, so there is nothing that this read could race with.
    unsafe { *word.as_ptr() }
}

/// Between two looks at a word that another thread is about to change.
pub(super) fn pause(tries: u32) {
    if tries < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// Sizes of the table of followed blocks, which loom makes small.
pub(super) mod table {
    /// Places in the first chunk; each further one has four times as many.
    pub(in super::super) const FIRST: usize = 1 << 12;
    pub(in super::super) const CHUNKS: usize = 12;
    /// Places in which an address may be, from its home on.
    pub(in super::super) const WINDOW: usize = 16;
    /// Memory of all zeros holds new atomics of the value 0.
    pub(in super::super) const ZEROED_IS_NEW: bool = true;
}

/// An array of as many new values, which is not `const` with loom's atomics.
macro_rules! array {
    ($value:expr; $n:expr) => {
        [const { $value }; $n]
    };
}
pub(super) use array;

/// Makes constructors `const`, which those of loom's atomics are not.
macro_rules! constructor {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        $(#[$meta])* $vis const fn $($rest)*
    };
}
pub(super) use constructor;
