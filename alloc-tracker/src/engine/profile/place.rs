//! Where sampled blocks lie: at multiples of [`ALIGN`], so that a free tells them from others by
//! their address.
//!
//! A small one takes one of the [`slots`]. A larger one is a block of the inner allocator's with room to
//! spare, in which the data begins at the first such multiple: so zeroed memory still comes from the
//! system as it is, and a reallocation still moves pages instead of bytes.

use super::super::hooks::Fill;
use super::super::published::PLACED_ALIGN as ALIGN;
use super::slots;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

/// How a block lies in memory that the inner allocator gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// As its layout asks, which is enough.
    Natural,
    /// In the slot with this number.
    Slot(u32),
    /// So many bytes after the start of a block that is [`ALIGN`] bytes larger.
    Padded(u16),
}

impl Place {
    /// For the table: a word of 16 bits, and one of 23.
    pub(super) fn code(self) -> (u16, u32) {
        match self {
            Place::Natural => (u16::MAX, 0),
            Place::Slot(number) => (u16::MAX - 1, number),
            Place::Padded(offset) => (offset, 0),
        }
    }

    pub(super) fn of_code((code, number): (u16, u32)) -> Self {
        match code {
            u16::MAX => Place::Natural,
            code if code == u16::MAX - 1 => Place::Slot(number),
            offset => Place::Padded(offset),
        }
    }
}

/// The layout of a padded block in the inner allocator. `None`: there is no such layout.
fn padded(layout: Layout) -> Option<Layout> {
    let size = layout.size().checked_add(ALIGN)?;
    Layout::from_size_align(size, layout.align()).ok()
}

/// A block at a multiple of [`ALIGN`]. `None`: the inner allocator has no such memory.
///
/// # Safety
///
/// As for `inner.alloc` and `inner.alloc_zeroed`.
pub(super) unsafe fn alloc<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> Option<(*mut u8, Place)> {
    if layout.align() >= ALIGN {
        // SAFETY: the caller's contract.
        let block = unsafe { fill.alloc(layout, inner) };
        return (!block.is_null()).then_some((block, Place::Natural));
    }
    if layout.size() <= ALIGN {
        let (number, block) = slots::take(inner)?;
        if fill == Fill::Zero {
            // SAFETY: a slot is as long, and the caller's alone.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        return Some((block, Place::Slot(number)));
    }
    // SAFETY: the size is above the caller's, so it is not zero.
    let base = unsafe { fill.alloc(padded(layout)?, inner) };
    if base.is_null() {
        return None;
    }
    let offset = offset(base);
    // SAFETY: the offset is below `ALIGN`, and the block is that much larger.
    Some((unsafe { base.add(offset) }, Place::Padded(offset as u16)))
}

/// From a block's start to the first multiple of [`ALIGN`]; a multiple of the block's alignment.
fn offset(base: *mut u8) -> usize {
    base.addr().next_multiple_of(ALIGN) - base.addr()
}

/// Frees a block that lies as `place` says.
///
/// # Safety
///
/// `block` came from [`alloc`] or [`grow`] with this layout and place, and the same inner allocator.
pub(super) unsafe fn dealloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    place: Place,
    inner: &A,
) {
    match place {
        Place::Slot(number) => slots::give_back(number),
        // SAFETY: the caller's contract.
        Place::Natural => unsafe { inner.dealloc(block, layout) },
        Place::Padded(offset) => {
            // There was one when the block was allocated.
            if let Some(layout) = padded(layout) {
                // SAFETY: the caller's contract: so many bytes before `block` begins the inner block,
                // which has this layout.
                unsafe { inner.dealloc(block.sub(usize::from(offset)), layout) }
            }
        }
    }
}

/// Resizes a padded block where pages may be moved instead of bytes. `None`: it is not one, or will
/// be small; or the inner allocator has no memory. The block is then as it was.
///
/// # Safety
///
/// As for [`dealloc`], and `new` is a valid size for `layout`'s alignment, not zero.
pub(super) unsafe fn grow<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    place: Place,
    new: usize,
    inner: &A,
) -> Option<(*mut u8, Place)> {
    let Place::Padded(from) = place else {
        return None;
    };
    if new <= ALIGN {
        return None;
    }
    let size = new.checked_add(ALIGN)?;
    Layout::from_size_align(size, layout.align()).ok()?;
    let from = usize::from(from);
    // SAFETY: as in `dealloc`; the new size is checked above.
    let base = unsafe { inner.realloc(block.sub(from), padded(layout)?, size) };
    if base.is_null() {
        return None;
    }
    let to = offset(base);
    if to != from {
        let len = layout.size().min(new);
        // SAFETY: both ranges lie inside the new inner block: an offset is below `ALIGN`, and the
        // block is that much larger than `new`; its first `from + len` bytes are the old one's.
        unsafe { ptr::copy(base.add(from), base.add(to), len) };
    }
    // SAFETY: as in `alloc`.
    Some((unsafe { base.add(to) }, Place::Padded(to as u16)))
}
