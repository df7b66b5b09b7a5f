//! Measurements of a thread: a segment is the time from one moment to a later one, and its figures
//! are the difference of the thread's counters between the two.
//!
//! A scope's segment lies in its guard, those of units in [`work`](super::work).

use super::installed::is_installed;
use crate::Usage;
use crate::engine::counter::block::{self, Block};
use crate::engine::counter::counts::Counts;
use crate::engine::counter::peaks::Level;
use crate::engine::counter::tools;
use crate::engine::watch::sites;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

/// An open segment of the thread that opened it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) start: Counts,
    pub(crate) level: Level,
}

/// Opens a segment.
///
/// PERF: always inlined, as is `close`: handed over in memory, a segment written by words and read
/// by vectors waits for its own stores, some 15 ns.
#[inline(always)]
pub(crate) fn open() -> Segment {
    // SAFETY: it is not kept.
    match unsafe { block::own() } {
        Some(block) => block.open(),
        None => Segment::NEVER,
    }
}

/// The figures of an open segment so far.
#[inline]
pub(crate) fn read(segment: Segment) -> Usage {
    so_far(segment)
}

/// Ends a segment: its figures.
#[inline(always)]
pub(crate) fn close(segment: Segment) -> Usage {
    let (counts, peak) = end(segment);
    segment.usage(counts, peak)
}

impl Segment {
    pub(crate) const NEVER: Segment = Segment {
        start: Counts::ZERO,
        level: Level::UNTRACKED,
    };

    #[inline(always)]
    fn usage(self, counts: Counts, peak: i64) -> Usage {
        counts.usage(peak, self.level != Level::UNTRACKED)
    }
}

pub(crate) fn so_far(segment: Segment) -> Usage {
    block::with(|block| {
        let highest = block.highest(segment.level);
        let counts = block.counts().minus(segment.start);
        segment.usage(counts, highest.wrapping_sub(segment.start.live()))
    })
}

/// Counts of the segment, and its peak above its start.
#[inline(always)]
pub(crate) fn end(segment: Segment) -> (Counts, i64) {
    let (counts, highest) = block::with(|block| block.close(segment.level));
    let peak = highest.wrapping_sub(segment.start.live());
    (counts.minus(segment.start), peak)
}

/// Opens a segment of a unit while the thread works for none, if it is a plain one. False: nothing was done.
#[inline(always)]
pub(crate) fn open_plainly(place: &mut MaybeUninit<Segment>) -> bool {
    let is_plain = |block: &&Block| {
        // Who sees each call sees the first of a unit's: see `Stack::push`.
        block.peaks.opens_plainly() && !block.published.is_alert()
    };
    // SAFETY: it is not kept.
    let block = unsafe { block::own() }.filter(is_plain);
    if let Some(block) = block {
        let segment = block.open();
        block.goes_inside(segment.start);
        place.write(segment);
    }
    block.is_some()
}

/// Ends the innermost segment, if all that are open are plain and the thread works for no unit after it: `first` is called
/// then, and `add` is handed what [`end`] returns, unless nothing was allocated or freed; whether it is some unit's is the
/// answer. False: nothing was done.
#[inline(always)]
pub(crate) fn end_plainly(
    segment: &Segment,
    first: impl FnOnce(),
    add: impl FnOnce(Counts, i64) -> bool,
) -> bool {
    // SAFETY: it is not kept.
    let block = unsafe { block::own() }.filter(|block| block.peaks.closes_plainly(segment.level));
    if let Some(block) = block {
        first();
        block.published.inside.end();
        block.close_plainly(segment, add);
    }
    block.is_some()
}

/// The thread begins to work for a unit, while it worked for none.
pub(crate) fn go_inside() {
    block::with(|block| block.goes_inside(block.counts()));
}

/// What the thread counted since [`go_inside`]; `None` if it was not called.
pub(crate) fn inside_so_far() -> Option<Counts> {
    block::with(Block::inside_so_far)
}

/// The thread works for no unit any more. `counts`: what it counted for some.
pub(crate) fn go_outside(counts: Counts) {
    block::with(|block| block.goes_outside(counts));
}

/// Charges to nobody what the thread allocates while this guard lives.
pub(crate) struct Excluded {
    start: Option<Mark>,
    is_a_tools: bool,
    _not_send: PhantomData<*mut ()>,
}

impl Excluded {
    #[inline]
    pub(crate) fn start() -> Self {
        sites::suspend();
        Excluded {
            start: block::with(|block| Some(block.mark())),
            is_a_tools: false,
            _not_send: PhantomData,
        }
    }

    /// The same of a tool's work, which is in no figure of the process either.
    #[inline]
    pub(crate) fn start_a_tools() -> Self {
        tools::begin();
        let mut excluded = Excluded::start();
        excluded.is_a_tools = true;
        excluded
    }

    /// Ends it. False: nothing was excluded, as a measurement began inside that goes on.
    #[inline]
    pub(crate) fn finish(self) -> bool {
        let mut guard = ManuallyDrop::new(self);
        guard.end()
    }

    #[inline]
    fn end(&mut self) -> bool {
        let start = self.start.take();
        let is_excluded =
            start.is_some_and(|start| block::with(|block| block.exclude_since(start)));
        sites::resume();
        if self.is_a_tools {
            tools::end();
        }
        is_excluded
    }
}

impl Drop for Excluded {
    fn drop(&mut self) {
        self.end();
    }
}

impl Block {
    /// Starts a measurement.
    #[inline(always)]
    fn open(&self) -> Segment {
        let start = self.published.counts();
        match self.peaks.open(start.live()) {
            Some(level) => Segment { start, level },
            // PERF: the level alone comes from elsewhere: what is an answer in memory here, is one on the common
            // path, too.
            None => Segment {
                level: self.open_otherwise(),
                start: self.published.counts().minus(self.excluded.get()),
            },
        }
    }

    #[cold]
    #[inline(never)]
    fn open_otherwise(&self) -> Level {
        if !is_installed() {
            return Level::UNTRACKED;
        }
        self.peaks.set_tracked();
        self.peaks.open_any(self.published.counts().live())
    }

    /// The highest live bytes since `level` was opened, in terms of [`Block::counts`].
    #[inline(always)]
    fn highest(&self, level: Level) -> i64 {
        let live = self.published.counts().live();
        self.peaks
            .highest(level, live)
            .wrapping_sub(self.excluded.get().live())
    }

    /// Ends a measurement: what was counted by its end, and the highest live bytes since it was
    /// opened.
    #[inline(always)]
    fn close(&self, level: Level) -> (Counts, i64) {
        let counts = self.published.counts();
        match self.peaks.close(level, counts.live()) {
            Some(peak) => (counts, peak),
            None => self.close_otherwise(level),
        }
    }

    /// See [`end_plainly`].
    #[inline(always)]
    fn close_plainly(&self, segment: &Segment, add: impl FnOnce(Counts, i64) -> bool) {
        let Segment { start, level } = segment;
        // SAFETY: a block is its thread's, which alone writes what it publishes.
        let (allocs, frees) = unsafe {
            let published = &self.published;
            (published.allocs.load_own(), published.frees.load_own())
        };
        // PERF: most entries of most units allocate nothing.
        if allocs == start.allocs && frees == start.frees {
            self.peaks.close_unchanged(*level);
        } else {
            self.close_counting(segment, add);
        }
    }

    /// PERF: apart, so that what counted nothing saves no registers for it.
    #[inline(never)]
    fn close_counting(&self, segment: &Segment, add: impl FnOnce(Counts, i64) -> bool) {
        let Segment { start, level } = segment;
        // SAFETY: a block is its thread's, which alone writes what it publishes.
        let counts = unsafe { self.published.own_counts() };
        if let Some(highest) = self.peaks.close(*level, counts.live()) {
            let counts = counts.minus(*start);
            if add(counts, highest.wrapping_sub(start.live())) {
                self.was_inside(counts);
            }
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

    fn mark(&self) -> Mark {
        Mark {
            open_levels: self.peaks.open_levels(),
            counts: self.without_excluded(),
            peak: self.peaks.mark(self.published.counts().live()),
        }
    }

    /// Excludes from the open measurements what was counted since `mark`. The published counters go
    /// on growing; that the process's totals do not have it is seen to by [`Block::set_aside`]. False: a measurement that
    /// began since then goes on, has only some of it, and would be below zero; so nothing is excluded.
    fn exclude_since(&self, mark: Mark) -> bool {
        if self.peaks.open_levels() > mark.open_levels {
            return false;
        }
        if self.peaks.none_open() {
            sites::skip_to(self.counts());
            return true;
        }
        let fresh = self.without_excluded().minus(mark.counts);
        if fresh != Counts::ZERO {
            self.peaks.set_excluding();
            self.excluded.set(self.excluded.get().plus(fresh));
            self.peaks.rewind(mark.peak, fresh.live());
        }
        true
    }
}

/// A moment on a thread, from which on something is to be excluded.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// How many measurements are open.
    open_levels: u32,
    counts: Counts,
    peak: i64,
}
