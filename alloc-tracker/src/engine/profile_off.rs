//! What the profiler does to the hooks without the feature `profile`: nothing.

use super::fill::Fill;
use std::alloc::{GlobalAlloc, Layout};

/// # Safety
///
/// As for `inner.alloc` or `inner.alloc_zeroed`.
#[inline(always)]
pub(super) unsafe fn alloc<A: GlobalAlloc>(layout: Layout, inner: &A, fill: Fill) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe { fill.alloc(layout, inner) }
}

/// # Safety
///
/// As for `inner.dealloc`.
#[inline(always)]
pub(super) unsafe fn dealloc<A: GlobalAlloc>(block: *mut u8, layout: Layout, inner: &A) {
    // SAFETY: the caller's contract.
    unsafe { inner.dealloc(block, layout) }
}

/// # Safety
///
/// As for `inner.realloc`.
#[inline(always)]
pub(super) unsafe fn realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe { inner.realloc(block, layout, new_size) }
}

#[inline(always)]
pub(super) fn refused() {}

#[inline(always)]
pub(super) fn handed_out(_block: *mut u8) {}
