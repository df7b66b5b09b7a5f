//! What the allocator calls at each of its own calls.
//!
//! The common paths ask whether there is anything to look up, and count. The others hand the call to
//! [`profile`], which hands it to the inner allocator, and count and look.

use super::counter::block::{Block, take_left, with};
use super::fill::Fill;
use super::measure::meanwhile;
use super::profile;
use super::watch::{follow, sizes};
use std::alloc::{GlobalAlloc, Layout};

/// Whether an allocation must go by [`alloc_and_look`]. Asked once for each.
#[inline(always)]
pub(crate) fn is_due(size: usize) -> bool {
    take_left(size as u64)
}

/// Counts an allocation.
#[inline(always)]
pub(crate) fn on_alloc(size: usize) {
    with(|block| {
        block.published.allocs.add(1);
        block.published.alloc_bytes.add(size as u64);
    });
}

/// The inner allocator has handed out a block that is no sample.
#[inline(always)]
pub(crate) fn handed_out(block: *mut u8) {
    profile::handed_out(block);
}

/// Counts a free. True: it must go by [`look_and_dealloc`].
#[inline(always)]
pub(crate) fn on_dealloc(address: *mut u8, size: usize) -> bool {
    with(|block| {
        block.falls();
        block.published.frees.add(1);
        block.published.freed_bytes.add(size as u64);
        block.published.looks_up(address.addr())
    })
}

/// Whether a reallocation must go by [`look_and_realloc`]. Asked once for each.
#[inline(always)]
pub(crate) fn is_realloc_due(address: *mut u8, old: usize, new: usize) -> bool {
    // A profiler that runs takes it for a new block: see `Countdown`.
    let taken = if cfg!(feature = "profile") {
        new
    } else {
        new.saturating_sub(old)
    };
    with(|block| block.published.looks_up(address.addr())) || take_left(taken as u64)
}

/// Counts a reallocation.
#[inline(always)]
pub(crate) fn on_realloc(old: usize, new: usize) {
    with(|block| {
        block.published.allocs.add(1);
        block.published.reallocs.add(1);
        if new >= old {
            block.published.alloc_bytes.add((new - old) as u64);
        } else {
            block.falls();
            block.published.freed_bytes.add((old - new) as u64);
        }
        #[cfg(feature = "profile")]
        block.countdown.skip(old.min(new) as u64);
    });
}

#[inline(always)]
fn is_alert() -> bool {
    with(|block| block.published.is_alert())
}

/// The rare path of an allocation: notices whatever there is to see.
///
/// # Safety
///
/// As for `inner.alloc` or `inner.alloc_zeroed`.
#[inline]
pub(crate) unsafe fn alloc_and_look<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> *mut u8 {
    // SAFETY: the caller's contract.
    let block = unsafe { profile::alloc(layout, inner, fill) };
    if !block.is_null() {
        on_alloc(layout.size());
        if is_alert() {
            look_closely(block, layout.size());
            return block;
        }
    } else {
        profile::refused();
    }
    with(Block::look);
    block
}

#[cold]
#[inline(never)]
fn look_closely(address: *mut u8, size: usize) {
    with(|block| {
        follow::allocated(address.addr(), size);
        sizes::record(size, block.thread());
        meanwhile::allocated(size);
        block.attend();
    });
}

/// The rare path of a free, which is counted.
///
/// # Safety
///
/// As for `inner.dealloc`.
#[inline]
pub(crate) unsafe fn look_and_dealloc<A: GlobalAlloc>(block: *mut u8, layout: Layout, inner: &A) {
    // Before the memory can be somebody else's.
    if is_alert() {
        follow::freed(block.addr());
        with(Block::attend);
    }
    // SAFETY: the caller's contract.
    unsafe { profile::dealloc(block, layout, inner) }
}

/// The rare path of a reallocation.
///
/// # Safety
///
/// As for `inner.realloc`.
#[inline]
pub(crate) unsafe fn look_and_realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    if is_alert() {
        // SAFETY: the caller's contract.
        return unsafe { look_closely_and_realloc(block, layout, new_size, inner) };
    }
    // SAFETY: the caller's contract.
    let moved = unsafe { profile::realloc(block, layout, new_size, inner) };
    if moved.is_null() {
        profile::refused();
    } else {
        on_realloc(layout.size(), new_size);
    }
    with(Block::look);
    moved
}

/// # Safety
///
/// As for `inner.realloc`.
#[cold]
#[inline(never)]
unsafe fn look_closely_and_realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    // Before the old address can be somebody else's.
    let followed = follow::lift(block.addr());
    // SAFETY: the caller's contract.
    let moved = unsafe { profile::realloc(block, layout, new_size, inner) };
    if moved.is_null() {
        follow::put_back(followed, block.addr());
        profile::refused();
        with(Block::look);
        return moved;
    }
    on_realloc(layout.size(), new_size);
    with(|own| {
        let grown = new_size as i64 - layout.size() as i64;
        follow::put_down(followed, moved.addr(), grown);
        sizes::record(new_size, own.thread());
        meanwhile::allocated(new_size.saturating_sub(layout.size()));
        own.attend();
    });
    moved
}
