//! The samples that are in use, by address.

use super::place::Place;
use crate::engine::block_table::{Table, Words};
use crate::engine::counter::published::may_be_placed;
use std::sync::atomic::{
    AtomicU16, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// The live samples.
static LIVE: Table = Table::new();
/// How many live samples begin in pages whose numbers have the same hash.
///
/// PERF: the memory of a sample that is freed goes to the next who asks for as much, so a loop may free a
/// block that begins at a page at each turn. One load tells that it is no sample.
static BEGUN: [AtomicU16; 1 << 15] = [const { AtomicU16::new(0) }; 1 << 15];
static LIVE_NUMBER: AtomicUsize = AtomicUsize::new(0);
static LIVE_LIMIT: AtomicUsize = AtomicUsize::new(0);
static FREED_ELSEWHERE: AtomicU64 = AtomicU64::new(0);

/// A sample that is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveSample {
    /// The number of its [`stacks::Site`].
    pub(crate) site: u32,
    pub(crate) thread: u32,
    /// The size with which it was drawn.
    pub(crate) size: u64,
    /// The mean under which it was drawn.
    pub(crate) mean: u64,
    pub(super) place: Place,
    /// What its size ends in now, unless it lies in a slot.
    ends_in: u32,
}

impl LiveSample {
    const SIZE_BITS: u32 = 48;
    /// A mean is at most 2^40.
    const MEAN_BITS: u32 = 41;
    /// The rest of the word.
    const END_BITS: u32 = 64 - Self::MEAN_BITS;

    pub(super) fn new(site: u32, thread: u32, size: u64, mean: u64, place: Place) -> Self {
        let sample = LiveSample {
            site,
            thread,
            size,
            mean,
            place,
            ends_in: 0,
        };
        sample.resized(size, place)
    }

    /// It is the same sample, but has another size and place now.
    pub(super) fn resized(self, size: u64, place: Place) -> Self {
        LiveSample {
            place,
            ends_in: (size & ((1 << Self::END_BITS) - 1)) as u32,
            ..self
        }
    }

    fn of([who, what, mean]: Words) -> Self {
        let last = (mean >> Self::MEAN_BITS) as u32;
        LiveSample {
            site: who as u32,
            thread: (who >> 32) as u32,
            size: what & ((1 << Self::SIZE_BITS) - 1),
            mean: mean & ((1 << Self::MEAN_BITS) - 1),
            place: Place::of_code((what >> Self::SIZE_BITS) as u16, last),
            ends_in: last,
        }
    }

    fn words(self) -> Words {
        let last = match self.place {
            Place::Slot(number) => number,
            _ => self.ends_in,
        };
        [
            u64::from(self.thread) << 32 | u64::from(self.site),
            u64::from(self.place.code()) << Self::SIZE_BITS | self.size,
            u64::from(last) << Self::MEAN_BITS | self.mean,
        ]
    }

    /// Whether it may be the block of this size that is freed.
    fn may_be(&self, size: usize) -> bool {
        let same = self.resized(size as u64, self.place).ends_in == self.ends_in;
        same || matches!(self.place, Place::Slot(_))
    }
}

/// Calls `each` with every live sample.
pub(crate) fn for_each_live(mut each: impl FnMut(LiveSample)) {
    LIVE.for_each(|_, words| each(LiveSample::of(words)));
}

/// What the table has of a block of this size, which it then has no more.
#[inline]
pub(super) fn take(block: *mut u8, size: usize) -> Option<LiveSample> {
    // Relaxed: whoever frees a block knows of it by who allocated it, and so of what that thread did.
    if !may_be_placed(block.addr()) || begun(block).load(Relaxed) == 0 {
        return None;
    }
    let sample = LiveSample::of(LIVE.remove(block.addr())?);
    begun(block).fetch_sub(1, Relaxed);
    if !sample.may_be(size) {
        forget_stale();
        return None;
    }
    Some(sample)
}

/// What the table had of an address was a block that somebody else has freed, as C code can: it is another
/// block's now.
#[cold]
fn forget_stale() {
    release();
    FREED_ELSEWHERE.fetch_add(1, Relaxed);
}

/// What the table has of this address is gone: it is another block's.
#[cold]
pub(super) fn forget(block: *mut u8) {
    // Relaxed: as in `take`.
    if begun(block).load(Relaxed) > 0 && LIVE.remove(block.addr()).is_some() {
        begun(block).fetch_sub(1, Relaxed);
        forget_stale();
    }
}

/// Samples that were freed by somebody else, as was found when their memory was used again.
pub(super) fn freed_elsewhere() -> u64 {
    FREED_ELSEWHERE.load(Relaxed)
}

/// Notes a sample that was resized. False: there is no room, and it is no sample any more.
pub(super) fn put(block: *mut u8, sample: LiveSample) -> bool {
    if insert(block, sample) {
        return true;
    }
    if sample.place != Place::Natural {
        // It cannot be freed without what the table has of it. Sixteen neighbours in each of a dozen chunks are taken, or no memory is left even for the
        // table. To go on would be to free memory at a wrong address later.
        std::process::abort();
    }
    release();
    false
}

/// Whether one more sample may be live.
pub(super) fn reserve() -> bool {
    let limit = LIVE_LIMIT.load(Relaxed);
    // SeqCst costs nothing beyond the locked instruction, and samples are rare.
    let fits = LIVE_NUMBER.fetch_add(1, SeqCst) < limit;
    if !fits {
        release();
    }
    fits
}

pub(super) fn release() {
    LIVE_NUMBER.fetch_sub(1, SeqCst);
}

/// How many there are, and the bytes of their table.
pub(super) fn extent() -> (u64, u64) {
    (LIVE_NUMBER.load(Relaxed) as u64, LIVE.bytes() as u64)
}

pub(super) fn set_limit(limit: usize) {
    /// Far below what an element of [`BEGUN`] can count on the average.
    const MOST: usize = 1 << 24;
    LIVE_LIMIT.store(limit.min(MOST), Relaxed);
}

/// False: there is no memory for it.
pub(super) fn insert(block: *mut u8, sample: LiveSample) -> bool {
    forget(block);
    let inserted = LIVE.insert(block.addr(), sample.words());
    if inserted {
        begun(block).fetch_add(1, Relaxed);
    }
    inserted
}

#[inline]
fn begun(block: *mut u8) -> &'static AtomicU16 {
    let hash = (block.addr() as u64 >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    &BEGUN[(hash >> 49) as usize]
}
