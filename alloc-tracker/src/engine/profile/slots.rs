//! Places for small samples, a multiple of [`SLOT`] each: cut from large blocks of the inner allocator,
//! taken and given back without a lock, and kept.
//!
//! PERF: for one over-aligned block each the inner allocator splits a larger one, which it merges again
//! when it is freed.

use crate::engine::counter::published::PLACED_ALIGN;
use crate::engine::free_stack::FreeStack;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// Bytes of a slot.
pub(super) const SLOT: usize = 2 * PLACED_ALIGN;
/// Slots in a chunk.
const SLOTS: usize = 32;
/// At most two million slots.
const CHUNKS: usize = 1 << 16;

static CHUNK: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
static FREE: FreeStack = FreeStack::new();
/// Chunks below this are there.
static FROM: AtomicU32 = AtomicU32::new(0);

struct Chunk {
    memory: *mut u8,
    links: [AtomicU32; SLOTS],
}

/// A slot's number and memory, for whoever asks to keep; `None`: there is no memory.
pub(super) fn take<A: GlobalAlloc>(inner: &A) -> Option<(u32, *mut u8)> {
    let number = FREE.pop(link).or_else(|| grow(inner))?;
    let memory = chunk(number as usize / SLOTS)?.memory;
    // SAFETY: a chunk has memory for this many slots.
    Some((number, unsafe {
        memory.add(number as usize % SLOTS * SLOT)
    }))
}

/// Bytes of all chunks.
pub(super) fn bytes() -> usize {
    let there = CHUNK
        .iter()
        .take_while(|chunk| !chunk.load(Relaxed).is_null());
    there.count() * SLOTS * SLOT
}

/// The slot's memory is not used any more.
pub(super) fn give_back(number: u32) {
    if let Some(link) = link(number) {
        FREE.push(number, link);
    }
}

fn chunk(index: usize) -> Option<&'static Chunk> {
    // SAFETY: null, or a chunk that `grow` initialised and released, and that is never freed.
    unsafe { CHUNK.get(index)?.load(Acquire).as_ref() }
}

fn link(number: u32) -> Option<&'static AtomicU32> {
    Some(&chunk(number as usize / SLOTS)?.links[number as usize % SLOTS])
}

/// Adds a chunk, keeps one of its slots for the caller and frees the others. Two threads may add one
/// each at the same time; both are used.
#[cold]
fn grow<A: GlobalAlloc>(inner: &A) -> Option<u32> {
    let of_memory = Layout::from_size_align(SLOTS * SLOT, SLOT).ok()?;
    // SAFETY: neither size is zero.
    let (memory, fresh) = unsafe {
        (
            inner.alloc(of_memory),
            System.alloc(Layout::new::<Chunk>()).cast::<Chunk>(),
        )
    };
    let index = if memory.is_null() || fresh.is_null() {
        None
    } else {
        let links = [const { AtomicU32::new(0) }; SLOTS];
        // SAFETY: fresh memory for a chunk.
        unsafe { fresh.write(Chunk { memory, links }) };
        let from = FROM.load(Relaxed) as usize;
        let places = CHUNK.iter().enumerate().skip(from);
        let claim = |place: &AtomicPtr<Chunk>| {
            // Release the chunk to whoever finds a slot of it.
            place.compare_exchange(ptr::null_mut(), fresh, AcqRel, Relaxed)
        };
        let mut claimed = places.filter(|(_, place)| claim(place).is_ok());
        claimed.next().map(|(index, _)| index)
    };
    let Some(index) = index else {
        // SAFETY: each is null or was just allocated so, and nobody else knows it.
        unsafe {
            if !memory.is_null() {
                inner.dealloc(memory, of_memory);
            }
            if !fresh.is_null() {
                System.dealloc(fresh.cast(), Layout::new::<Chunk>());
            }
        }
        return None;
    };
    FROM.fetch_max(index as u32, Relaxed);
    let first = (index * SLOTS) as u32;
    (first + 1..first + SLOTS as u32).for_each(give_back);
    Some(first)
}
