//! Measurements of a thread: a segment is the time from one moment to a later one, and its figures
//! are the difference of the thread's counters between the two.
//!
//! A scope's segment lies in its guard, those of units in [`super::work`].

use super::block::{self, Mark};
use super::counts::Counts;
use super::peaks::Level;
use super::{sites, tools};
use crate::Usage;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// An open segment of the thread that opened it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(super) start: Counts,
    pub(super) level: Level,
}

/// Opens a segment.
///
/// PERF: always inlined, as is `close`: handed over in memory, a segment written by words and read
/// by vectors waits for its own stores, some 15 ns.
#[inline(always)]
pub(crate) fn open() -> Segment {
    let mut place = MaybeUninit::uninit();
    open_in(&mut place);
    // SAFETY: `open_in` has written it, one way or the other.
    unsafe { place.assume_init() }
}

#[inline(always)]
pub(super) fn open_in(place: &mut MaybeUninit<Segment>) {
    let written = block::with(|block| {
        block.open(place);
        true
    });
    if !written {
        place.write(Segment::NEVER);
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
    pub(super) const NEVER: Segment = Segment {
        start: Counts::ZERO,
        level: Level::UNTRACKED,
    };

    #[inline(always)]
    fn usage(self, counts: Counts, peak: i64) -> Usage {
        counts.usage(peak, self.level != Level::UNTRACKED)
    }
}

pub(super) fn so_far(segment: Segment) -> Usage {
    block::with(|block| {
        let highest = block.highest(segment.level);
        let counts = block.counts().minus(segment.start);
        segment.usage(counts, highest.wrapping_sub(segment.start.live()))
    })
}

/// Counts of the segment, and its peak above its start.
#[inline(always)]
pub(super) fn end(segment: Segment) -> (Counts, i64) {
    block::with(|block| {
        let (counts, highest) = block.close(segment.level);
        let peak = highest.wrapping_sub(segment.start.live());
        (counts.minus(segment.start), peak)
    })
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
}

impl Drop for Excluded {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            block::with(|block| block.exclude_since(start));
        }
        sites::resume();
        if self.is_a_tools {
            tools::end();
        }
    }
}
