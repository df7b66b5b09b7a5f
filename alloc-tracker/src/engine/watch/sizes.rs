//! How often each size of block is asked for, while somebody wants to know.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// Size classes: four to each doubling, as in most allocators.
pub(crate) const CLASSES: usize = 4 * (usize::BITS as usize - 2);

/// Sums are kept apart for threads, so that they seldom meet on a cache line.
const SHARDS: usize = 16;

static SHARD: [Shard; SHARDS] = [const { Shard::new() }; SHARDS];
static RECORDERS: AtomicUsize = AtomicUsize::new(0);

#[repr(align(128))]
struct Shard {
    /// Calls and bytes of each class.
    classes: [[AtomicU64; 2]; CLASSES],
}

impl Shard {
    const fn new() -> Self {
        Shard {
            classes: [const { [const { AtomicU64::new(0) }; 2] }; CLASSES],
        }
    }
}

/// While one exists, sizes are recorded.
#[derive(Debug)]
pub(crate) struct SizeRecorder {
    before: Classes,
}

/// Calls and bytes of each class. By value: a box would be recorded, too.
pub(crate) type Classes = [[u64; 2]; CLASSES];

impl SizeRecorder {
    pub(crate) fn start() -> Self {
        // Before the sums are read: what a recorder before this one missed is not ours.
        RECORDERS.fetch_add(1, SeqCst);
        let before = sums();
        super::start();
        SizeRecorder { before }
    }

    /// Calls and bytes of each class since the start.
    pub(crate) fn so_far(&self) -> Classes {
        let mut sums = sums();
        for (now, before) in sums.iter_mut().zip(&self.before) {
            *now = [now[0] - before[0], now[1] - before[1]];
        }
        sums
    }
}

impl Drop for SizeRecorder {
    fn drop(&mut self) {
        super::stop();
        RECORDERS.fetch_sub(1, SeqCst);
    }
}

fn sums() -> Classes {
    std::array::from_fn(|class| {
        [0, 1].map(|figure| {
            let of = |shard: &Shard| shard.classes[class][figure].load(Relaxed);
            SHARD.iter().map(of).fold(0, u64::wrapping_add)
        })
    })
}

/// A block of `size` bytes was asked for, by the thread with this number.
pub(crate) fn record(size: usize, thread: u64) {
    if RECORDERS.load(Relaxed) == 0 {
        return;
    }
    let shard = &SHARD[thread as usize % SHARDS];
    let [calls, bytes] = &shard.classes[class(size)];
    calls.fetch_add(1, Relaxed);
    bytes.fetch_add(size as u64, Relaxed);
}

/// The class that a size belongs to: up to 4 bytes one each, then four to each doubling.
pub(crate) fn class(size: usize) -> usize {
    let last = size.saturating_sub(1);
    if last < 4 {
        return last;
    }
    let doubling = last.ilog2() as usize;
    4 * (doubling - 1) + (last >> (doubling - 2)) % 4
}

/// The largest size of a class.
pub(crate) fn class_end(class: usize) -> usize {
    if class < 4 {
        return class + 1;
    }
    let doubling = class / 4 + 1;
    (5 + class % 4) << (doubling - 2)
}
