//! One thread's counters.

use super::counts::Counts;
use super::peaks::{Level, Peaks};
#[cfg(feature = "profile")]
use super::profile::Countdown;
use super::published::{self, Published};
use super::segments::Segment;
use super::slot::Slot;
use super::{registry, sites, thread_exit, tools, watch, work};
use std::cell::Cell;
use std::mem::MaybeUninit;

/// The counters of one thread, which alone touches it, but for [`Published`]: the address of that
/// part is in a slot of the registry from the thread's first allocator call until it ends.
///
/// ```text
///   NEW ──attach──► ATTACHED ──detach──► DETACHED
///    └───────attach, no slot to be had───────▲
/// ```
///
/// The hooks count, and *look up* where there may be more to do. An allocation takes its bytes from
/// those that are [`LEFT`], and looks up if they are not enough, be it for a new peak, for a sample,
/// because somebody wants to see each call, or because the thread is not ATTACHED. A free compares one
/// word ([`Published::looks_up`]): every free looks up while somebody wants to see each call or the
/// thread is not ATTACHED, and that of a block which may be a sample ever after the profiler was
/// started. A DETACHED block keeps counting, and drains what it counts into the registry's overflow
/// counts after each call.
///
/// PERF: a peak is `alloc_bytes` − `freed_bytes` above `top`. What is left leaves out what is freed
/// after it was set, so it is used up too early, and looking then sets it anew: one subtraction per
/// allocation for all there is to watch, and none per free. An allocation finds no new peak but
/// looks up in vain once per as many bytes as lie between the live bytes and the peak.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Block {
    pub(super) published: Published,
    #[cfg(feature = "profile")]
    pub(super) countdown: Countdown,
    state: Cell<State>,
    peaks: Peaks,
    /// What the process's totals already have from elsewhere: see [`Block::drain`].
    drained: Cell<Counts>,
    /// The counts when they began to be a tool's, while they are.
    set_aside: Cell<Counts>,
    /// The part of the counts that is charged to nobody's measurement: see [`Block::exclude_since`].
    excluded: Cell<Counts>,
    /// A number that no other thread of the process has or had; 0: not yet asked for.
    thread: Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Attached(&'static Slot),
    Detached,
}

/// Allocated bytes after which a thread that never frees looks up, to notice an alert of others.
pub(super) const LOOK_EVERY: u64 = 64 << 10;

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
pub(super) fn take_left(size: u64) -> bool {
    LEFT.try_with(|left| {
        let (rest, is_due) = left.get().overflowing_sub(size);
        left.set(rest);
        is_due
    })
    .unwrap_or_default()
}

#[inline(always)]
fn set_left(bytes: u64) {
    let _ = LEFT.try_with(|left| left.set(bytes));
}

/// Calls `f` with the calling thread's block.
#[inline(always)]
pub(super) fn with<T: Default>(f: impl FnOnce(&Block) -> T) -> T {
    // `try_with` cannot fail here (no destructor); it has no panic branch, that is its use.
    BLOCK.try_with(f).unwrap_or_default()
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
            excluded: Cell::new(Counts::ZERO),
            thread: Cell::new(0),
        }
    }

    /// Raises the peak, and says when to look again.
    #[inline(always)]
    pub(super) fn look(&self) {
        let bytes = self.published.alloc_bytes.load();
        let freed = self.published.freed_bytes.load();
        let top = self.peaks.reached(bytes.wrapping_sub(freed) as i64);
        // How far `alloc_bytes` may grow before `bytes - freed > top`. With no measurement open, `top`
        // is so high that this is never.
        let to_next_peak = freed.wrapping_add(top as u64).wrapping_sub(bytes);
        let left = to_next_peak.min(LOOK_EVERY);
        #[cfg(feature = "profile")]
        let left = left.min(self.countdown.left(bytes));
        set_left(left);
    }

    /// Attaches a new thread, drains a detached one, notes the call site for an open budget.
    pub(super) fn attend(&self) {
        let was_alert = self.published.is_alert();
        self.look();
        match self.state.get() {
            State::New => self.attach(),
            State::Detached => self.drain(),
            State::Attached(_) => {}
        }
        sites::note(self.counts());
        watch::stand_down(&self.published);
        // Whoever had this thread look may want its next allocation, which this was not if it was a free.
        if was_alert {
            self.look_at_next();
        }
    }

    /// The next allocation looks up.
    pub(super) fn look_at_next(&self) {
        set_left(0);
    }

    /// Has the thread's end noticed, for what must be given back then.
    pub(super) fn attach_if_new(&self) {
        if let State::New = self.state.get() {
            self.attach();
        }
    }

    pub(super) fn is_detached(&self) -> bool {
        matches!(self.state.get(), State::Detached)
    }

    fn attach(&self) {
        // Should claiming a slot allocate through the hooks, the inner calls drain.
        self.state.set(State::Detached);
        let Some(slot) = registry::claim() else {
            return self.drain();
        };
        if !thread_exit::register(slot) {
            registry::give_back(slot);
            return self.drain();
        }
        let set_aside = (tools::depth() > 0).then(|| self.set_aside.get());
        slot.publish(&self.published, self.drained.get(), set_aside);
        self.state.set(State::Attached(slot));
        self.published
            .clear(published::UNPUBLISHED, &watch::PLACING);
        watch::join(&self.published);
        work::see_own_calls_or_not();
    }

    /// Whether this thread has to see each of its own calls.
    pub(super) fn watch_own(&self, watch: bool) {
        if watch {
            self.published.raise(published::OWN);
            self.look_at_next();
        } else {
            self.published.clear(published::OWN, &watch::PLACING);
        }
    }

    /// Ends the publication in `slot`: runs once, at the end of the thread.
    pub(super) fn detach(&self, slot: &'static Slot) {
        let counts = self.published.counts();
        if tools::depth() > 0 {
            slot.take_back(counts);
            self.set_aside.set(counts);
        }
        slot.retract(counts);
        registry::give_back(slot);
        self.drained.set(counts);
        self.state.set(State::Detached);
        self.published.raise(published::UNPUBLISHED);
        self.look_at_next();
        work::release_stack();
    }

    /// Moves what was counted since the last drain into the shared overflow counts.
    fn drain(&self) {
        if tools::depth() > 0 {
            return;
        }
        let counts = self.published.counts();
        registry::overflow(counts.minus(self.drained.replace(counts)));
    }

    /// What the thread counts from here on is a tool's, and in no total.
    pub(super) fn set_aside(&self) {
        let counts = self.published.counts();
        self.set_aside.set(counts);
        if let State::Attached(slot) = self.state.get() {
            slot.set_aside(counts);
        }
    }

    /// Ends that.
    pub(super) fn take_back(&self) {
        let counts = self.published.counts();
        match self.state.get() {
            State::Attached(slot) => slot.take_back(counts),
            State::New | State::Detached => {
                let aside = counts.minus(self.set_aside.get());
                self.drained.set(self.drained.get().plus(aside));
                tools::overflow(aside);
            }
        }
    }

    /// What measurements on this thread are made of: all that it counted, but for what is excluded.
    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        if self.peaks.is_plain() {
            return self.published.counts();
        }
        self.without_excluded()
    }

    /// Starts a measurement in `place`.
    ///
    /// PERF: in the place where it stays, so that neither path moves it there from registers or
    /// from the stack.
    #[inline(always)]
    pub(super) fn open(&self, place: &mut MaybeUninit<Segment>) {
        let counts = self.published.counts();
        let Some(level) = self.peaks.open(counts.live()) else {
            return self.open_otherwise(place);
        };
        // The peak that counts from here on is the present level. If every call has to look
        // anyway, the next one sees to the ones after it.
        set_left(0);
        place.write(Segment {
            start: counts,
            level,
        });
    }

    #[cold]
    #[inline(never)]
    fn open_otherwise(&self, place: &mut MaybeUninit<Segment>) {
        if !super::is_installed() {
            place.write(Segment::NEVER);
            return;
        }
        self.peaks.set_tracked();
        self.look_at_next();
        let live = self.published.counts().live();
        place.write(Segment {
            start: self.without_excluded(),
            level: self.peaks.open_any(live),
        });
    }

    /// The highest live bytes since `level` was opened, in terms of [`Block::counts`].
    #[inline(always)]
    pub(super) fn highest(&self, level: Level) -> i64 {
        let live = self.published.counts().live();
        self.peaks
            .highest(level, live)
            .wrapping_sub(self.excluded.get().live())
    }

    /// Ends a measurement: what was counted by its end, and the highest live bytes since it was
    /// opened.
    #[inline(always)]
    pub(super) fn close(&self, level: Level) -> (Counts, i64) {
        match self.peaks.close(level) {
            Some(peak) => (self.published.counts(), peak),
            None => self.close_otherwise(level),
        }
    }

    /// PERF: reads the counts again rather than being handed them, which would put them into
    /// memory on the common path too.
    #[cold]
    #[inline(never)]
    fn close_otherwise(&self, level: Level) -> (Counts, i64) {
        let live = self.published.counts().live();
        let peak = self.peaks.close_any(level, live);
        let peak = peak.wrapping_sub(self.excluded.get().live());
        let counts = self.without_excluded();
        // Not while something is being excluded: its mark is in terms of what was before.
        if sites::suspended() == 0 && self.peaks.may_forget_excluded() {
            self.excluded.set(Counts::ZERO);
            sites::skip_to(self.counts());
        }
        (counts, peak)
    }

    #[cold]
    #[inline(never)]
    fn without_excluded(&self) -> Counts {
        self.published.counts().minus(self.excluded.get())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            counts: self.without_excluded(),
            peak: self.peaks.mark(),
        }
    }

    /// Excludes from the open measurements what was counted since `mark`. The published counters go
    /// on growing; that the process's totals do not have it is seen to by [`Block::set_aside`].
    pub(super) fn exclude_since(&self, mark: Mark) {
        if self.peaks.none_open() {
            sites::skip_to(self.counts());
            return;
        }
        let fresh = self.without_excluded().minus(mark.counts);
        if fresh == Counts::ZERO {
            return;
        }
        self.peaks.set_excluding();
        self.excluded.set(self.excluded.get().plus(fresh));
        self.peaks.rewind(mark.peak, fresh.live());
        self.look_at_next();
    }

    /// A number for the calling thread, never used for another.
    #[inline]
    pub(super) fn thread(&self) -> u64 {
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

/// A moment on a thread, from which on something is to be excluded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    counts: Counts,
    peak: i64,
}
