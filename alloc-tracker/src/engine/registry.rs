//! The slots through which other threads read a thread's counters, and the process's totals.
//!
//! Slots lie in chunks of 64 that are never freed; the first chunk is static, so a program of up
//! to 64 threads allocates none. A thread claims a slot at its first allocator call and gives it
//! back when it ends; memory grows with the most threads alive at once, not with all there were.
//!
//! What a slot stands for is one number per figure, read without a lock:
//!
//! ```text
//!   nobody here:   total
//!   thread here:   carry + its block        (carry = total at the moment it came)
//! ```
//!
//! The switch from one to the other is a single store of the block's address, before which both
//! sides have the same value. So a reader counts every operation once, whatever happens.

use super::block::Published;
use super::counts::{Counts, SharedCounts};
use crate::Usage;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{
    AtomicI64, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
};

/// Where one thread at a time publishes its counters.
#[derive(Debug)]
pub(super) struct Slot {
    block: AtomicPtr<Published>,
    /// Readers that may be looking at `block` now.
    readers: AtomicU32,
    carry: SharedCounts,
    total: SharedCounts,
}

impl Slot {
    const fn new() -> Self {
        Slot {
            block: AtomicPtr::new(ptr::null_mut()),
            readers: AtomicU32::new(0),
            carry: SharedCounts::new(),
            total: SharedCounts::new(),
        }
    }

    /// From here on readers see `block`, of which `drained` is in the totals already.
    pub(super) fn publish(&self, block: &Published, drained: Counts) {
        self.carry.store(self.total.load().minus(drained));
        // SeqCst releases `carry` to the reader that sees the address, and is one side of the
        // handshake in `retract`.
        self.block.store(ptr::from_ref(block).cast_mut(), SeqCst);
    }

    /// From here on readers see `total`. Returns when nobody looks at the block any more, and
    /// gives the slot back.
    pub(super) fn retract(&'static self, counts: Counts) {
        self.total.store(self.carry.load().plus(counts));
        // Handshake: we store `block` and then load `readers`, a reader adds to `readers` and
        // then loads `block`. SeqCst orders the four, so either it sees null or we see it.
        self.block.store(ptr::null_mut(), SeqCst);
        let mut tries = 0u32;
        while self.readers.load(SeqCst) != 0 {
            // A reader holds on for a few dozen instructions, more only if it is preempted.
            tries += 1;
            if tries < 64 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        self.give_back();
    }

    pub(super) fn give_back(&'static self) {
        for chunk in chunks() {
            if let Some(index) = chunk.index_of(self) {
                // Release `total` to the thread that claims the slot next.
                chunk.used.fetch_and(!(1 << index), AcqRel);
                return;
            }
        }
    }

    fn read(&self) -> Counts {
        self.readers.fetch_add(1, SeqCst);
        let block = self.block.load(SeqCst);
        let counts = if block.is_null() {
            self.total.load()
        } else {
            // SAFETY: a published address is that of a live thread's counters, and that thread
            // does not end before it has set `block` to null and then seen `readers` at 0 (see
            // `retract`; for the one thread that could, see `thread_exit::register`). All fields
            // are atomics, so sharing them is sound.
            self.carry.load().plus(unsafe { &*block }.counts())
        };
        self.readers.fetch_sub(1, SeqCst);
        counts
    }
}

struct Chunk {
    /// One bit for each slot that a thread holds.
    used: AtomicU64,
    slots: [Slot; 64],
    next: AtomicPtr<Chunk>,
}

static FIRST: Chunk = Chunk::new();

/// What is counted where no thread's block can: by threads that are ending, and on behalf of
/// nobody. Many writers, rare writes.
static OVERFLOW: SharedCounts = SharedCounts::new();

impl Chunk {
    const fn new() -> Self {
        Chunk {
            used: AtomicU64::new(0),
            slots: [const { Slot::new() }; 64],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn index_of(&self, slot: &Slot) -> Option<usize> {
        self.slots.iter().position(|s| ptr::eq(s, slot))
    }

    fn next(&self) -> Option<&'static Chunk> {
        // SAFETY: `next` is null or a chunk that `append` initialised, released by its
        // compare-exchange (acquired here), and never freed.
        unsafe { self.next.load(Acquire).as_ref() }
    }

    /// The chunk after this one, which is the last; a new one unless another thread was faster.
    fn append(&self) -> Option<&'static Chunk> {
        let layout = Layout::new::<Chunk>();
        // SAFETY: the size of a chunk is not zero.
        let fresh = unsafe { System.alloc(layout) }.cast::<Chunk>();
        if fresh.is_null() {
            return None;
        }
        // SAFETY: freshly allocated for a `Chunk`, and nobody else knows the address.
        unsafe { fresh.write(Chunk::new()) };
        // AcqRel: releases the new chunk, or acquires the one that won.
        if let Err(winner) = self
            .next
            .compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire)
        {
            // SAFETY: allocated above with this layout and never shared.
            unsafe { System.dealloc(fresh.cast(), layout) };
            // SAFETY: not null, hence an initialised chunk that is never freed.
            return unsafe { winner.as_ref() };
        }
        // SAFETY: initialised above, and never freed now that it is linked.
        unsafe { fresh.as_ref() }
    }
}

fn chunks() -> impl Iterator<Item = &'static Chunk> {
    std::iter::successors(Some(&FIRST), |chunk| chunk.next())
}

/// A free slot, now the caller's. `None` only where the system has no memory for a chunk.
pub(super) fn claim() -> Option<&'static Slot> {
    let mut chunk = &FIRST;
    loop {
        let mut used = chunk.used.load(Relaxed);
        while used != u64::MAX {
            let index = used.trailing_ones();
            // Acquire `total` from the thread that held the slot before.
            match chunk
                .used
                .compare_exchange_weak(used, used | 1 << index, Acquire, Relaxed)
            {
                Ok(_) => return Some(&chunk.slots[index as usize]),
                Err(now) => used = now,
            }
        }
        chunk = match chunk.next() {
            Some(next) => next,
            None => chunk.append()?,
        };
    }
}

/// Books counts that belong to no running thread.
pub(super) fn overflow(counts: Counts) {
    OVERFLOW.add(counts);
}

pub(crate) fn process_usage() -> Usage {
    static HIGHEST_SEEN: AtomicI64 = AtomicI64::new(0);
    if !super::is_installed() {
        return Usage::untracked();
    }
    let all = || {
        let slots = chunks().flat_map(|chunk| &chunk.slots);
        slots.fold(OVERFLOW.load(), |sum, slot| sum.plus(slot.read()))
    };
    // Allocations first, frees after that: a block that is handed from thread to thread meanwhile
    // may be missed, but never counted as live twice.
    let (allocated, freed) = (all(), all());
    let counts = Counts {
        frees: freed.frees,
        freed_bytes: freed.freed_bytes,
        ..allocated
    };
    let live = counts.live();
    let peak = HIGHEST_SEEN.fetch_max(live, Relaxed).max(live);
    counts.usage(peak)
}

/// In the child of a fork only the forking thread lives on, and holds `own`. Books what the
/// others had counted and frees their slots, before their memory is reused for new threads.
pub(super) fn forget_other_threads(own: Option<&'static Slot>) {
    for chunk in chunks() {
        for (index, slot) in chunk.slots.iter().enumerate() {
            // A reader that was preempted by the fork does not exist here.
            slot.readers.store(0, Relaxed);
            if own.is_some_and(|own| ptr::eq(own, slot)) {
                continue;
            }
            let block = slot.block.load(Relaxed);
            if !block.is_null() {
                // SAFETY: the child has a copy of the parent's memory, in it the blocks of the
                // threads that were running; no thread has been started here that could reuse it.
                let counts = unsafe { &*block }.counts();
                slot.total.store(slot.carry.load().plus(counts));
                slot.block.store(ptr::null_mut(), Relaxed);
            }
            chunk.used.fetch_and(!(1 << index), Relaxed);
        }
    }
}
