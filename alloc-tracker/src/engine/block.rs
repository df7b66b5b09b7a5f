//! One thread's counters, and what the allocator's hooks do to them.

use super::counts::{Counts, SharedCounts};
use super::{registry, segments, thread_exit};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// A word that one thread writes and others may read.
///
/// PERF: relaxed loads and stores compile to plain moves, and `add` to one `add` to memory; a
/// `fetch_add` would be a locked instruction, some 5 ns each.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Counter {
    const fn new(value: u64) -> Self {
        Counter(AtomicU64::new(value))
    }

    #[inline(always)]
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline(always)]
    fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }
}

/// The counters of one thread.
///
/// Only its thread writes them. Its address is published in a slot of the registry from the
/// thread's first allocator call until the thread ends.
///
/// ```text
///   NEW ──attach──► ATTACHED ──detach──► DETACHED
///    └───────attach, no slot to be had───────▲
/// ```
///
/// Outside of ATTACHED every hook ends in [`Block::attend`]: `watch` is 0, so every allocation
/// reaches it, and a free looks at `state`. A DETACHED block keeps counting, and drains what it
/// counts into the registry's overflow counts after each call.
#[derive(Debug)]
pub(super) struct Block {
    allocs: Counter,
    alloc_bytes: Counter,
    frees: Counter,
    freed_bytes: Counter,
    reallocs: Counter,
    /// The highest live bytes while the innermost open segment has been innermost, as an `i64`;
    /// `i64::MAX` while no segment is open, so that nobody's peak costs no store.
    peak: Counter,
    /// An allocation that brings `alloc_bytes` to this value or above calls [`Block::attend`].
    watch: Counter,
    state: AtomicU8,
    /// What the process's totals already have from elsewhere: see [`Block::drain`].
    drained: SharedCounts,
}

const NEW: u8 = 0;
const ATTACHED: u8 = 1;
const DETACHED: u8 = 2;

const NOBODYS_PEAK: i64 = i64::MAX;

thread_local! {
    // Const-initialised and without a destructor: reading it can neither allocate nor fail, not
    // even while the thread's other locals are being destroyed.
    static BLOCK: Block = const { Block::new() };
}

/// Calls `f` with the calling thread's block.
#[inline(always)]
pub(super) fn with<T: Default>(f: impl FnOnce(&Block) -> T) -> T {
    // `try_with` cannot fail here (no destructor); it has no panic branch, that is its use.
    BLOCK.try_with(f).unwrap_or_default()
}

#[inline(always)]
pub(crate) fn on_alloc(size: usize) {
    with(|block| {
        block.allocs.add(1);
        block.grow(size as u64);
    });
}

#[inline(always)]
pub(crate) fn on_dealloc(size: usize) {
    with(|block| {
        block.frees.add(1);
        block.freed_bytes.add(size as u64);
        if block.state.load(Relaxed) != ATTACHED {
            block.attend();
        }
    });
}

#[inline(always)]
pub(crate) fn on_realloc(old: usize, new: usize) {
    with(|block| {
        block.allocs.add(1);
        block.reallocs.add(1);
        if new >= old {
            block.grow((new - old) as u64);
        } else {
            block.freed_bytes.add((old - new) as u64);
            if block.state.load(Relaxed) != ATTACHED {
                block.attend();
            }
        }
    });
}

impl Block {
    const fn new() -> Self {
        Block {
            allocs: Counter::new(0),
            alloc_bytes: Counter::new(0),
            frees: Counter::new(0),
            freed_bytes: Counter::new(0),
            reallocs: Counter::new(0),
            peak: Counter::new(NOBODYS_PEAK as u64),
            watch: Counter::new(0),
            state: AtomicU8::new(NEW),
            drained: SharedCounts::new(),
        }
    }

    /// PERF: two sums that only grow (`alloc_bytes`, `freed_bytes`) instead of one `live` that
    /// goes both ways: the next allocation then does not wait for the last free's store.
    #[inline(always)]
    fn grow(&self, size: u64) {
        let bytes = self.alloc_bytes.get().wrapping_add(size);
        self.alloc_bytes.set(bytes);
        let live = bytes.wrapping_sub(self.freed_bytes.get()) as i64;
        if live > self.peak.get() as i64 {
            self.peak.set(live as u64);
        }
        if bytes >= self.watch.get() {
            self.attend();
        }
    }

    /// The rare path of every hook: attaches a new thread, drains a detached one.
    #[cold]
    #[inline(never)]
    fn attend(&self) {
        match self.state.load(Relaxed) {
            NEW => self.attach(),
            DETACHED => self.drain(),
            _ => {}
        }
    }

    fn attach(&self) {
        // Should claiming a slot allocate through the hooks, the inner calls drain.
        self.state.store(DETACHED, Relaxed);
        let Some(slot) = registry::claim() else {
            return self.drain();
        };
        if !thread_exit::register(slot) {
            slot.give_back();
            return self.drain();
        }
        slot.publish(self, self.drained.load());
        self.watch.set(u64::MAX);
        self.state.store(ATTACHED, Relaxed);
    }

    /// Ends the publication in `slot`: runs once, at the end of the thread.
    pub(super) fn detach(&self, slot: &'static registry::Slot) {
        slot.retract(self.counts());
        self.drained.store(self.counts());
        self.watch.set(0);
        self.state.store(DETACHED, Relaxed);
        segments::release_stack();
    }

    /// Moves what was counted since the last drain into the shared overflow counts.
    fn drain(&self) {
        let counts = self.counts();
        registry::overflow(counts.minus(self.drained.load()));
        self.drained.store(counts);
    }

    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        Counts {
            allocs: self.allocs.get(),
            reallocs: self.reallocs.get(),
            frees: self.frees.get(),
            alloc_bytes: self.alloc_bytes.get(),
            freed_bytes: self.freed_bytes.get(),
        }
    }

    #[inline(always)]
    pub(super) fn peak(&self) -> i64 {
        self.peak.get() as i64
    }

    #[inline(always)]
    pub(super) fn set_peak(&self, peak: i64) {
        self.peak.set(peak as u64);
    }

    /// Sets the counters back to `counts` and books what was counted since as nobody's.
    pub(super) fn rewind(&self, counts: Counts, peak: i64) {
        registry::overflow(self.counts().minus(counts));
        self.allocs.set(counts.allocs);
        self.reallocs.set(counts.reallocs);
        self.frees.set(counts.frees);
        self.alloc_bytes.set(counts.alloc_bytes);
        self.freed_bytes.set(counts.freed_bytes);
        self.peak.set(peak as u64);
    }
}
