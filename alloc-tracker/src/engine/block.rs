//! One thread's counters, and what the allocator's hooks do to them.

use super::counts::Counts;
use super::peaks::{Level, Peaks};
use super::{registry, segments, sites, thread_exit};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A word that one thread writes and others may read.
///
/// PERF: the owner's reads are plain and its stores relaxed, so they compile to operands of the
/// instructions around them, and `add` to one `add` to memory. A `fetch_add` would be a locked
/// instruction, some 5 ns each.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Counter {
    const fn new(value: u64) -> Self {
        Counter(AtomicU64::new(value))
    }

    #[inline(always)]
    fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// # Safety
    ///
    /// The caller is on the thread that owns the counter.
    #[inline(always)]
    unsafe fn own(&self) -> u64 {
        // SAFETY: only the owner writes, and that is this thread: nothing can race with the read.
        unsafe { *self.0.as_ptr() }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline(always)]
    fn add(&self, n: u64) {
        self.set(self.load().wrapping_add(n));
    }
}

/// The part of a block that other threads may read.
#[derive(Debug)]
pub(super) struct Published {
    allocs: Counter,
    alloc_bytes: Counter,
    frees: Counter,
    freed_bytes: Counter,
    reallocs: Counter,
}

impl Published {
    /// On the owning thread exact, on others a few operations old.
    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        Counts {
            allocs: self.allocs.load(),
            reallocs: self.reallocs.load(),
            frees: self.frees.load(),
            alloc_bytes: self.alloc_bytes.load(),
            freed_bytes: self.freed_bytes.load(),
        }
    }
}

/// The counters of one thread, which alone touches it, but for [`Published`]: the address of that
/// part is in a slot of the registry from the thread's first allocator call until it ends.
///
/// ```text
///   NEW ──attach──► ATTACHED ──detach──► DETACHED
///    └───────attach, no slot to be had───────▲
/// ```
///
/// Outside of ATTACHED every hook asks for [`attend`]: `watch` is 0, so every allocation does,
/// and a free looks at `state`. So does every allocation while a budget notes call sites. A DETACHED block keeps counting, and drains what it counts into
/// the registry's overflow counts after each call.
#[derive(Debug)]
pub(super) struct Block {
    published: Published,
    peaks: Peaks,
    /// An allocation that brings `alloc_bytes` to this value or above asks for [`attend`].
    watch: Cell<u64>,
    state: Cell<State>,
    /// What the process's totals already have from elsewhere: see [`Block::drain`].
    drained: Cell<Counts>,
    /// The part of the counts that is charged to nobody's measurement: see [`Block::exclude_since`].
    excluded: Cell<Counts>,
    /// Whether `excluded` is anything. PERF: looked at instead of five subtractions of 0.
    has_excluded: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Attached,
    Detached,
}

thread_local! {
    // Const-initialised and without a destructor: reading it can neither allocate nor fail, not
    // even while the thread's other locals are being destroyed.
    static BLOCK: Block = const { Block::new() };
}

/// Calls `f` with the calling thread's block.
#[inline(always)]
pub(super) fn with<T: Default>(f: impl FnOnce(&Block) -> T) -> T {
    with_or(f, T::default())
}

#[inline(always)]
pub(super) fn with_or<T>(f: impl FnOnce(&Block) -> T, otherwise: T) -> T {
    // `try_with` cannot fail here (no destructor); it has no panic branch, that is its use.
    BLOCK.try_with(f).unwrap_or(otherwise)
}

/// Counts an allocation. True: the caller must call [`attend`], as the last thing it does.
#[inline(always)]
pub(crate) fn on_alloc(size: usize) -> bool {
    with(|block| {
        block.published.allocs.add(1);
        block.grow(size as u64)
    })
}

/// Counts a free. True: as for [`on_alloc`].
#[inline(always)]
pub(crate) fn on_dealloc(size: usize) -> bool {
    with(|block| {
        block.published.frees.add(1);
        block.shrink(size as u64)
    })
}

/// Counts a reallocation. True: as for [`on_alloc`].
#[inline(always)]
pub(crate) fn on_realloc(old: usize, new: usize) -> bool {
    with(|block| {
        block.published.allocs.add(1);
        block.published.reallocs.add(1);
        if new >= old {
            block.grow((new - old) as u64)
        } else {
            // Not `||`: both, always.
            block.shrink((old - new) as u64) | (block.watch.get() == 0)
        }
    })
}

/// The rare path of every hook: attaches a new thread, drains a detached one, notes the call site
/// for an open budget.
///
/// PERF: takes and returns the hook's result, so that the hooks can end in a jump to here and
/// keep nothing on the stack.
#[cold]
#[inline(never)]
pub(crate) fn attend(result: *mut u8) -> *mut u8 {
    with(|block| {
        block.peaks.reached(block.published.counts().live());
        match block.state.get() {
            State::New => block.attach(),
            State::Detached => block.drain(),
            State::Attached => {}
        }
        sites::note(block.counts());
    });
    result
}

impl Block {
    const fn new() -> Self {
        Block {
            published: Published {
                allocs: Counter::new(0),
                alloc_bytes: Counter::new(0),
                frees: Counter::new(0),
                freed_bytes: Counter::new(0),
                reallocs: Counter::new(0),
            },
            peaks: Peaks::new(),
            watch: Cell::new(0),
            state: Cell::new(State::New),
            drained: Cell::new(Counts::ZERO),
            excluded: Cell::new(Counts::ZERO),
            has_excluded: Cell::new(false),
        }
    }

    /// PERF: two sums that only grow (`alloc_bytes`, `freed_bytes`) instead of one `live` that
    /// goes both ways: the next allocation then does not wait for the last free's store.
    #[inline(always)]
    fn grow(&self, size: u64) -> bool {
        // SAFETY: a block is only reached through `with`, on the thread that owns it.
        let bytes = unsafe { self.published.alloc_bytes.own() }.wrapping_add(size);
        self.published.alloc_bytes.set(bytes);
        if bytes >= self.watch.get() {
            // `attend` raises the peak.
            return true;
        }
        // SAFETY: as above.
        let live = bytes.wrapping_sub(unsafe { self.published.freed_bytes.own() }) as i64;
        self.peaks.reached(live);
        false
    }

    #[inline(always)]
    fn shrink(&self, size: u64) -> bool {
        self.published.freed_bytes.add(size);
        self.state.get() != State::Attached
    }

    /// Has the thread's end noticed, for what must be given back then.
    pub(super) fn attach_if_new(&self) {
        if self.state.get() == State::New {
            self.attach();
        }
    }

    pub(super) fn is_detached(&self) -> bool {
        self.state.get() == State::Detached
    }

    fn attach(&self) {
        // Should claiming a slot allocate through the hooks, the inner calls drain.
        self.state.set(State::Detached);
        let Some(slot) = registry::claim() else {
            return self.drain();
        };
        if !thread_exit::register(slot) {
            slot.give_back();
            return self.drain();
        }
        slot.publish(&self.published, self.drained.get());
        self.state.set(State::Attached);
        self.set_watch(sites::any_open());
    }

    /// Has every allocation from now on call [`attend`], or only those that must.
    pub(super) fn set_watch(&self, every: bool) {
        let must = self.state.get() != State::Attached;
        self.watch.set(if every || must { 0 } else { u64::MAX });
    }

    /// Ends the publication in `slot`: runs once, at the end of the thread.
    pub(super) fn detach(&self, slot: &'static registry::Slot) {
        let counts = self.published.counts();
        slot.retract(counts);
        self.drained.set(counts);
        self.state.set(State::Detached);
        self.watch.set(0);
        segments::release_stack();
    }

    /// Moves what was counted since the last drain into the shared overflow counts.
    fn drain(&self) {
        let counts = self.published.counts();
        registry::overflow(counts.minus(self.drained.replace(counts)));
    }

    /// What measurements on this thread are made of: all that it counted, but for what is excluded.
    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        if self.has_excluded.get() {
            return self.without_excluded();
        }
        self.published.counts()
    }

    /// Starts a measurement.
    #[inline(always)]
    pub(super) fn open(&self) -> (Counts, Level) {
        if self.has_excluded.get() {
            let level = self.peaks.open(self.published.counts().live());
            return (self.without_excluded(), level);
        }
        let counts = self.published.counts();
        (counts, self.peaks.open(counts.live()))
    }

    /// The highest live bytes since `level` was opened, in terms of [`Block::counts`].
    #[inline(always)]
    pub(super) fn highest(&self, level: Level) -> i64 {
        self.peak_without_excluded(self.peaks.highest(level))
    }

    /// The same, and the level is closed.
    #[inline(always)]
    pub(super) fn close(&self, level: Level) -> i64 {
        self.peak_without_excluded(self.peaks.close(level))
    }

    /// PERF: reads the counts again rather than being handed them, which would put them into
    /// memory on the common path too.
    #[cold]
    #[inline(never)]
    fn without_excluded(&self) -> Counts {
        self.published.counts().minus(self.excluded.get())
    }

    #[inline(always)]
    fn peak_without_excluded(&self, peak: i64) -> i64 {
        if self.has_excluded.get() {
            return peak.wrapping_sub(self.excluded.get().live());
        }
        peak
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            counts: self.counts(),
            peak: self.peaks.mark(),
        }
    }

    /// Excludes from the open measurements what was counted since `mark`. The published counters go
    /// on growing: the process's totals have it all, and never go back.
    pub(super) fn exclude_since(&self, mark: Mark) {
        if self.peaks.none_open() {
            sites::skip_to(self.counts());
            return;
        }
        self.has_excluded.set(true);
        let fresh = self.counts().minus(mark.counts);
        self.excluded.set(self.excluded.get().plus(fresh));
        self.peaks.rewind(mark.peak, fresh.live());
    }
}

/// A moment on a thread, from which on something is to be excluded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    counts: Counts,
    peak: i64,
}
