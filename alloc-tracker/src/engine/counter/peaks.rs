//! The peaks of the open measurements of a thread.
//!
//! The figures of a measurement are the difference of the thread's counters between its two ends,
//! so nesting costs nothing: the outer difference contains the inner one. Only the peak needs
//! care. `top` is the highest live level while the *innermost* measurement has been innermost, and
//! each level remembers what `top` was before it was opened. Live bytes rise and fall, and a peak is where they
//! begin to fall: `top` may be too low as long as they rise, and is *settled* before they fall and before it is
//! read. So allocations need not look at it, and frees make one comparison.
//!
//! ```text
//!   settle: top := max(top, live)
//!   open:   settle, outer[level] := top          top := live
//!   close:  settle, own peak = max(top, outer of every level above) − live at open
//!           top := max(top, outer[level])
//! ```
//!
//! Measurements may be closed in any order (a guard held by a future, say): a level that is closed
//! below others is marked dead, hands its `outer` to the next level above it, and is popped with them.

use std::cell::Cell;

/// Levels whose peaks are kept apart, those included that are closed below open ones. Deeper
/// measurements share the peak of the deepest of these, an upper bound of their own.
const LEVELS: usize = 64;

/// No measurement is open: nobody's peak costs no store.
const NOBODYS: i64 = i64::MAX;

#[derive(Debug)]
pub(crate) struct Peaks {
    top: Cell<i64>,
    /// The number of levels, and flags above it.
    ///
    /// PERF: in one word, so that one comparison tells whether a measurement is a plain one.
    shape: Cell<u32>,
    /// One bit for each level below the depth that is closed.
    dead: Cell<u64>,
    outer: [Cell<i64>; LEVELS],
    /// Open measurements whose peaks are not kept apart.
    deep: Cell<u32>,
}

const DEPTH: u32 = 0xFF;
/// Some level is dead.
const DEAD: u32 = 1 << 8;
/// The thread's counts have a part that is charged to nobody.
const EXCLUDING: u32 = 1 << 9;
/// Nobody knows yet whether this thread is tracked at all.
const UNKNOWN: u32 = 1 << 10;

/// An open measurement's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(u32);

impl Level {
    /// Of a measurement whose peak is not kept apart.
    const DEEP: Level = Level(LEVELS as u32);
    /// Of a measurement where nothing is tracked.
    pub(crate) const UNTRACKED: Level = Level(LEVELS as u32 + 1);
}

impl Peaks {
    pub(crate) const fn new() -> Self {
        Peaks {
            top: Cell::new(NOBODYS),
            shape: Cell::new(UNKNOWN),
            dead: Cell::new(0),
            outer: [const { Cell::new(0) }; LEVELS],
            deep: Cell::new(0),
        }
    }

    fn depth(&self) -> usize {
        (self.shape.get() & DEPTH) as usize
    }

    /// No flag is set.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.shape.get() <= DEPTH
    }

    pub(crate) fn none_open(&self) -> bool {
        // One whose peak is not kept apart may outlive all whose is.
        self.open_levels() == 0
    }

    /// How many measurements are open, those included that are closed below open ones.
    pub(crate) fn open_levels(&self) -> u32 {
        self.depth() as u32 + self.deep.get()
    }

    pub(crate) fn set_tracked(&self) {
        self.shape.set(self.shape.get() & !UNKNOWN);
    }

    pub(crate) fn set_excluding(&self) {
        self.shape.set(self.shape.get() | EXCLUDING);
    }

    /// Once no measurement is open, nobody minds what was excluded before. Returns whether that is
    /// now.
    ///
    /// PERF: measurements are plain again. Otherwise a thread that ever excluded something would
    /// take 12 ns longer for every entry of a unit.
    pub(crate) fn may_forget_excluded(&self) -> bool {
        let shape = self.shape.get();
        let may = shape & EXCLUDING != 0 && shape & DEPTH == 0 && self.deep.get() == 0;
        if may {
            self.shape.set(shape & !EXCLUDING);
        }
        may
    }

    /// The thread has `live` bytes, which are about to be fewer, or are looked at.
    #[inline(always)]
    pub(crate) fn settle(&self, live: i64) {
        // PERF: a store is left out mostly: no maximum, which would be one each time.
        if live > self.top.get() {
            self.top.set(live);
        }
    }

    /// Whether the next measurement is a plain one, if the counts are.
    #[inline(always)]
    pub(crate) fn opens_plainly(&self) -> bool {
        self.shape.get() < LEVELS as u32
    }

    /// `None`: not a plain measurement, use [`Peaks::open_any`].
    #[inline(always)]
    pub(crate) fn open(&self, live: i64) -> Option<Level> {
        let shape = self.shape.get();
        let outer = self.outer.get(shape as usize)?;
        outer.set(self.top.get().max(live));
        self.top.set(live);
        self.shape.set(shape + 1);
        Some(Level(shape))
    }

    pub(crate) fn open_any(&self, live: i64) -> Level {
        let depth = self.depth();
        let Some(outer) = self.outer.get(depth) else {
            self.deep.set(self.deep.get() + 1);
            return Level::DEEP;
        };
        outer.set(self.top.get().max(live));
        self.top.set(live);
        self.shape.set(self.shape.get() + 1);
        Level(depth as u32)
    }

    /// The highest live level since `level` was opened; `live` is the present one.
    #[inline]
    pub(crate) fn highest(&self, level: Level, live: i64) -> i64 {
        let above = level.0 as usize + 1..self.depth();
        let above = self.outer.get(above).unwrap_or_default();
        above.iter().map(Cell::get).fold(self.top(live), i64::max)
    }

    /// A measurement that is not kept apart may outlast all that are: nobody has kept its peak then.
    fn top(&self, live: i64) -> i64 {
        match self.top.get() {
            NOBODYS => live,
            top => top.max(live),
        }
    }

    /// Closes `level`: the highest live level since it was opened; `live` is the present one. `None`: not a plain
    /// measurement, use [`Peaks::close_any`].
    #[inline(always)]
    pub(crate) fn close(&self, level: Level, live: i64) -> Option<i64> {
        if self.shape.get() != level.0 + 1 {
            return None;
        }
        // The innermost level, and no flag: `level` is below `LEVELS`. The remainder, which is
        // itself, spares a check of the bounds.
        let outer = self.outer[level.0 as usize % LEVELS].get();
        let top = self.top.get().max(live);
        self.top.set(top.max(outer));
        self.shape.set(level.0);
        Some(top)
    }

    /// Whether `level` is the innermost, and all that are open are plain.
    #[inline(always)]
    pub(crate) fn closes_plainly(&self, level: Level) -> bool {
        self.shape.get() == level.0 + 1
    }

    /// The same as [`Peaks::close`] where that is so, and live bytes neither rose nor fell meanwhile.
    #[inline(always)]
    pub(crate) fn close_unchanged(&self, level: Level) {
        // What it was before has the present level: it was settled when this was opened.
        self.top.set(self.outer[level.0 as usize % LEVELS].get());
        self.shape.set(level.0);
    }

    pub(crate) fn close_any(&self, level: Level, live: i64) -> i64 {
        if (level.0 as usize) < LEVELS {
            return self.close_out_of_order(level, live);
        }
        if level == Level::DEEP {
            self.deep.set(self.deep.get().saturating_sub(1));
        }
        self.top(live)
    }

    #[cold]
    fn close_out_of_order(&self, level: Level, live: i64) -> i64 {
        self.settle(live);
        let highest = self.highest(level, live);
        let (index, depth) = (level.0 as usize, self.depth());
        let is_dead = |level: &usize| self.dead.get() & 1 << level != 0;
        let heir = match (index + 1..depth).find(|level| !is_dead(level)) {
            Some(above) => &self.outer[above],
            None => &self.top,
        };
        heir.set(heir.get().max(self.outer[index].get()));
        let mut dead = self.dead.get() | 1 << index;
        let mut depth = depth;
        while depth > 0 && dead & 1 << (depth - 1) != 0 {
            depth -= 1;
            dead &= !(1 << depth);
        }
        self.dead.set(dead);
        let flags = self.shape.get() & !(DEPTH | DEAD);
        let flag = if dead == 0 { 0 } else { DEAD };
        self.shape.set(depth as u32 | flags | flag);
        highest
    }

    /// What `top` is with `live` bytes, to be set back with [`Peaks::rewind`].
    pub(crate) fn mark(&self, live: i64) -> i64 {
        self.settle(live);
        self.top.get()
    }

    /// Forgets what was reached since the mark, but for the `kept` live bytes that are still there
    /// and that are nobody's: all levels move up by them.
    pub(crate) fn rewind(&self, mark: i64, kept: i64) {
        self.top.set(mark);
        let open = self.outer.iter().take(self.depth());
        for level in open.chain([&self.top]) {
            if level.get() != NOBODYS {
                level.set(level.get().wrapping_add(kept));
            }
        }
    }
}
