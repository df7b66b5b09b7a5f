//! The allocator itself: the only `unsafe impl GlobalAlloc` of this crate.

use crate::engine::{self, Fill};
use std::alloc::{GlobalAlloc, Layout, System};

/// A global allocator that counts, around any other.
///
/// ```
/// #[global_allocator]
/// static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// # fn main() {}
/// ```
///
/// All four methods are handed to the same method of the inner allocator, so zeroed blocks still
/// come from `calloc` and large blocks still grow by `mremap`. A null from the inner allocator
/// is handed on as it is and counts nothing. Nothing here locks, allocates or unwinds.
///
/// # Cost
///
/// 16 instructions for a block's whole life where the compiler inlines them, 22 behind the
/// functions that it makes around a global allocator; all on thread-local memory. Without the feature
/// `track`: none, it is the inner allocator.
#[derive(Debug)]
pub struct AllocTracker<A = System> {
    inner: A,
    /// How a block is freed is the inner allocator's to say. The system's goes by the address alone.
    goes_by_layout: bool,
}

impl<A: Default> Default for AllocTracker<A> {
    fn default() -> Self {
        Self::new(A::default())
    }
}

impl AllocTracker<System> {
    /// Counts over the system's allocator.
    pub const fn system() -> Self {
        AllocTracker {
            inner: System,
            goes_by_layout: false,
        }
    }
}

impl<A> AllocTracker<A> {
    /// Counts over `inner`, for example `AllocTracker::new(mimalloc::MiMalloc)`.
    pub const fn new(inner: A) -> Self {
        AllocTracker {
            inner,
            goes_by_layout: true,
        }
    }
}

impl<A> AllocTracker<A> {
    /// A sample that C code has freed is still known by its address, which is this block's now.
    ///
    /// PERF: nothing over the system's allocator, which frees the block rightly all the same.
    #[inline(always)]
    fn handed_out(&self, block: *mut u8) {
        if self.goes_by_layout {
            engine::handed_out(block);
        }
    }
}

/// Whether `malloc` may be too weakly aligned for the layout: the test that std's `System` makes.
///
/// PERF: made here as well, so that the common path of `alloc` inlines to the call of `malloc`
/// alone and needs no stack frame for `posix_memalign`: 2 instructions less.
#[inline(always)]
fn is_over_aligned(layout: &Layout) -> bool {
    const MIN_ALIGN: usize = 2 * size_of::<usize>();
    layout.align() > MIN_ALIGN || layout.align() > layout.size()
}

// PERF: the rare paths are functions that take their arguments in the order in which the hooks have
// them, so that no register is moved on the common paths, which end in a jump.

/// # Safety
///
/// As for `inner.alloc`.
#[inline(never)]
unsafe fn alloc_over_aligned<A: GlobalAlloc>(layout: Layout, inner: &A) -> *mut u8 {
    if engine::is_due(layout.size()) {
        // SAFETY: the caller's contract.
        return unsafe { alloc_and_look(layout, inner) };
    }
    // SAFETY: the caller's contract.
    let block = unsafe { inner.alloc(layout) };
    if !block.is_null() {
        engine::on_alloc(layout.size());
        engine::handed_out(block);
    }
    block
}

/// # Safety
///
/// As for `inner.alloc`.
#[inline(never)]
unsafe fn alloc_and_look<A: GlobalAlloc>(layout: Layout, inner: &A) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe { engine::alloc_and_look(layout, inner, Fill::None) }
}

/// # Safety
///
/// As for `inner.alloc_zeroed`.
#[inline(never)]
unsafe fn alloc_zeroed_and_look<A: GlobalAlloc>(layout: Layout, inner: &A) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe { engine::alloc_and_look(layout, inner, Fill::Zero) }
}

/// # Safety
///
/// As for `inner.dealloc`.
#[cold]
#[inline(never)]
unsafe fn look_and_dealloc<A: GlobalAlloc>(block: *mut u8, layout: Layout, inner: &A) {
    // SAFETY: the caller's contract.
    unsafe { engine::look_and_dealloc(block, layout, inner) }
}

/// # Safety
///
/// As for `inner.realloc`.
#[cold]
#[inline(never)]
unsafe fn look_and_realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe { engine::look_and_realloc(block, layout, new_size, inner) }
}

// A sample of the profiler may lie otherwise than `inner` would have it (`profile::place`): in memory that `inner` gave
// for a layout of more bytes or a higher alignment, or in a slot, but always so that it has all of its layout's bytes at
// a multiple of its alignment. It begins where `published::may_be_placed` holds, and is in the table of live samples
// before it is handed out. Every free and every reallocation of such an address looks up (`Published::looks_up`, from
// before the first sample on), before `inner` sees it; the table says how the block lies, and `inner` gets back what it
// gave. What is not in the table came from `inner` as it is.
//
// SAFETY: every method hands its arguments unchanged to the same method of `inner`, whose contract is the caller's, and
// returns the result unchanged, but for samples, which lie as is said above. The counting around it touches none of the
// block's memory, cannot unwind and does not allocate through this allocator.
unsafe impl<A: GlobalAlloc> GlobalAlloc for AllocTracker<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if cfg!(feature = "track") && is_over_aligned(&layout) {
            // SAFETY: the caller's contract, unchanged.
            return unsafe { alloc_over_aligned(layout, &self.inner) };
        }
        // PERF: asked before the call: the rare path then has the arguments where it wants them, and
        // the common one keeps nothing of them but the size.
        if engine::is_due(layout.size()) {
            // SAFETY: the caller's contract, unchanged.
            return unsafe { alloc_and_look(layout, &self.inner) };
        }
        // SAFETY: the caller keeps `alloc`'s contract, which is that of the inner allocator.
        let block = unsafe { self.inner.alloc(layout) };
        if !block.is_null() {
            engine::on_alloc(layout.size());
            self.handed_out(block);
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if engine::is_due(layout.size()) {
            // SAFETY: the caller's contract, unchanged.
            return unsafe { alloc_zeroed_and_look(layout, &self.inner) };
        }
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, that of the inner allocator.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        if !block.is_null() {
            engine::on_alloc(layout.size());
            self.handed_out(block);
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Counted before the call, so that the call can be a jump.
        if engine::on_dealloc(block, layout.size()) {
            // SAFETY: the caller's contract, unchanged.
            return unsafe { look_and_dealloc(block, layout, &self.inner) };
        }
        // SAFETY: the caller owns `block`, got it from this allocator with `layout`, and this
        // allocator got it from `inner` with the same layout.
        unsafe { self.inner.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if engine::is_realloc_due(block, layout.size(), new_size) {
            // SAFETY: the caller's contract, unchanged.
            return unsafe { look_and_realloc(block, layout, new_size, &self.inner) };
        }
        // SAFETY: as for `dealloc`; `new_size` is the caller's to keep valid, for both.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if !moved.is_null() {
            engine::on_realloc(layout.size(), new_size);
            self.handed_out(moved);
        }
        moved
    }
}
