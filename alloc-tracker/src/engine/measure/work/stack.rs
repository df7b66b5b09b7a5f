//! A thread's stack of work: its memory, and how entries come, go and are found in it.

use super::super::installed::is_installed;
use super::super::segments::{self, Segment};
use super::super::unit_pool::UnitRef;
use super::{UnitSegment, see_own_calls_or_not};
use crate::engine::attend;
use crate::engine::counter::block;
use crate::engine::counter::counts::Counts;
use crate::engine::watch::sites;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) id: u64,
    pub(super) unit: UnitRef,
    /// The unit's live bytes when the work began.
    pub(super) base: i64,
    pub(super) segment: Segment,
    /// False: the thread worked for the unit already, and that segment counts all this.
    pub(super) counts: bool,
    /// For a budget: [`current`] does not see it.
    pub(super) is_a_budgets: bool,
    /// How often allocations were suspended when the work began: those that are suspended since
    /// then are not the unit's.
    pub(super) suspended: u32,
}

/// The stack. It lies in memory from the system's allocator, so it is charged to nobody.
pub(super) struct Stack {
    first: Cell<*mut Work>,
    /// One past the last work.
    end: Cell<*mut Work>,
    /// One past the last place.
    limit: Cell<*mut Work>,
    next_id: Cell<u64>,
}

const FIRST_CAPACITY: usize = 32;

thread_local! {
    // As for the block: no initialiser that runs, no destructor.
    static STACK: Stack = const {
        Stack {
            first: Cell::new(ptr::null_mut()),
            end: Cell::new(ptr::null_mut()),
            limit: Cell::new(ptr::null_mut()),
            next_id: Cell::new(1),
        }
    };
}

/// The thread's stack.
///
/// PERF: not handed to a closure, which is then not inlined: 30 instructions an entry.
///
/// # Safety
///
/// The caller does not keep the reference.
#[inline(always)]
pub(super) unsafe fn stack<'a>() -> Option<&'a Stack> {
    let stack = STACK.try_with(ptr::from_ref).ok()?;
    // SAFETY: the thread-local is const-initialised and has no destructor, so it is in its place for as long
    // as its thread runs the caller, who keeps the reference no longer.
    Some(unsafe { &*stack })
}

/// In the numbers of work that begins when the thread has given up what it had: see [`Stack::free_if_detached`].
const DETACHED: u64 = 1 << 63;

impl Stack {
    /// Pushes the thread's only work, if that is so and the unit does not follow its blocks. `None`: nothing was done.
    #[inline(always)]
    pub(super) fn push_first(&self, unit: UnitRef) -> Option<UnitSegment> {
        let end = self.end.get();
        if end != self.first.get() || end == self.limit.get() || unit.follows() {
            return None;
        }
        // SAFETY: as in `push`.
        let segment = unsafe { &mut *(&raw mut (*end).segment).cast::<MaybeUninit<Segment>>() };
        if !segments::open_plainly(segment) {
            return None;
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        // SAFETY: as in `push`.
        unsafe {
            (&raw mut (*end).id).write(id);
            (&raw mut (*end).unit).write(unit);
            (&raw mut (*end).base).write(unit.live());
            (&raw mut (*end).counts).write(true);
            (&raw mut (*end).is_a_budgets).write(false);
            (&raw mut (*end).suspended).write(0);
            self.end.set(end.add(1));
        }
        Some(UnitSegment { id })
    }

    #[inline(always)]
    pub(super) fn push<const IS_A_BUDGETS: bool>(&self, unit: UnitRef) -> Option<UnitSegment> {
        if self.end.get() == self.limit.get() && !self.grow() {
            return None;
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let counts = self.counting(unit).is_none();
        // PERF: asked once.
        let follows = unit.follows();
        // PERF: nobody else asks for it.
        let suspended = if follows { sites::suspended() } else { 0 };
        let end = self.end.get();
        // SAFETY: `end` is below `limit`, so it is a place inside the stack's memory, and the
        // next one is at most one past it. `Work` is `Copy`, there is nothing to drop there, and the
        // place is written to the end before it is read.
        unsafe {
            (&raw mut (*end).id).write(id);
            (&raw mut (*end).unit).write(unit);
            (&raw mut (*end).base).write(unit.live());
            (&raw mut (*end).counts).write(counts);
            (&raw mut (*end).is_a_budgets).write(IS_A_BUDGETS);
            (&raw mut (*end).suspended).write(suspended);
            if !IS_A_BUDGETS && !self.any_of_units() {
                segments::go_inside();
            }
            let segment = &raw mut (*end).segment;
            segment.write(match counts {
                true => segments::open(),
                false => Segment::NEVER,
            });
            self.end.set(end.add(1));
        }
        if follows {
            see_own_calls_or_not();
        }
        // Somebody may have begun to watch since the thread last looked: what it allocates for the unit from here on is
        // not what it does for nobody.
        block::with(|block| {
            if block.published.is_alert() {
                block.look_at_next();
            }
        });
        Some(UnitSegment { id })
    }

    /// How much work there is.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let (first, end) = (self.first.get(), self.end.get());
        if first == end {
            return 0;
        }
        // SAFETY: both are of one block of memory, `end` not below `first`, and whole places lie between.
        unsafe { end.offset_from(first) as usize }
    }

    /// A copy of one: nobody has a reference into memory that may move.
    #[inline]
    fn at(&self, index: usize) -> Option<Work> {
        // SAFETY: below the length, all places are initialised, and only this thread touches them.
        (index < self.len()).then(|| unsafe { self.first.get().add(index).read() })
    }

    /// Copies of all, the outermost first. What goes meanwhile may be missing.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = Work> {
        (0..self.len()).filter_map(|index| self.at(index))
    }

    /// All, the outermost first.
    ///
    /// PERF: a copy of one is a hundred bytes.
    ///
    /// # Safety
    ///
    /// Nothing is pushed, removed or handed over while the caller has a reference.
    #[inline(always)]
    pub(super) unsafe fn refs(&self) -> impl DoubleEndedIterator<Item = &Work> {
        let first = self.first.get();
        // SAFETY: below the length, all places are initialised, and only this thread touches them; for how long, the caller
        // sees to.
        (0..self.len()).map(move |index| unsafe { &*first.add(index) })
    }

    /// Where the outermost work for a unit is.
    #[inline]
    pub(super) fn position(&self, unit: UnitRef) -> Option<usize> {
        // SAFETY: nothing is kept.
        unsafe { self.refs() }
            .enumerate()
            .find_map(|(index, work)| (work.unit == unit).then_some(index))
    }

    /// The only one.
    ///
    /// # Safety
    ///
    /// As for [`Stack::last`].
    #[inline(always)]
    pub(super) unsafe fn only(&self) -> Option<&Work> {
        let first = self.first.get();
        let is_only = self.end.get() == first.wrapping_add(1);
        // SAFETY: there is one, so the first place is initialised, and only this thread touches it; for how long, the
        // caller sees to.
        is_only.then(|| unsafe { &*first })
    }

    /// The innermost one.
    ///
    /// # Safety
    ///
    /// Nothing is pushed, removed or handed over while the caller has the reference.
    #[inline(always)]
    pub(super) unsafe fn last(&self) -> Option<&Work> {
        let (first, end) = (self.first.get(), self.end.get());
        // SAFETY: `end` is above `first`, so the place before it is initialised, and only this thread touches it;
        // for how long, the caller sees to.
        (first != end).then(|| unsafe { &*end.sub(1) })
    }

    /// The work whose segment counts for `unit`.
    ///
    /// PERF: by pointers: the length of a slice is a division.
    #[inline(always)]
    pub(super) fn counting(&self, unit: UnitRef) -> Option<&Work> {
        let mut at = self.first.get();
        while at != self.end.get() {
            // SAFETY: between `first` and `end`, as in `all`.
            let work = unsafe { &*at };
            if work.unit == unit && work.counts {
                return Some(work);
            }
            // SAFETY: at most one past the last.
            at = unsafe { at.add(1) };
        }
        None
    }

    /// Whether the thread works for any unit that is not a budget's.
    pub(super) fn any_of_units(&self) -> bool {
        // SAFETY: nothing is kept.
        unsafe { self.refs() }.any(|work| !work.is_a_budgets)
    }

    /// Whether this, which is not there any more, was the last work for any.
    pub(super) fn last_of_units(&self, work: &Work) -> bool {
        !work.is_a_budgets && !self.any_of_units()
    }

    /// The last one goes.
    #[inline(always)]
    pub(super) fn pop(&self) {
        // SAFETY: there is a last one, so this stays inside the stack's memory.
        self.end.set(unsafe { self.end.get().sub(1) });
    }

    #[cold]
    pub(super) fn remove(&self, id: u64) -> Option<Work> {
        let has_id = |index: &usize| self.at(*index).is_some_and(|work| work.id == id);
        let index = (0..self.len()).rev().find(has_id)?;
        let work = self.at(index)?;
        let above = self.len() - index - 1;
        // SAFETY: both ranges lie inside the initialised part.
        unsafe {
            let at = self.first.get().add(index);
            ptr::copy(at.add(1), at, above);
        }
        self.pop();
        Some(work)
    }

    #[cold]
    pub(super) fn hand_over(&self, heir: usize, of: Work) {
        let Some(mut work) = self.at(heir) else {
            return;
        };
        work.base = of.base;
        work.segment = of.segment;
        work.counts = true;
        // SAFETY: `at` has found something there: the place is inside the stack's memory.
        unsafe { self.first.get().add(heir).write(work) };
    }

    /// Whether `release_stack` has been, or will not be.
    #[inline(always)]
    pub(super) fn is_detached(&self) -> bool {
        self.next_id.get() & DETACHED != 0
    }

    /// If the thread is ending and `release_stack` has been.
    #[inline(always)]
    pub(super) fn free_if_detached(&self) {
        if self.is_detached() && self.first.get() == self.end.get() {
            self.free();
        }
    }

    /// Takes out the work for units that are over: their guards were forgotten, or are on other threads.
    /// Returns how many are left.
    #[cold]
    fn bury(&self) -> usize {
        let mut left = 0;
        for work in self.all() {
            if work.unit.is_alive() {
                // SAFETY: this many or more were looked at: the place is inside the initialised part, and what was there
                // has been copied.
                unsafe { self.first.get().add(left).write(work) };
                left += 1;
            } else if work.counts {
                segments::end(work.segment);
            }
        }
        if left < self.len() {
            // SAFETY: `left` is below the number of places up to the end.
            self.end.set(unsafe { self.first.get().add(left) });
            if !self.any_of_units() && segments::inside_so_far().is_some() {
                segments::go_outside(Counts::ZERO);
            }
            see_own_calls_or_not();
        }
        left
    }

    /// Makes room, and doubles the capacity if there is little; false if the system has no memory, or nothing is tracked.
    #[cold]
    fn grow(&self) -> bool {
        if !is_installed() {
            return false;
        }
        // So that `release_stack` is called, even if this thread never allocates.
        attend::when_the_thread_ends(super::release_stack);
        if block::with(|block| block.is_detached()) {
            self.next_id.set(self.next_id.get() | DETACHED);
        }
        let full = self.len();
        let len = self.bury();
        if len < full / 2 {
            return true;
        }
        let capacity = if full == 0 { FIRST_CAPACITY } else { full * 2 };
        let (Ok(old), Ok(new)) = (Layout::array::<Work>(full), Layout::array::<Work>(capacity))
        else {
            return false;
        };
        let first = if full == 0 {
            // SAFETY: the size is not zero.
            unsafe { System.alloc(new) }
        } else {
            // SAFETY: the stack was full, so `first` came from `System` with `old`; the new size is
            // not zero and, as `new` exists, within the limits of `isize`.
            unsafe { System.realloc(self.first.get().cast(), old, new.size()) }
        };
        if first.is_null() {
            return false;
        }
        let first = first.cast::<Work>();
        self.first.set(first);
        // SAFETY: `len` and `capacity` are within the fresh memory.
        unsafe {
            self.end.set(first.add(len));
            self.limit.set(first.add(capacity));
        }
        true
    }

    pub(super) fn free(&self) {
        let first = self.first.replace(ptr::null_mut());
        let limit = self.limit.replace(ptr::null_mut());
        self.end.set(ptr::null_mut());
        if first.is_null() {
            return;
        }
        // SAFETY: both belong to the block of memory that `grow` made.
        let capacity = unsafe { limit.offset_from(first) as usize };
        if let Ok(layout) = Layout::array::<Work>(capacity) {
            // SAFETY: `first` came from `System` with this layout and is forgotten above.
            unsafe { System.dealloc(first.cast(), layout) };
        }
    }
}
