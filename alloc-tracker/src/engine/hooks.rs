//! What the allocator calls at each of its own calls.

use super::block::{Block, with};
use super::{follow, sizes};

/// Counts an allocation. True: the caller must call [`look_at_alloc`], as the last thing it does.
#[inline(always)]
pub(crate) fn on_alloc(size: usize) -> bool {
    with(|block| {
        block.published.allocs.add(1);
        block.grow(size as u64)
    })
}

/// Counts a free. True: the caller must call [`look_at_dealloc`] before it frees.
#[inline(always)]
pub(crate) fn on_dealloc(size: usize) -> bool {
    with(|block| {
        block.published.frees.add(1);
        block.published.freed_bytes.add(size as u64);
        block.published.is_alert()
    })
}

/// Whether a reallocation must go by [`realloc_alert`].
#[inline(always)]
pub(crate) fn is_alert() -> bool {
    with(|block| block.published.is_alert())
}

/// Counts a reallocation by a thread that is not alert. True: as for [`on_alloc`].
#[inline(always)]
pub(crate) fn on_realloc(old: usize, new: usize) -> bool {
    with(|block| {
        block.published.allocs.add(1);
        block.published.reallocs.add(1);
        if new >= old {
            block.grow((new - old) as u64)
        } else {
            block.published.freed_bytes.add((old - new) as u64);
            false
        }
    })
}

/// The rare path of an allocation: notices a new peak, and whatever else there is to see.
///
/// PERF: takes and returns the hook's result, so that the hooks can end in a jump to here and
/// keep nothing on the stack.
#[inline(never)]
pub(crate) fn look_at_alloc(address: *mut u8, size: usize) -> *mut u8 {
    if is_alert() {
        return look_closely_at_alloc(address, size);
    }
    with(Block::look);
    address
}

#[cold]
#[inline(never)]
fn look_closely_at_alloc(address: *mut u8, size: usize) -> *mut u8 {
    with(|block| {
        follow::allocated(address as usize, size);
        sizes::record(size, block.thread());
        block.attend();
    });
    address
}

/// The rare path of a free, before the memory can be somebody else's.
#[cold]
#[inline(never)]
pub(crate) fn look_at_dealloc(address: *mut u8) {
    follow::freed(address as usize);
    with(Block::attend);
}

/// The rare path of a reallocation, which `resize` performs.
#[cold]
#[inline(never)]
pub(crate) fn realloc_alert(
    address: *mut u8,
    old: usize,
    new: usize,
    resize: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    // Before the old address can be somebody else's.
    let followed = follow::lift(address as usize);
    let moved = resize();
    if moved.is_null() {
        follow::put_back(followed, address as usize);
        return moved;
    }
    on_realloc(old, new);
    with(|block| {
        let grown = new as i64 - old as i64;
        follow::put_down(followed, moved as usize, grown);
        sizes::record(new, block.thread());
        block.attend();
    });
    moved
}
