//! A table of blocks of memory by their address, which the allocator's hooks use without a lock.
//!
//! Open addressing within a window of places, in a chain of chunks of growing size. A place is
//! only ever claimed by a compare-and-swap and given up by a store; an address is inserted,
//! changed and removed only by the thread that owns the block of memory there, so two threads
//! never work on the same address at the same time.

use super::sync::table::{CHUNKS, FIRST, WINDOW, ZEROED_IS_NEW};
use super::sync::{
    AcqRel, Acquire, AtomicPtr, AtomicU64, AtomicUsize, Relaxed, Release, array, constructor, fence,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// What is known of a block.
pub(super) type Words = [u64; 3];

struct Place {
    /// [`FREE`], [`CLAIMED`] by a thread that is about to fill it, or an address.
    address: AtomicUsize,
    words: [AtomicU64; 3],
}

const FREE: usize = 0;
const CLAIMED: usize = 1;

/// Without memory from the system it refuses; it never gives memory back.
pub(super) struct Table {
    chunks: [AtomicPtr<Place>; CHUNKS],
}

impl Table {
    constructor! {
        pub(super) fn new() -> Self {
            Table { chunks: array![AtomicPtr::new(ptr::null_mut()); CHUNKS] }
        }
    }

    /// Remembers `words` at `address`, where nothing is. False: no memory.
    pub(super) fn insert(&self, address: usize, words: Words) -> bool {
        for chunk in 0..CHUNKS {
            let Some(places) = self.chunk(chunk).or_else(|| self.grow(chunk)) else {
                return false;
            };
            for place in window(places, address) {
                // Acquire what the last holder of the place did to it.
                let claim = place
                    .address
                    .compare_exchange(FREE, CLAIMED, Acquire, Relaxed);
                if claim.is_ok() {
                    // Release the claim to who sees one of the words: see `read`.
                    fence(Release);
                    for (place, word) in place.words.iter().zip(words) {
                        place.store(word, Relaxed);
                    }
                    // Release the words to whoever removes them, on whatever thread.
                    place.address.store(address, Release);
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn remove(&self, address: usize) -> Option<Words> {
        let mut chunks = (0..CHUNKS).map_while(|chunk| self.chunk(chunk));
        let mut places = chunks.by_ref().flat_map(|places| window(places, address));
        let place = places.find(|place| place.address.load(Acquire) == address)?;
        let words = place.words();
        // Release the place, read to the end, to the next holder.
        place.address.store(FREE, Release);
        Some(words)
    }

    /// Calls `each` with the blocks that are there all the time, and with some of those that come
    /// or go meanwhile. Any thread may, without stopping those who work on the table.
    #[cfg(feature = "profile")]
    pub(super) fn for_each(&self, mut each: impl FnMut(usize, Words)) {
        for chunk in (0..CHUNKS).map_while(|chunk| self.chunk(chunk)) {
            for place in chunk {
                if let Some((address, words)) = place.read() {
                    each(address, words);
                }
            }
        }
    }

    /// Bytes that the chunks take; as far as they were never used, of address space only.
    #[cfg(feature = "profile")]
    pub(super) fn bytes(&self) -> usize {
        let chunks = (0..CHUNKS).map_while(|chunk| self.chunk(chunk));
        chunks.map(size_of_val).sum()
    }

    fn chunk(&self, chunk: usize) -> Option<&[Place]> {
        // Acquire the places, which `grow` released.
        let places = self.chunks[chunk].load(Acquire);
        // SAFETY: a chunk that is there has `size(chunk)` initialised places, and is never freed.
        (!places.is_null()).then(|| unsafe { std::slice::from_raw_parts(places, size(chunk)) })
    }

    #[cold]
    fn grow(&self, chunk: usize) -> Option<&[Place]> {
        let layout = Layout::array::<Place>(size(chunk)).ok()?;
        // SAFETY: the size is not zero.
        let fresh = unsafe { System.alloc_zeroed(layout) }.cast::<Place>();
        if fresh.is_null() {
            return None;
        }
        // All zero is a free place. PERF: a large chunk is then not touched before it is used.
        if !ZEROED_IS_NEW {
            for index in 0..size(chunk) {
                // SAFETY: inside the fresh memory, which nobody else knows.
                unsafe { fresh.add(index).write(Place::new()) };
            }
        }
        // Release the places; or another thread was faster, and its chunk is taken.
        let won = self.chunks[chunk].compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire);
        if won.is_err() {
            // SAFETY: allocated above with this layout, and never shared. A place needs no drop.
            unsafe { System.dealloc(fresh.cast(), layout) };
        }
        self.chunk(chunk)
    }
}

fn size(chunk: usize) -> usize {
    FIRST << (2 * chunk)
}

fn window(places: &[Place], address: usize) -> impl Iterator<Item = &Place> {
    // The low bits of an address are its alignment: a multiplication moves the others up.
    let home = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    (0..WINDOW).map(move |step| &places[(home as usize % places.len() + step) % places.len()])
}

impl Place {
    constructor! {
        fn new() -> Self {
            Place {
                address: AtomicUsize::new(FREE),
                words: array![AtomicU64::new(0); 3],
            }
        }
    }

    fn words(&self) -> Words {
        let [first, second, third] = &self.words;
        [
            first.load(Relaxed),
            second.load(Relaxed),
            third.load(Relaxed),
        ]
    }

    /// What is here, on a thread that does not own the block.
    ///
    /// The block may go, and another come, while the words are read. Who sees a word of the other's
    /// sees its claim, too, at the second look at the address, unless that block has the same
    /// address; then it sees all its words at the second look at those.
    #[cfg(feature = "profile")]
    fn read(&self) -> Option<(usize, Words)> {
        let mut address = self.address.load(Acquire);
        let mut words = self.words();
        loop {
            if address == FREE || address == CLAIMED {
                return None;
            }
            fence(Acquire);
            let (address_now, words_now) = (self.address.load(Acquire), self.words());
            if (address, words) == (address_now, words_now) {
                return Some((address, words));
            }
            (address, words) = (address_now, words_now);
        }
    }
}
