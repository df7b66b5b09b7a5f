//! What tools allocate for themselves: charged to nobody, at no call site, and in no figure of the process.

use super::counts::{Counts, SharedCounts};
use super::{block, registry};
use std::cell::Cell;

thread_local! {
    // Const-initialised and without a destructor, as everything that a hook touches.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What threads allocated for tools that no slot of the registry stands for.
static OVERFLOW: SharedCounts = SharedCounts::new();

/// From here on what the calling thread does is a tool's.
pub(super) fn begin() {
    let depth = depth();
    let _ = DEPTH.try_with(|own| own.set(depth + 1));
    if depth == 0 {
        block::with(|block| block.set_aside());
    }
}

pub(super) fn end() {
    let depth = depth() - 1;
    if depth == 0 {
        block::with(|block| block.take_back());
    }
    let _ = DEPTH.try_with(|own| own.set(depth));
}

/// What the calling thread does is the program's, until [`go_on`]. How often it had begun.
pub(super) fn pause() -> u32 {
    let depth = depth();
    if depth > 0 {
        block::with(|block| block.take_back());
        let _ = DEPTH.try_with(|own| own.set(0));
    }
    depth
}

pub(super) fn go_on(depth: u32) {
    if depth > 0 {
        let _ = DEPTH.try_with(|own| own.set(depth));
        block::with(|block| block.set_aside());
    }
}

/// How often it has begun on this thread and not ended. 0: the program is at work.
#[inline]
pub(super) fn depth() -> u32 {
    DEPTH.try_with(Cell::get).unwrap_or_default()
}

pub(super) fn overflow(counts: Counts) {
    OVERFLOW.add(counts);
}

/// What all threads allocated and freed for tools, those that ended, too.
pub(super) fn totals() -> Counts {
    registry::tools_totals().plus(OVERFLOW.load())
}
