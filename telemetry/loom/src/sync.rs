//! What `sync.rs` is in the product, with loom's atomics and a ring that is soon full.

pub(crate) use loom::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

pub(crate) const RING_WORDS: usize = 4;
