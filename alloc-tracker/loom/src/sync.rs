//! What `engine/sync.rs` is in the product, with loom's atomics.

pub(super) use loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

/// A read that loom refuses where another thread may store meanwhile.
pub(super) unsafe fn load_own(word: &AtomicU64) -> u64 {
    // SAFETY: as the caller says, which loom checks.
    unsafe { word.unsync_load() }
}

pub(super) fn pause(_tries: u32) {
    loom::thread::yield_now();
}

pub(super) mod table {
    pub(in super::super) const FIRST: usize = 2;
    pub(in super::super) const CHUNKS: usize = 2;
    pub(in super::super) const WINDOW: usize = 2;
    pub(in super::super) const ZEROED_IS_NEW: bool = false;
}

macro_rules! array {
    ($value:expr; $n:expr) => {
        std::array::from_fn(|_| $value)
    };
}
pub(super) use array;

macro_rules! constructor {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        $(#[$meta])* $vis fn $($rest)*
    };
}
pub(super) use constructor;
