//! The atomics of what threads hand to each other. The models in `telemetry/loom` have loom's
//! instead, and smaller rings.

pub(crate) use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Words in a ring of ended units, a power of two: 32 KiB, some 400 units.
pub(crate) const RING_WORDS: usize = 4096;
