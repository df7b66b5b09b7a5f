//! What a new block is filled with.

use std::alloc::{GlobalAlloc, Layout};

/// What a new block is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    None,
    Zero,
}

impl Fill {
    /// # Safety
    ///
    /// As for `inner.alloc`.
    pub(crate) unsafe fn alloc<A: GlobalAlloc>(self, layout: Layout, inner: &A) -> *mut u8 {
        match self {
            // SAFETY: the caller's contract.
            Fill::None => unsafe { inner.alloc(layout) },
            // SAFETY: the caller's contract.
            Fill::Zero => unsafe { inner.alloc_zeroed(layout) },
        }
    }
}
