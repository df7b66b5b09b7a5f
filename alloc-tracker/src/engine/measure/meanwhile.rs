//! What the rest of the process allocates while a budget is open, outside of every unit.
//!
//! Every thread then looks at each of its calls, and adds up what it does for units and for the tracker;
//! whatever else the process allocated, and the budget's own work did not, is outside.

use super::work;
use crate::engine::counter::{block, registry, tools};
use crate::engine::watch::{self, sites};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Budgets that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static ACCOUNTED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

thread_local! {
    static OWN_ACCOUNTED: Cell<Sum> = const { Cell::new(Sum(0, 0)) };
}

/// Allocations and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Sum(u64, u64);

impl Sum {
    fn plus(self, other: Sum) -> Sum {
        Sum(self.0.wrapping_add(other.0), self.1.wrapping_add(other.1))
    }

    fn minus(self, other: Sum) -> Sum {
        Sum(self.0.wrapping_sub(other.0), self.1.wrapping_sub(other.1))
    }
}

/// The calling thread has allocated a block, or enlarged one by this many bytes.
pub(crate) fn allocated(bytes: usize) {
    if OPEN.load(Relaxed) == 0 {
        return;
    }
    let is_a_tools = tools::depth() > 0;
    // For a unit, for another budget, or for a tool.
    if !work::any() && !sites::any_open() && sites::suspended() == 0 {
        return;
    }
    let _ = OWN_ACCOUNTED.try_with(|own| own.set(own.get().plus(Sum(1, bytes as u64))));
    if is_a_tools {
        // The process's sum does not have it either.
        return;
    }
    ACCOUNTED[0].fetch_add(1, Relaxed);
    ACCOUNTED[1].fetch_add(bytes as u64, Relaxed);
}

fn accounted() -> Sum {
    Sum(ACCOUNTED[0].load(Relaxed), ACCOUNTED[1].load(Relaxed))
}

fn process() -> Sum {
    let counts = registry::totals();
    Sum(counts.allocs, counts.alloc_bytes)
}

/// The calling thread at a moment: what it has allocated, but for what is accounted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here(Sum);

impl Here {
    pub(crate) fn now() -> Self {
        let counts = block::with(|block| block.published.counts());
        let accounted = OWN_ACCOUNTED.try_with(Cell::get).unwrap_or_default();
        Here(Sum(counts.allocs, counts.alloc_bytes).minus(accounted))
    }
}

/// From a budget's start on.
#[derive(Debug)]
pub(crate) struct Meanwhile {
    /// What is not outside, below the process's sum.
    inside: Sum,
}

impl Meanwhile {
    pub(crate) fn start() -> Self {
        OPEN.fetch_add(1, Relaxed);
        watch::start();
        Meanwhile {
            inside: process().minus(accounted()),
        }
    }

    /// What this thread did since `start` was the budget's work.
    pub(crate) fn add(&mut self, start: Here) {
        self.inside = self.inside.plus(Here::now().0.minus(start.0));
    }

    /// Allocations and bytes.
    pub(crate) fn end(self) -> (u64, u64) {
        let Sum(allocs, bytes) = process().minus(accounted()).minus(self.inside);
        // Figures of threads that run are read one after the other.
        let known = |n: u64| if n as i64 > 0 { n } else { 0 };
        (known(allocs), known(bytes))
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        watch::stop();
        OPEN.fetch_sub(1, Relaxed);
    }
}
