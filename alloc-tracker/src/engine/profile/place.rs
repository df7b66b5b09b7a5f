//! Where sampled blocks lie: such that a free tells them from others by their address
//! ([`published::may_be_placed`]).
//!
//! By default in blocks that the inner allocator gave for them, with its own functions, so that whatever
//! holds for its blocks holds for these: the C library's `free` takes those of `System`, for example. A
//! large one lies as its layout asks, if that is recognised, as that of an allocator which maps it is:
//! zeroed memory then comes from the system as it is, and a reallocation moves pages instead of bytes.
//! Any other is aligned to a page.
//!
//! Where that costs too much, [`Config::slots`](crate::profiler::Config::slots) has small samples take
//! one of the [`slots`], and larger ones a block with room to spare, in which the data begins at the first
//! multiple of [`ALIGN`].

use super::slots::{self, SLOT};
use crate::engine::counter::published::{PLACED_ALIGN as ALIGN, may_be_placed};
use crate::engine::fill::Fill;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// From this many bytes on an allocator may map a block on its own: the C library's do.
const LARGE: usize = 128 << 10;

/// New samples lie in slots and padded blocks.
static IN_SLOTS: AtomicBool = AtomicBool::new(false);

pub(super) fn set_in_slots(slots: bool) {
    IN_SLOTS.store(slots, Relaxed);
}

/// How a block lies in memory that the inner allocator gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// As its layout asks.
    Natural,
    /// As its layout asks, but at a multiple of [`ALIGN`].
    Aligned,
    /// In the slot with this number.
    Slot(u32),
    /// This many bytes after the start of a block that is [`ALIGN`] bytes larger.
    Padded(u16),
}

impl Place {
    /// For the table: a word of 16 bits.
    pub(super) fn code(self) -> u16 {
        match self {
            Place::Natural => u16::MAX,
            Place::Aligned => u16::MAX - 1,
            Place::Slot(_) => u16::MAX - 2,
            Place::Padded(offset) => offset,
        }
    }

    pub(super) fn of_code(code: u16, slot: u32) -> Self {
        const ALIGNED: u16 = u16::MAX - 1;
        const SLOT: u16 = u16::MAX - 2;
        match code {
            u16::MAX => Place::Natural,
            ALIGNED => Place::Aligned,
            SLOT => Place::Slot(slot),
            offset => Place::Padded(offset),
        }
    }
}

/// Whether a block with this layout may be recognised as it lies by itself.
fn tries_naturally(layout: Layout) -> bool {
    layout.align() >= ALIGN || (layout.size() >= LARGE && !IN_SLOTS.load(Relaxed))
}

/// The layout of an aligned block in the inner allocator. `None`: there is no such layout.
fn aligned(layout: Layout) -> Option<Layout> {
    layout.align_to(ALIGN).ok()
}

/// The layout of a padded block in the inner allocator. `None`: there is no such layout.
fn padded(layout: Layout) -> Option<Layout> {
    let size = layout.size().checked_add(ALIGN)?;
    Layout::from_size_align(size, layout.align()).ok()
}

/// A block whose free is recognised. `None`: the inner allocator has no such memory.
///
/// # Safety
///
/// As for `inner.alloc` and `inner.alloc_zeroed`.
pub(super) unsafe fn alloc<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> Option<(*mut u8, Place)> {
    if tries_naturally(layout) {
        // SAFETY: the caller's contract.
        let block = unsafe { fill.alloc(layout, inner) };
        if block.is_null() {
            return None;
        }
        if may_be_placed(block.addr()) {
            return Some((block, Place::Natural));
        }
        // SAFETY: just allocated with this layout.
        unsafe { inner.dealloc(block, layout) };
    }
    // SAFETY: the caller's contract.
    unsafe {
        if IN_SLOTS.load(Relaxed) {
            alloc_in_slots(layout, inner, fill)
        } else {
            alloc_aligned(layout, inner, fill)
        }
    }
}

/// # Safety
///
/// As for [`alloc`].
unsafe fn alloc_aligned<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> Option<(*mut u8, Place)> {
    // SAFETY: the size is the caller's, which is not zero.
    let block = unsafe { fill.alloc(aligned(layout)?, inner) };
    (!block.is_null()).then_some((block, Place::Aligned))
}

/// # Safety
///
/// As for [`alloc`].
unsafe fn alloc_in_slots<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> Option<(*mut u8, Place)> {
    if layout.size() <= SLOT {
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
/// `block` came from [`alloc`] or [`resize`] with this layout and place, and the same inner allocator.
pub(super) unsafe fn dealloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    place: Place,
    inner: &A,
) {
    let (before, of_inner) = match place {
        Place::Slot(number) => return slots::give_back(number),
        Place::Natural => (0, Some(layout)),
        Place::Aligned => (0, aligned(layout)),
        Place::Padded(offset) => (usize::from(offset), padded(layout)),
    };
    // There was one when the block was allocated.
    if let Some(layout) = of_inner {
        // SAFETY: the caller's contract: this many bytes before `block` begins the inner block, which has
        // this layout.
        unsafe { inner.dealloc(block.sub(before), layout) }
    }
}

/// Resizes a block to one whose free is recognised, or, where it had to be resized first to know that and
/// there is no more memory, to one whose free is not: then without a place. `None`: the inner allocator
/// has no memory, and the block is as it was.
///
/// # Safety
///
/// As for [`dealloc`], or the inner allocator's own block with `place` natural; and `new` is a valid size
/// for `layout`'s alignment, not zero.
pub(super) unsafe fn resize<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    place: Place,
    new: usize,
    inner: &A,
) -> Option<(*mut u8, Option<Place>)> {
    let new_layout = Layout::from_size_align(new, layout.align()).ok()?;
    // SAFETY: the caller's contract.
    unsafe {
        match place {
            Place::Slot(_) if new <= SLOT => Some((block, Some(place))),
            Place::Natural if tries_naturally(new_layout) => {
                resize_naturally(block, layout, new_layout, inner)
            }
            Place::Aligned if new < LARGE => {
                let moved = inner.realloc(block, aligned(layout)?, new);
                (!moved.is_null()).then_some((moved, Some(place)))
            }
            Place::Padded(offset) if new > SLOT => {
                resize_padded(block, layout, usize::from(offset), new_layout, inner)
            }
            _ => {
                let (moved, new_place) = alloc(new_layout, inner, Fill::None)?;
                ptr::copy_nonoverlapping(block, moved, layout.size().min(new));
                dealloc(block, layout, place, inner);
                Some((moved, Some(new_place)))
            }
        }
    }
}

/// Where pages may be moved instead of bytes.
///
/// # Safety
///
/// `block` is the inner allocator's, with this layout; the new one's size is not zero.
unsafe fn resize_naturally<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new: Layout,
    inner: &A,
) -> Option<(*mut u8, Option<Place>)> {
    // SAFETY: the caller's contract.
    let moved = unsafe { inner.realloc(block, layout, new.size()) };
    if moved.is_null() {
        return None;
    }
    if may_be_placed(moved.addr()) {
        return Some((moved, Some(Place::Natural)));
    }
    // SAFETY: the caller's contract; both blocks are as long as `new` says, one is fresh, and the other
    // is the inner allocator's with the new layout.
    unsafe {
        let Some((fresh, place)) = alloc_aligned(new, inner, Fill::None) else {
            return Some((moved, None));
        };
        ptr::copy_nonoverlapping(moved, fresh, layout.size().min(new.size()));
        inner.dealloc(moved, new);
        Some((fresh, Some(place)))
    }
}

/// The same of a padded block.
///
/// # Safety
///
/// As for [`resize`]; the block lies this many bytes after the start of the inner one.
unsafe fn resize_padded<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    from: usize,
    new: Layout,
    inner: &A,
) -> Option<(*mut u8, Option<Place>)> {
    let size = padded(new)?.size();
    // SAFETY: as in `dealloc`; the new size is checked above.
    let base = unsafe { inner.realloc(block.sub(from), padded(layout)?, size) };
    if base.is_null() {
        return None;
    }
    let to = offset(base);
    if to != from {
        let len = layout.size().min(new.size());
        // SAFETY: both ranges lie inside the new inner block: an offset is below `ALIGN`, and the
        // block is that much larger than `new`; its first `from + len` bytes are the old one's.
        unsafe { ptr::copy(base.add(from), base.add(to), len) };
    }
    // SAFETY: as in `alloc_in_slots`.
    Some((unsafe { base.add(to) }, Some(Place::Padded(to as u16))))
}
