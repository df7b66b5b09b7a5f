//! One thread's counters.

#[cfg(feature = "profile")]
use super::countdown::Countdown;
use super::counts::Counts;
use super::peaks::Peaks;
use super::published::Published;
use super::registry;
use super::slot::Slot;
use std::cell::Cell;

/// The counters of one thread, which alone touches it, but for [`Published`]: the address of that
/// part is in a slot of the registry from the thread's first allocator call until it ends.
///
/// ```text
///   NEW ──attach──► ATTACHED ──detach──► DETACHED
///    └───────attach, no slot to be had───────▲
/// ```
///
/// The hooks count, and *look up* where there may be more to do. An allocation takes its bytes from
/// those that are [`LEFT`], and looks up if they are not enough, be it for a sample, because somebody
/// wants to see each call, or because the thread is not ATTACHED. A free compares two words: whether the
/// live bytes, which are about to fall, are a [peak](Peaks), and whether it looks up
/// ([`Published::looks_up`]): every free does while somebody wants to see each call or the thread is not
/// ATTACHED, and that of a block which may be a sample ever after the profiler was started. A DETACHED
/// block keeps counting, and drains what it counts into the registry's overflow counts after each call.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Block {
    pub(crate) published: Published,
    #[cfg(feature = "profile")]
    pub(crate) countdown: Countdown,
    pub(crate) state: Cell<State>,
    pub(crate) peaks: Peaks,
    /// What the process's totals already have from elsewhere: see [`super::super::attend`].
    pub(crate) drained: Cell<Counts>,
    /// The counts when they began to be a tool's, while they are.
    pub(crate) set_aside: Cell<Counts>,
    /// What tools counted while the thread worked for a unit, since it last began to.
    inside_skipped: Cell<Counts>,
    /// The part of the counts that is charged to nobody's measurement: see [`super::super::measure`].
    pub(crate) excluded: Cell<Counts>,
    /// A number that no other thread of the process has or had; 0: not yet asked for.
    thread: Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    New,
    Attached(&'static Slot),
    Detached,
}

/// Allocated bytes after which a thread that never frees looks up, to notice an alert of others.
pub(crate) const LOOK_EVERY: u64 = 64 << 10;

thread_local! {
    // Const-initialised and without a destructor: reading it can neither allocate nor fail, not
    // even while the thread's other locals are being destroyed.
    static BLOCK: Block = const { Block::new() };
}

thread_local! {
    /// Bytes that the thread may allocate before an allocation looks up.
    ///
    /// PERF: not in the block. Asked for before the inner allocator is called, and the block after it,
    /// one address for both would be kept in a register over the call, which takes four instructions.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Takes `size` from the bytes that are left. True: they are not enough, and the allocation must look
/// up, which sets them anew.
#[inline(always)]
pub(crate) fn take_left(size: u64) -> bool {
    LEFT.try_with(|left| {
        let (rest, is_due) = left.get().overflowing_sub(size);
        left.set(rest);
        is_due
    })
    .unwrap_or_default()
}

#[inline(always)]
pub(crate) fn set_left(bytes: u64) {
    let _ = LEFT.try_with(|left| left.set(bytes));
}

/// Calls `f` with the calling thread's block.
#[inline(always)]
pub(crate) fn with<T: Default>(f: impl FnOnce(&Block) -> T) -> T {
    // SAFETY: it is not kept: `f` cannot.
    match unsafe { own() } {
        Some(block) => f(block),
        None => T::default(),
    }
}

/// The calling thread's block.
///
/// PERF: not handed to a closure, which is then not always inlined.
///
/// # Safety
///
/// The caller does not keep the reference.
#[inline(always)]
pub(crate) unsafe fn own<'a>() -> Option<&'a Block> {
    // `try_with` cannot fail here (no destructor); it has no panic branch, that is its use.
    let block = BLOCK.try_with(std::ptr::from_ref).ok()?;
    // SAFETY: the thread-local is const-initialised and has no destructor, so it is in its place for as long
    // as its thread runs the caller, who keeps the reference no longer.
    Some(unsafe { &*block })
}

impl Block {
    const fn new() -> Self {
        Block {
            published: Published::new(),
            #[cfg(feature = "profile")]
            countdown: Countdown::new(),
            state: Cell::new(State::New),
            peaks: Peaks::new(),
            drained: Cell::new(Counts::ZERO),
            set_aside: Cell::new(Counts::ZERO),
            inside_skipped: Cell::new(Counts::ZERO),
            excluded: Cell::new(Counts::ZERO),
            thread: Cell::new(0),
        }
    }

    /// Says when to look again.
    #[inline(always)]
    pub(crate) fn look(&self) {
        let left = LOOK_EVERY;
        #[cfg(feature = "profile")]
        let left = left.min(self.countdown.left(self.published.alloc_bytes.load()));
        set_left(left);
    }

    /// Live bytes are about to fall: perhaps from a peak.
    #[inline(always)]
    pub(crate) fn falls(&self) {
        // SAFETY: a block is its thread's, which alone writes what it publishes.
        let (bytes, freed) = unsafe {
            (
                self.published.alloc_bytes.load_own(),
                self.published.freed_bytes.load_own(),
            )
        };
        self.peaks.settle(bytes.wrapping_sub(freed) as i64);
    }

    /// The next allocation looks up.
    pub(crate) fn look_at_next(&self) {
        set_left(0);
    }

    pub(crate) fn is_detached(&self) -> bool {
        matches!(self.state.get(), State::Detached)
    }

    /// What measurements on this thread are made of: all that it counted, but for what is excluded.
    #[inline(always)]
    pub(crate) fn counts(&self) -> Counts {
        if self.peaks.is_plain() {
            return self.published.counts();
        }
        self.without_excluded()
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn without_excluded(&self) -> Counts {
        self.published.counts().minus(self.excluded.get())
    }

    /// The thread begins to work for a unit, while it worked for none.
    #[inline(always)]
    pub(crate) fn goes_inside(&self, counts: Counts) {
        self.published.inside.begin(counts);
    }

    /// A tool is done that counted this: if that was while the thread works for a unit, it was for nobody.
    pub(crate) fn a_tools_inside(&self, counts: Counts) {
        let inside = &self.published.inside;
        if inside.is_open() && counts != Counts::ZERO {
            inside.skip(counts);
            let skipped = &self.inside_skipped;
            skipped.set(skipped.get().plus(counts));
        }
    }

    /// What the thread counted for units since it began to work for some; `None` if it does not.
    pub(crate) fn inside_so_far(&self) -> Option<Counts> {
        let inside = &self.published.inside;
        // What tools counted is among what is excluded.
        let since = || inside.since().minus(self.inside_skipped.get());
        inside.is_open().then(|| self.counts().minus(since()))
    }

    /// The thread works for no unit any more. `counts`: what it counted for some.
    pub(crate) fn goes_outside(&self, counts: Counts) {
        self.published.inside.end();
        self.inside_skipped.set(Counts::ZERO);
        self.was_inside(counts);
    }

    /// This much of what it counted was for units.
    pub(crate) fn was_inside(&self, counts: Counts) {
        match self.state.get() {
            State::Detached => registry::overflow_inside(counts),
            State::New | State::Attached(_) => self.published.inside.add(counts),
        }
    }

    /// A number for the calling thread, never used for another.
    #[inline]
    pub(crate) fn thread(&self) -> u64 {
        match self.thread.get() {
            0 => self.number(),
            known => known,
        }
    }

    #[cold]
    fn number(&self) -> u64 {
        self.thread.set(registry::next_thread());
        self.thread.get()
    }
}
