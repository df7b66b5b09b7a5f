//! What `engine/sync.rs` is in the product, with loom's atomics.

pub(super) use loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

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
