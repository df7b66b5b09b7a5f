//! What tools allocate for themselves: charged to nobody, at no call site, and in no figure of the process.

use super::block::{Block, State};
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
pub(crate) fn begin() {
    let depth = depth();
    let _ = DEPTH.try_with(|own| own.set(depth + 1));
    if depth == 0 {
        block::with(|block| block.set_aside());
    }
}

pub(crate) fn end() {
    let depth = depth() - 1;
    if depth == 0 {
        block::with(|block| block.take_back());
    }
    let _ = DEPTH.try_with(|own| own.set(depth));
}

/// What the calling thread does is the program's, until [`go_on`]. How often it had begun.
pub(crate) fn pause() -> u32 {
    let depth = depth();
    if depth > 0 {
        block::with(|block| block.take_back());
        let _ = DEPTH.try_with(|own| own.set(0));
    }
    depth
}

pub(crate) fn go_on(depth: u32) {
    if depth > 0 {
        let _ = DEPTH.try_with(|own| own.set(depth));
        block::with(|block| block.set_aside());
    }
}

/// How often it has begun on this thread and not ended. 0: the program is at work.
#[inline]
pub(crate) fn depth() -> u32 {
    DEPTH.try_with(Cell::get).unwrap_or_default()
}

pub(crate) fn overflow(counts: Counts) {
    OVERFLOW.add(counts);
}

/// What all threads allocated and freed for tools, those that ended, too.
pub(crate) fn totals() -> Counts {
    registry::tools_totals().plus(OVERFLOW.load())
}

impl Block {
    /// What the thread counts from here on is a tool's, and in no total.
    fn set_aside(&self) {
        let counts = self.published.counts();
        self.set_aside.set(counts);
        if let State::Attached(slot) = self.state.get() {
            slot.set_aside(counts);
        }
    }

    /// Ends that.
    fn take_back(&self) {
        let counts = self.published.counts();
        self.a_tools_inside(counts.minus(self.set_aside.get()));
        match self.state.get() {
            State::Attached(slot) => slot.take_back(counts),
            State::New | State::Detached => {
                let aside = counts.minus(self.set_aside.get());
                self.drained.set(self.drained.get().plus(aside));
                overflow(aside);
            }
        }
    }
}
