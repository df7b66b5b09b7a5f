//! The allocator's calls that have to look, as the profiler sees them: which are samples, where those
//! lie, and what is noted of them.

use super::countdown::{Draw, mean};
use super::live::{self, LiveSample};
use super::place::{self, Place};
use super::walk::End;
use super::{BROKEN, Busy, NANOSECONDS, NOT_KEPT_LIVE, SAMPLES, TOO_DEEP, WITHOUT_STACK};
use super::{names, stacks, walk};
use crate::engine::counter::block::with;
use crate::engine::counter::published::may_be_placed;
use crate::engine::fill::Fill;
use crate::engine::measure::work;
use crate::engine::watch::sites;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The inner allocator has refused what was drawn for.
pub(in super::super) fn refused() {
    with(|block| block.countdown.refused(block));
}

/// A block that is no sample. If there was one at its address, somebody else has freed it.
#[inline(always)]
pub(in super::super) fn handed_out(block: *mut u8) {
    if may_be_placed(block.addr()) {
        live::forget(block);
    }
}

/// # Safety
///
/// As for `inner.alloc` or `inner.alloc_zeroed`.
#[inline]
pub(in super::super) unsafe fn alloc<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> *mut u8 {
    let size = layout.size() as u64;
    let draw = with(|block| block.countdown.draw(block, size));
    match draw {
        None => {
            // SAFETY: the caller's contract.
            let block = unsafe { fill.alloc(layout, inner) };
            handed_out(block);
            block
        }
        // SAFETY: the caller's contract.
        Some(draw) => unsafe { alloc_sample(layout, inner, fill, draw) },
    }
}

/// # Safety
///
/// As for [`alloc`].
#[cold]
#[inline(never)]
unsafe fn alloc_sample<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
    draw: Draw,
) -> *mut u8 {
    let size = layout.size() as u64;
    if live::reserve() {
        // SAFETY: the caller's contract.
        if let Some((block, place)) = unsafe { place::alloc(layout, inner, fill) } {
            let held = note(draw, size, size, place);
            if live::insert(block, held) {
                return block;
            }
            // SAFETY: just allocated so.
            unsafe { place::dealloc(block, layout, place, inner) };
            live::release();
            NOT_KEPT_LIVE.fetch_add(1, Relaxed);
            // SAFETY: the caller's contract.
            return unsafe { fill.alloc(layout, inner) };
        }
        live::release();
    }
    // SAFETY: the caller's contract.
    let block = unsafe { fill.alloc(layout, inner) };
    if !block.is_null() {
        NOT_KEPT_LIVE.fetch_add(1, Relaxed);
        note(draw, size, size, Place::Natural);
    }
    block
}

/// # Safety
///
/// As for `inner.dealloc`.
#[inline]
pub(in super::super) unsafe fn dealloc<A: GlobalAlloc>(block: *mut u8, layout: Layout, inner: &A) {
    match live::take(block, layout.size()) {
        // SAFETY: the caller's contract.
        None => unsafe { inner.dealloc(block, layout) },
        Some(held) => {
            live::release();
            // SAFETY: the table says that the block came from `place` so, with this layout by the
            // caller's contract.
            unsafe { place::dealloc(block, layout, held.place, inner) }
        }
    }
}

/// # Safety
///
/// As for `inner.realloc`.
#[inline]
pub(in super::super) unsafe fn realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    let held = live::take(block, layout.size());
    let draw = with(|block| block.countdown.draw(block, new_size as u64));
    if held.is_none() && draw.is_none() {
        // SAFETY: the caller's contract.
        return unsafe { inner.realloc(block, layout, new_size) };
    }
    // SAFETY: the caller's contract; `held` is what the table had of the block.
    unsafe { realloc_sample(block, layout, new_size, inner, held, draw) }
}

/// A block that was a sample, or becomes one.
///
/// # Safety
///
/// As for [`realloc`], and `held` says how the block lies.
#[cold]
#[inline(never)]
unsafe fn realloc_sample<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
    held: Option<LiveSample>,
    draw: Option<Draw>,
) -> *mut u8 {
    let (old, new) = (layout.size() as u64, new_size as u64);
    let grown = new.saturating_sub(old);
    // One that is resized while nobody samples stays a sample, of what it was.
    let stays = draw.is_some() || mean() == 0;
    if stays && (held.is_some() || live::reserve()) {
        let place = held.map_or(Place::Natural, |held| held.place);
        // SAFETY: the caller's contract.
        let resized = unsafe { place::resize(block, layout, place, new_size, inner) };
        let sample = |place| match (draw, held) {
            (Some(draw), _) => Some(note(draw, new, grown, place)),
            (None, held) => held.map(|held| held.resized(new, place)),
        };
        if let Some((moved, place)) = resized {
            match (place, sample(place.unwrap_or(Place::Natural))) {
                (Some(_), Some(sample)) if live::put(moved, sample) => {}
                (Some(_), Some(_)) => {
                    NOT_KEPT_LIVE.fetch_add(1, Relaxed);
                }
                _ => {
                    live::release();
                    NOT_KEPT_LIVE.fetch_add(1, Relaxed);
                    handed_out(moved);
                }
            }
            return moved;
        }
        if held.is_none() {
            live::release();
        }
    }
    // SAFETY: the caller's contract.
    let moved = unsafe { resize_to_no_sample(block, layout, new_size, held, inner) };
    if moved.is_null() {
        if held.is_some_and(|held| !live::put(block, held)) {
            NOT_KEPT_LIVE.fetch_add(1, Relaxed);
        }
        return moved;
    }
    handed_out(moved);
    if held.is_some() {
        live::release();
    }
    if let Some(draw) = draw {
        note(draw, new, grown, Place::Natural);
        NOT_KEPT_LIVE.fetch_add(1, Relaxed);
    }
    moved
}

/// Null: there is no memory, and the block is as it was.
///
/// # Safety
///
/// As for [`realloc_sample`].
unsafe fn resize_to_no_sample<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    held: Option<LiveSample>,
    inner: &A,
) -> *mut u8 {
    let place = held.map_or(Place::Natural, |held| held.place);
    if place == Place::Natural {
        // SAFETY: the caller's contract: it is the inner allocator's block, with this layout.
        return unsafe { inner.realloc(block, layout, new_size) };
    }
    let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
        return ptr::null_mut();
    };
    // SAFETY: the new size is not zero by the caller's contract.
    let moved = unsafe { inner.alloc(new_layout) };
    if !moved.is_null() {
        // SAFETY: both blocks are at least so long, and one is fresh; the old one lies as `place` says.
        unsafe {
            ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
            place::dealloc(block, layout, place, inner);
        }
    }
    moved
}

/// Adds a sample of `size` bytes, of which `grown` are new, to the sums of its stack and unit.
fn note(draw: Draw, size: u64, grown: u64, place: Place) -> LiveSample {
    let started = Instant::now();
    let mut thread = 0;
    let number = with(|block| {
        thread = block.thread() as u32;
        // Should walking the stack allocate, that is no sample.
        let _busy = Busy::start();
        let stack = walk::walk();
        match stack.end {
            End::Complete => {}
            End::TooDeep => drop(TOO_DEEP.fetch_add(1, Relaxed)),
            End::Broken => drop(BROKEN.fetch_add(1, Relaxed)),
        }
        let unit = match sites::suspended() {
            0 => work::unit_name(),
            _ => names::NONE,
        };
        Some(stacks::number(stack.frames(), unit))
    });
    let site = number.unwrap_or(stacks::OTHERS);
    if site == stacks::OTHERS {
        WITHOUT_STACK.fetch_add(1, Relaxed);
    }
    SAMPLES.fetch_add(1, Relaxed);
    stacks::site(site).add(size, grown, draw.mean);
    NANOSECONDS.fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
    LiveSample::new(site, thread, size, draw.mean, place)
}
