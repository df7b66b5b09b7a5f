//! The slots through which other threads read a thread's counters, and the process's totals.
//!
//! Slots lie in chunks of 64 that are never freed; the first chunk is static, so a program of up
//! to 64 threads allocates none. A thread claims a slot at its first allocator call and gives it
//! back when it ends; memory grows with the most threads alive at once, not with all there were.

use super::counts::{Counts, SharedCounts};
use super::published::Published;
use super::slot::{OutsideOfThread, Slot};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

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

/// What was counted for units by threads that no block stands for any more.
static OVERFLOW_INSIDE: SharedCounts = SharedCounts::new();

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

fn slots() -> impl Iterator<Item = &'static Slot> {
    chunks().flat_map(|chunk| &chunk.slots)
}

/// A free slot, now the caller's. `None` only where the system has no memory for a chunk.
pub(crate) fn claim() -> Option<&'static Slot> {
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

/// The slot is for another thread to claim.
pub(crate) fn give_back(slot: &'static Slot) {
    for chunk in chunks() {
        if let Some(index) = chunk.index_of(slot) {
            // Release `total` to the thread that claims the slot next.
            chunk.used.fetch_and(!(1 << index), AcqRel);
            return;
        }
    }
}

/// Calls `f` with the block of every thread that has published one.
pub(crate) fn for_each_block(f: impl Fn(&Published)) {
    for slot in slots() {
        slot.with_block(&f);
    }
}

/// A number for a thread, never given twice.
pub(crate) fn next_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

/// Books counts that belong to no running thread.
pub(crate) fn overflow(counts: Counts) {
    OVERFLOW.add(counts);
}

/// What all threads have counted for the program, those that ended, too.
pub(crate) fn totals() -> Counts {
    slots().fold(OVERFLOW.load(), |sum, slot| sum.plus(slot.read()))
}

/// Books what a thread that is ending, or has ended, counted for units.
pub(crate) fn overflow_inside(counts: Counts) {
    OVERFLOW_INSIDE.add(counts);
}

/// What all threads have counted while they worked for units.
pub(crate) fn totals_inside() -> Counts {
    slots().fold(OVERFLOW_INSIDE.load(), |sum, slot| {
        sum.plus(slot.read_inside())
    })
}

/// What each thread has counted that is there now while it worked for no unit.
pub(crate) fn outside_of_threads() -> impl Iterator<Item = OutsideOfThread> {
    slots().filter_map(Slot::read_outside)
}

/// What tools have counted in the slots.
pub(crate) fn tools_totals() -> Counts {
    slots().fold(Counts::ZERO, |sum, slot| sum.plus(slot.read_tools()))
}

/// In the child of a fork only the forking thread lives on, and holds `own`. Books what the
/// others had counted and frees their slots, before their memory is reused for new threads.
pub(crate) fn forget_other_threads(own: Option<&'static Slot>) {
    for chunk in chunks() {
        for (index, slot) in chunk.slots.iter().enumerate() {
            if own.is_some_and(|own| ptr::eq(own, slot)) {
                slot.forget_readers();
                continue;
            }
            OVERFLOW_INSIDE.add(slot.read_inside());
            slot.abandon();
            chunk.used.fetch_and(!(1 << index), Relaxed);
        }
    }
}
