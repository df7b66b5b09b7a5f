//! Measurements of a thread: a segment is the time from one moment to a later one, and its figures
//! are the difference of the thread's counters between the two.
//!
//! A scope's segment lies in its guard. The segments of units lie on a thread-local stack, where
//! [`current`] and `Unit::usage` find them.

use super::block::{self, Mark};
use super::counts::Counts;
use super::peaks::Level;
use super::sites;
use super::unit_pool::UnitRef;
use crate::Usage;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// An open segment of the thread that opened it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    start: Counts,
    level: Level,
}

/// Opens a segment.
///
/// PERF: always inlined, as is `close`: handed over in memory, a segment written by words and read
/// by vectors waits for its own stores, some 15 ns.
#[inline(always)]
pub(crate) fn open() -> Segment {
    block::with_or(
        |block| {
            let (start, level) = block.open();
            Segment { start, level }
        },
        Segment::NEVER,
    )
}

/// The figures of an open segment so far.
#[inline]
pub(crate) fn read(segment: Segment) -> Usage {
    if super::is_installed() {
        so_far(segment)
    } else {
        Usage::untracked()
    }
}

/// Ends a segment: its figures.
#[inline(always)]
pub(crate) fn close(segment: Segment) -> Usage {
    let (counts, peak) = end(segment);
    if super::is_installed() {
        counts.usage(peak)
    } else {
        Usage::untracked()
    }
}

impl Segment {
    const NEVER: Segment = Segment {
        start: Counts::ZERO,
        level: Level::NONE,
    };
}

fn so_far(segment: Segment) -> Usage {
    block::with(|block| {
        let highest = block.highest(segment.level);
        let counts = block.counts().minus(segment.start);
        counts.usage(highest.wrapping_sub(segment.start.live()))
    })
}

/// Counts of the segment, and its peak above its start.
#[inline(always)]
fn end(segment: Segment) -> (Counts, i64) {
    block::with(|block| {
        let highest = block.close(segment.level);
        let counts = block.counts().minus(segment.start);
        (counts, highest.wrapping_sub(segment.start.live()))
    })
}

/// Names the work of a thread for a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitSegment {
    /// 0: there was no memory to remember the work; it is not counted.
    id: u64,
}

#[derive(Clone, Copy)]
struct Work {
    id: u64,
    unit: UnitRef,
    /// The unit's live bytes when the work began.
    base: i64,
    /// `None`: the thread worked for the unit already, and that segment counts all this.
    segment: Option<Segment>,
}

/// The stack. It lies in memory from the system's allocator, so it is charged to nobody.
struct Stack {
    work: Cell<*mut Work>,
    len: Cell<usize>,
    capacity: Cell<usize>,
    next_id: Cell<u64>,
}

const FIRST_CAPACITY: usize = 32;

thread_local! {
    // As for the block: no initialiser that runs, no destructor.
    static STACK: Stack = const {
        Stack {
            work: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
            capacity: Cell::new(0),
            next_id: Cell::new(1),
        }
    };
}

/// The thread starts to work for `unit`.
#[inline]
pub(super) fn open_for(unit: UnitRef) -> UnitSegment {
    with_stack(|stack| {
        if stack.len.get() == stack.capacity.get() && !stack.grow() {
            return None;
        }
        let id = stack.next_id.get();
        stack.next_id.set(id + 1);
        let inside = stack.all().iter().any(|work| work.unit == unit);
        let work = Work {
            id,
            unit,
            base: unit.live(),
            segment: (!inside).then(open),
        };
        // SAFETY: `len < capacity`, so the place is inside the stack's memory; `Work` is `Copy`,
        // there is nothing to drop there.
        unsafe { stack.work.get().add(stack.len.get()).write(work) };
        stack.len.set(stack.len.get() + 1);
        Some(UnitSegment { id })
    })
    .unwrap_or(UnitSegment { id: 0 })
}

/// The thread's work ends, and the unit has its figures.
#[inline]
pub(crate) fn close_for_unit(segment: UnitSegment) {
    with_stack(|stack| {
        let index = stack.all().iter().rposition(|work| work.id == segment.id)?;
        let Work {
            unit,
            base,
            segment,
            ..
        } = stack.remove(index);
        let segment = segment?;
        // Guards may be dropped in any order: if the thread still works for the unit, by a later
        // guard, that one takes the segment over.
        if let Some(heir) = stack.all().iter().position(|work| work.unit == unit) {
            stack.hand_over(heir, base, segment);
            return Some(());
        }
        let (counts, peak) = end(segment);
        unit.add(counts, base, peak);
        Some(())
    });
}

/// The innermost unit that this thread works for and that `accept` takes.
pub(super) fn current<T>(mut accept: impl FnMut(UnitRef) -> Option<T>) -> Option<T> {
    with_stack(|stack| stack.all().iter().rev().find_map(|work| accept(work.unit)))
}

/// The calling thread's open work for `unit`: its figures, and the unit's live bytes when it
/// began.
pub(super) fn open_usage(unit: UnitRef) -> Option<(Usage, i64)> {
    with_stack(|stack| {
        let mut work = stack.all().iter().filter(|work| work.unit == unit);
        work.find_map(|work| Some((so_far(work.segment?), work.base)))
    })
}

/// Gives the stack's memory back when the thread ends.
pub(super) fn release_stack() {
    with_stack(|stack| {
        stack.free();
        Some(())
    });
}

/// Charges to nobody what the thread allocates while this guard lives.
pub(crate) struct Excluded {
    start: Option<Mark>,
    _not_send: PhantomData<*mut ()>,
}

impl Excluded {
    #[inline]
    pub(crate) fn start() -> Self {
        sites::suspend();
        Excluded {
            start: block::with(|block| Some(block.mark())),
            _not_send: PhantomData,
        }
    }
}

impl Drop for Excluded {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            block::with(|block| block.exclude_since(start));
        }
        sites::resume();
    }
}

#[inline(always)]
fn with_stack<T>(f: impl FnOnce(&Stack) -> Option<T>) -> Option<T> {
    STACK.try_with(f).ok().flatten()
}

impl Stack {
    #[inline]
    fn all(&self) -> &[Work] {
        if self.len.get() == 0 {
            return &[];
        }
        // SAFETY: the first `len` places are initialised, and only this thread touches them. The
        // slice is used up before the stack changes: no caller keeps it across a call that does.
        unsafe { std::slice::from_raw_parts(self.work.get(), self.len.get()) }
    }

    #[inline]
    fn remove(&self, index: usize) -> Work {
        let work = self.all()[index];
        let len = self.len.get() - 1;
        self.len.set(len);
        if index < len {
            // SAFETY: `index < len` and the old length was `len + 1`: both ranges lie inside the
            // initialised part.
            unsafe {
                let at = self.work.get().add(index);
                ptr::copy(at.add(1), at, len - index);
            }
        } else if len == 0 && block::with(|block| block.is_detached()) {
            // The thread is ending, and `release_stack` has been.
            self.free();
        }
        work
    }

    fn hand_over(&self, index: usize, base: i64, segment: Segment) {
        let mut work = self.all()[index];
        work.base = base;
        work.segment = Some(segment);
        // SAFETY: `all` has an element at `index`: the place is inside the stack's memory.
        unsafe { self.work.get().add(index).write(work) };
    }

    /// Doubles the capacity; false if the system has no memory, or nothing is tracked.
    #[cold]
    fn grow(&self) -> bool {
        if !super::is_installed() {
            return false;
        }
        // So that `release_stack` is called, even if this thread never allocates.
        block::with(|block| block.attach_if_new());
        let old = self.capacity.get();
        let new = if old == 0 { FIRST_CAPACITY } else { old * 2 };
        let (Ok(old_layout), Ok(layout)) = (Layout::array::<Work>(old), Layout::array::<Work>(new))
        else {
            return false;
        };
        let work = if old == 0 {
            // SAFETY: the size is not zero.
            unsafe { System.alloc(layout) }
        } else {
            // SAFETY: `work` came from `System` with `old_layout`; the new size is not zero and,
            // as `layout` exists, within the limits of `isize`.
            unsafe { System.realloc(self.work.get().cast(), old_layout, layout.size()) }
        };
        if work.is_null() {
            return false;
        }
        self.work.set(work.cast());
        self.capacity.set(new);
        true
    }

    fn free(&self) {
        let work = self.work.replace(ptr::null_mut());
        let capacity = self.capacity.replace(0);
        self.len.set(0);
        if let (false, Ok(layout)) = (work.is_null(), Layout::array::<Work>(capacity)) {
            // SAFETY: `work` came from `System` with this layout and is forgotten above.
            unsafe { System.dealloc(work.cast(), layout) };
        }
    }
}
