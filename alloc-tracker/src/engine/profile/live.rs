//! The samples that are in use, by address.

use super::super::block_table::{Table, Words};
use super::super::published::PLACED_ALIGN;
use super::place::Place;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// The live samples.
static LIVE: Table = Table::new();
static LIVE_NUMBER: AtomicUsize = AtomicUsize::new(0);
static LIVE_LIMIT: AtomicUsize = AtomicUsize::new(0);

/// A sample that is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// The number of its [`stacks::Site`].
    pub(crate) site: u32,
    pub(crate) thread: u32,
    pub(crate) size: u64,
    /// The mean under which it was drawn.
    pub(crate) mean: u64,
    pub(super) place: Place,
}

impl Held {
    const SIZE_BITS: u32 = 48;
    /// A mean is at most 2^40.
    const MEAN_BITS: u32 = 41;

    fn of([who, what, mean]: Words) -> Self {
        Held {
            site: who as u32,
            thread: (who >> 32) as u32,
            size: what & ((1 << Self::SIZE_BITS) - 1),
            mean: mean & ((1 << Self::MEAN_BITS) - 1),
            place: Place::of_code((
                (what >> Self::SIZE_BITS) as u16,
                (mean >> Self::MEAN_BITS) as u32,
            )),
        }
    }

    fn words(self) -> Words {
        let (place, number) = self.place.code();
        let (place, number) = (u64::from(place), u64::from(number));
        [
            u64::from(self.thread) << 32 | u64::from(self.site),
            place << Self::SIZE_BITS | self.size,
            number << Self::MEAN_BITS | self.mean,
        ]
    }
}

/// Calls `each` with every live sample.
pub(crate) fn for_each_live(mut each: impl FnMut(Held)) {
    LIVE.for_each(|_, words| each(Held::of(words)));
}

/// What the table has of a block, which it then has no more.
#[inline]
pub(super) fn take(block: *mut u8) -> Option<Held> {
    if block.addr().is_multiple_of(PLACED_ALIGN) {
        LIVE.remove(block.addr()).map(Held::of)
    } else {
        None
    }
}

/// For a block that cannot be freed without what the table has of it.
pub(super) fn put(block: *mut u8, held: Held) {
    if !insert(block, held) {
        // Sixteen neighbours in each of a dozen chunks are taken, or no memory is left even for the
        // table. To go on would be to free memory at a wrong address later.
        std::process::abort();
    }
}

pub(super) fn put_back(held: Option<Held>, block: *mut u8) {
    if let Some(held) = held {
        put(block, held);
    }
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
    LIVE_LIMIT.store(limit, Relaxed);
}

/// False: there is no memory for it.
pub(super) fn insert(block: *mut u8, held: Held) -> bool {
    LIVE.insert(block.addr(), held.words())
}
