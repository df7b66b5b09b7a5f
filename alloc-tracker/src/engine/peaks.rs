//! The peaks of the open measurements of a thread.
//!
//! The figures of a measurement are the difference of the thread's counters between its two ends,
//! so nesting costs nothing: the outer difference contains the inner one. Only the peak needs
//! care. `top` is the highest live level while the *innermost* measurement has been innermost, and
//! each level remembers what `top` was before it was opened:
//!
//! ```text
//!   open:   outer[level] := top          top := live
//!   close:  own peak = max(top, outer of every level above) − live at open
//!           top := max(top, outer[level])
//! ```
//!
//! Measurements may be closed in any order (a guard held by a future, say): a level that is closed
//! below others is marked dead, hands its `outer` to the next level above it, and is popped with them.

use std::cell::Cell;

/// Levels whose peaks are kept apart. Deeper measurements share the peak of the deepest of these,
/// an upper bound of their own.
const LEVELS: usize = 64;

/// No measurement is open: nobody's peak costs no store.
const NOBODYS: i64 = i64::MAX;

#[derive(Debug)]
pub(super) struct Peaks {
    top: Cell<i64>,
    depth: Cell<u32>,
    /// One bit for each level below `depth` that is closed.
    dead: Cell<u64>,
    outer: [Cell<i64>; LEVELS],
}

/// An open measurement's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level(u32);

impl Level {
    /// Of a measurement whose peak is not kept apart.
    pub(super) const NONE: Level = Level(LEVELS as u32);
}

impl Peaks {
    pub(super) const fn new() -> Self {
        Peaks {
            top: Cell::new(NOBODYS),
            depth: Cell::new(0),
            dead: Cell::new(0),
            outer: [const { Cell::new(0) }; LEVELS],
        }
    }

    pub(super) fn none_open(&self) -> bool {
        self.depth.get() == 0
    }

    /// The thread has grown to `live` bytes.
    #[inline(always)]
    pub(super) fn reached(&self, live: i64) {
        if live > self.top.get() {
            self.top.set(live);
        }
    }

    #[inline(always)]
    pub(super) fn open(&self, live: i64) -> Level {
        let depth = self.depth.get();
        if let Some(outer) = self.outer.get(depth as usize) {
            outer.set(self.top.get());
            self.top.set(live);
            self.depth.set(depth + 1);
        }
        Level(depth)
    }

    /// The highest live level since `level` was opened.
    #[inline]
    pub(super) fn highest(&self, level: Level) -> i64 {
        let above = level.0 as usize + 1..self.depth.get() as usize;
        let above = self.outer.get(above).unwrap_or_default();
        above.iter().map(Cell::get).fold(self.top.get(), i64::max)
    }

    /// Closes `level`: the highest live level since it was opened.
    #[inline(always)]
    pub(super) fn close(&self, level: Level) -> i64 {
        let top = self.top.get();
        match self.outer.get(level.0 as usize) {
            Some(outer) if self.depth.get() == level.0 + 1 && self.dead.get() == 0 => {
                self.top.set(top.max(outer.get()));
                self.depth.set(level.0);
                top
            }
            Some(_) => self.close_out_of_order(level),
            None => top,
        }
    }

    #[cold]
    fn close_out_of_order(&self, level: Level) -> i64 {
        let highest = self.highest(level);
        let (index, depth) = (level.0 as usize, self.depth.get() as usize);
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
        self.depth.set(depth as u32);
        highest
    }

    /// What `top` is, to be set back with [`Peaks::rewind`].
    pub(super) fn mark(&self) -> i64 {
        self.top.get()
    }

    /// Forgets what was reached since the mark, but for the `kept` live bytes that are still there
    /// and that are nobody's: all levels move up by them.
    pub(super) fn rewind(&self, mark: i64, kept: i64) {
        self.top.set(mark);
        let open = self.outer.iter().take(self.depth.get() as usize);
        for level in open.chain([&self.top]) {
            if level.get() != NOBODYS {
                level.set(level.get().wrapping_add(kept));
            }
        }
    }
}
