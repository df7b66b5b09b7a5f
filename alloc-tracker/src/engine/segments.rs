//! The open measurements of a thread: a stack of segments, one for each open scope and each
//! entered unit.
//!
//! A segment's figures are the difference of the thread's counters between its two ends, so
//! nesting costs nothing: the outer difference contains the inner one. Only the peak needs care.
//! The block's `peak` is the highest live level while the *innermost* segment has been innermost;
//! each segment remembers what `peak` was before it was opened:
//!
//! ```text
//!   open:   outer_peak := block.peak      block.peak := live
//!   close:  own peak = max(block.peak, outer_peak of every segment above it) − live at open
//!           block.peak := max(block.peak, outer_peak)
//! ```
//!
//! Guards may be dropped in any order (a guard held by a future, say). A segment is found by its
//! id from the top, and the ones above it move down.

use super::counts::Counts;
use super::unit_pool::UnitRef;
use super::{block, sites};
use crate::Usage;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// Names an open segment of the thread that opened it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// 0: there was no memory for the segment; it measures nothing.
    id: u64,
}

#[derive(Clone, Copy)]
struct Frame {
    id: u64,
    start: Counts,
    /// The block's `peak` when this segment was opened.
    outer_peak: i64,
    unit: Option<UnitFrame>,
}

#[derive(Clone, Copy)]
struct UnitFrame {
    unit: UnitRef,
    /// The unit's live bytes when the segment was opened.
    base: i64,
    /// The thread worked for the unit already: an outer segment counts all this.
    passive: bool,
}

/// The stack. It lies in memory from the system's allocator, so it is charged to nobody.
struct Stack {
    frames: Cell<*mut Frame>,
    len: Cell<usize>,
    capacity: Cell<usize>,
    next_id: Cell<u64>,
}

const FIRST_CAPACITY: usize = 32;

thread_local! {
    // As for the block: no initialiser that runs, no destructor.
    static STACK: Stack = const {
        Stack {
            frames: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
            capacity: Cell::new(0),
            next_id: Cell::new(1),
        }
    };
}

/// Opens a segment for no unit.
#[inline]
pub(crate) fn open() -> Segment {
    push(None)
}

/// Opens a segment for `unit`.
#[inline]
pub(super) fn open_for(unit: UnitRef) -> Segment {
    push(Some(unit))
}

#[inline]
fn push(unit: Option<UnitRef>) -> Segment {
    with_stack(|stack| {
        let unit = unit.map(|unit| UnitFrame {
            unit,
            base: unit.live(),
            passive: stack.frames().iter().any(|f| f.is_for(unit)),
        });
        if stack.len.get() == stack.capacity.get() && !stack.grow() {
            return None;
        }
        let id = stack.next_id.get();
        stack.next_id.set(id + 1);
        block::with(|block| {
            let start = block.counts();
            let frame = Frame {
                id,
                start,
                outer_peak: block.peak(),
                unit,
            };
            block.set_peak(start.live());
            // SAFETY: `len < capacity`, so the place is inside the stack's memory; `Frame` is
            // `Copy`, there is nothing to drop there.
            unsafe { stack.frames.get().add(stack.len.get()).write(frame) };
        });
        stack.len.set(stack.len.get() + 1);
        Some(Segment { id })
    })
    .unwrap_or(Segment { id: 0 })
}

/// The figures of an open segment so far.
#[inline]
pub(crate) fn read(segment: Segment) -> Usage {
    with_stack(|stack| {
        let index = stack.position(segment)?;
        Some(stack.usage_of(index))
    })
    .filter(|_| super::is_installed())
    .unwrap_or_else(Usage::untracked)
}

/// Ends a segment: its figures, which its unit now has too.
#[inline]
pub(crate) fn close(segment: Segment) -> Usage {
    with_stack(|stack| {
        let index = stack.position(segment)?;
        let usage = stack.usage_of(index);
        let frame = stack.remove(index);
        if let Some(UnitFrame {
            unit,
            base,
            passive: false,
        }) = frame.unit
        {
            unit.add(
                block::with(|b| b.counts()).minus(frame.start),
                base,
                usage.peak_bytes as i64,
            );
        }
        Some(usage)
    })
    .filter(|_| super::is_installed())
    .unwrap_or_else(Usage::untracked)
}

/// The innermost unit that this thread works for and that still exists.
pub(super) fn innermost_unit<T>(mut accept: impl FnMut(UnitRef) -> Option<T>) -> Option<T> {
    with_stack(|stack| {
        let frames = stack.frames().iter().rev();
        frames.filter_map(|f| f.unit).find_map(|u| accept(u.unit))
    })
}

/// The calling thread's open work for `unit`: its figures, and the unit's live bytes when it was
/// opened.
pub(super) fn open_usage(unit: UnitRef) -> Option<(Usage, i64)> {
    with_stack(|stack| {
        let index = stack.frames().iter().position(|f| f.is_for(unit))?;
        let base = stack.frames()[index].unit.map_or(0, |u| u.base);
        Some((stack.usage_of(index), base))
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
    counts: Counts,
    peak: i64,
    _not_send: std::marker::PhantomData<*mut ()>,
}

impl Excluded {
    #[inline]
    pub(crate) fn start() -> Self {
        let (counts, peak) = block::with(|b| (b.counts(), b.peak()));
        sites::suspend();
        Excluded {
            counts,
            peak,
            _not_send: std::marker::PhantomData,
        }
    }
}

impl Drop for Excluded {
    fn drop(&mut self) {
        block::with(|block| block.rewind(self.counts, self.peak));
        sites::resume();
    }
}

#[inline(always)]
fn with_stack<T>(f: impl FnOnce(&Stack) -> Option<T>) -> Option<T> {
    STACK.try_with(f).ok().flatten()
}

impl Frame {
    fn is_for(&self, unit: UnitRef) -> bool {
        self.unit.is_some_and(|u| u.unit == unit)
    }
}

impl Stack {
    #[inline]
    fn frames(&self) -> &[Frame] {
        if self.len.get() == 0 {
            return &[];
        }
        // SAFETY: the first `len` places are initialised, and only this thread touches them. The
        // slice is used up before the stack changes: no caller keeps it across a call that does.
        unsafe { std::slice::from_raw_parts(self.frames.get(), self.len.get()) }
    }

    #[inline]
    fn position(&self, segment: Segment) -> Option<usize> {
        self.frames().iter().rposition(|f| f.id == segment.id)
    }

    #[inline]
    fn usage_of(&self, index: usize) -> Usage {
        let frames = self.frames();
        let start = frames[index].start;
        block::with(|block| {
            let above = frames[index + 1..].iter().map(|f| f.outer_peak);
            let peak = above.fold(block.peak(), i64::max);
            let counts = block.counts().minus(start);
            counts.usage(peak.wrapping_sub(start.live()))
        })
    }

    #[inline]
    fn remove(&self, index: usize) -> Frame {
        let frame = self.frames()[index];
        let len = self.len.get() - 1;
        self.len.set(len);
        // What the level below reached before this segment was opened is its peak again, joined
        // with what this one reached: it lay on top of it.
        if index == len {
            block::with(|b| b.set_peak(b.peak().max(frame.outer_peak)));
        } else {
            // SAFETY: `index < len` and the old length was `len + 1`: both ranges lie inside the
            // initialised part.
            let next = unsafe {
                let at = self.frames.get().add(index);
                ptr::copy(at.add(1), at, len - index);
                &mut *at
            };
            next.outer_peak = next.outer_peak.max(frame.outer_peak);
        }
        frame
    }

    /// Doubles the capacity; false if the system has no memory.
    #[cold]
    fn grow(&self) -> bool {
        let old = self.capacity.get();
        let new = if old == 0 { FIRST_CAPACITY } else { old * 2 };
        let (Ok(old_layout), Ok(layout)) =
            (Layout::array::<Frame>(old), Layout::array::<Frame>(new))
        else {
            return false;
        };
        let frames = if old == 0 {
            // SAFETY: the size is not zero.
            unsafe { System.alloc(layout) }
        } else {
            // SAFETY: `frames` came from `System` with `old_layout`; the new size is not zero
            // and, as `layout` exists, within the limits of `isize`.
            unsafe { System.realloc(self.frames.get().cast(), old_layout, layout.size()) }
        };
        if frames.is_null() {
            return false;
        }
        self.frames.set(frames.cast());
        self.capacity.set(new);
        true
    }

    fn free(&self) {
        let frames = self.frames.replace(ptr::null_mut());
        let capacity = self.capacity.replace(0);
        self.len.set(0);
        if let (false, Ok(layout)) = (frames.is_null(), Layout::array::<Frame>(capacity)) {
            // SAFETY: `frames` came from `System` with this layout and is forgotten above.
            unsafe { System.dealloc(frames.cast(), layout) };
        }
    }
}
