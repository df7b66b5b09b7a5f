//! The units that a thread works for: a thread-local stack, where `Unit::current` and `Unit::usage`
//! find them.

mod stack;

use super::installed::is_installed;
use super::segments;
use super::unit_pool::UnitRef;
use crate::Usage;
use crate::engine::counter::block;
use crate::engine::counter::counts::Counts;
use crate::engine::watch::sites;
use stack::{Stack, Work, stack};
use std::alloc::{Layout, handle_alloc_error};

/// Names the work of a thread for a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitSegment {
    /// 0: there was no memory to remember the work; it is not counted.
    id: u64,
}

impl UnitSegment {
    /// No work.
    pub(crate) const NONE: UnitSegment = UnitSegment { id: 0 };
}

/// The thread starts to work for `unit`.
#[inline]
pub(crate) fn open_for(unit: UnitRef) -> UnitSegment {
    // SAFETY: it is not kept.
    match unsafe { stack() }.and_then(|stack| stack.push_first(unit)) {
        Some(segment) => segment,
        None => open_otherwise(unit),
    }
}

/// PERF: apart, so that the common path keeps nothing in registers that it must save.
#[inline(never)]
fn open_otherwise(unit: UnitRef) -> UnitSegment {
    push::<false>(unit)
}

/// The same for that of a budget, which leaves the thread's current unit what it is.
#[cold]
pub(crate) fn open_for_budget(unit: UnitRef) -> UnitSegment {
    let segment = push::<true>(unit);
    if segment.id == UnitSegment::NONE.id && is_installed() {
        // Work that is not counted would keep within any budget.
        handle_alloc_error(Layout::new::<Work>());
    }
    segment
}

/// PERF: a function of its own for each, so that the one is inlined where it is called.
#[inline(always)]
fn push<const IS_A_BUDGETS: bool>(unit: UnitRef) -> UnitSegment {
    // SAFETY: it is not kept.
    let pushed = unsafe { stack() }.and_then(|stack| stack.push::<IS_A_BUDGETS>(unit));
    pushed.unwrap_or_else(|| {
        if unit.follows() {
            unit.lose_track();
        }
        UnitSegment::NONE
    })
}

/// The thread's work ends, and the unit has its figures.
#[inline]
pub(crate) fn close_for_unit(segment: UnitSegment) {
    // SAFETY: it is not kept.
    if let Some(stack) = unsafe { stack() } {
        if stack.close_first(segment).is_none() {
            close_otherwise(segment);
        }
    }
}

/// PERF: as [`open_otherwise`].
#[inline(never)]
fn close_otherwise(segment: UnitSegment) {
    with_stack(|stack| stack.close(segment));
}

/// What the calling thread's open work has cost so far.
pub(crate) fn so_far_for_unit(segment: UnitSegment) -> Option<Usage> {
    with_stack(|stack| {
        // SAFETY: what is looked up pushes nothing.
        let work = unsafe { stack.refs() }
            .rev()
            .find(|work| work.id == segment.id)?;
        work.counts.then(|| segments::so_far(work.segment))
    })
}

/// The thread's work ends, and is nobody's: how much of it was for the unit cannot be told.
#[cold]
pub(crate) fn abandon_for_unit(segment: UnitSegment) {
    with_stack(|stack| {
        let work = stack.remove(segment.id)?;
        if work.unit.follows() {
            see_own_calls_or_not();
        }
        if work.counts {
            segments::end(work.segment);
            if stack.last_of_units(&work) {
                segments::go_outside(Counts::ZERO);
            }
            // What the thread does for the unit from here on, it can tell.
            let heir = stack.position(work.unit);
            if let Some(heir) = heir {
                let fresh = Work {
                    base: work.unit.live(),
                    segment: segments::open(),
                    ..work
                };
                stack.hand_over(heir, fresh);
            }
        }
        stack.free_if_detached();
        Some(())
    });
}

/// The innermost unit that this thread works for and that `accept` takes.
pub(crate) fn current<T>(mut accept: impl FnMut(UnitRef) -> Option<T>) -> Option<T> {
    with_stack(|stack| {
        let work = stack.all().rev();
        let mut seen = work.filter(|work| !work.is_a_budgets);
        seen.find_map(|work| accept(work.unit))
    })
}

/// The units of the budgets that this thread works for, the outermost first.
pub(crate) fn of_budgets<T>(accept: impl Fn(UnitRef) -> Option<T>) -> Option<Box<[T]>> {
    with_stack(|stack| {
        let budgets = || stack.all().filter(|work| work.is_a_budgets);
        // Nobody but tests has any.
        budgets().next()?;
        let _excluded = segments::Excluded::start_a_tools();
        Some(budgets().filter_map(|work| accept(work.unit)).collect())
    })
}

/// The number of the name of the innermost unit that has one; 0: none has.
#[cfg(feature = "profile")]
pub(crate) fn unit_name() -> u32 {
    let named = with_stack(|stack| {
        let mut names = stack.all().rev().map(|work| work.unit.name());
        names.find(|&name| name != 0)
    });
    named.unwrap_or(0)
}

/// Whether the thread works for a unit.
pub(crate) fn any() -> bool {
    with_stack(|stack| Some(stack.len() > 0)).unwrap_or(false)
}

/// The innermost unit that follows its blocks and that this thread's allocations are for.
pub(crate) fn followed() -> Option<UnitRef> {
    let mut innermost = None;
    each_followed(|unit| {
        innermost.get_or_insert(unit);
    });
    innermost
}

/// Calls `each` with every such unit, the innermost first.
pub(crate) fn each_followed(mut each: impl FnMut(UnitRef)) {
    let now = sites::suspended();
    with_stack(|stack| {
        let work = stack.all().rev();
        work.filter(|work| work.unit.follows() && work.suspended == now)
            .for_each(|work| each(work.unit));
        Some(())
    });
}

/// Has the thread look at each of its calls if there is anything to see: a budget that notes call
/// sites, a unit that follows its blocks.
#[cold]
pub(crate) fn see_own_calls_or_not() {
    let follows = with_stack(|stack| {
        let mut work = stack.all();
        Some(work.any(|work| work.unit.follows()))
    });
    let watch = sites::any_open() || follows.unwrap_or(false);
    block::with(|block| block.watch_own(watch));
}

/// The calling thread's open work for `unit`: its figures, and the unit's live bytes when it
/// began.
pub(crate) fn open_usage(unit: UnitRef) -> Option<(Usage, i64)> {
    with_stack(|stack| {
        let work = stack.counting(unit)?;
        Some((segments::so_far(work.segment), work.base))
    })
}

/// Gives the stack's memory back when the thread ends.
pub(crate) fn release_stack() {
    with_stack(|stack| {
        stack.free();
        Some(())
    });
}

fn with_stack<T>(f: impl FnOnce(&Stack) -> Option<T>) -> Option<T> {
    // SAFETY: `f` cannot keep it.
    f(unsafe { stack() }?)
}

impl Stack {
    /// Closes what is the thread's only work, if that is for a unit and in a plain measurement. `None`: it is not, nothing was done.
    #[inline(always)]
    fn close_first(&self, segment: UnitSegment) -> Option<()> {
        // SAFETY: what follows pushes nothing while it has the reference: it pops, after which the place stays as it
        // is until the next push.
        let work = unsafe { self.only() }?;
        if work.id != segment.id || work.unit.follows() || !work.counts || work.is_a_budgets {
            return None;
        }
        if self.is_detached() {
            return None;
        }
        let add = |counts, peak| work.unit.add(counts, work.base, peak);
        segments::end_plainly(&work.segment, || self.pop(), add).then_some(())
    }

    #[inline(always)]
    fn close(&self, segment: UnitSegment) -> Option<()> {
        // SAFETY: what follows pushes nothing while it has the reference: it may pop, after which the place stays
        // as it is until the next push. PERF: by reference: nothing is copied out of the stack on the common path.
        let work = match unsafe { self.last() } {
            Some(last) if last.id == segment.id => {
                self.pop();
                last
            }
            _ => &self.remove(segment.id)?,
        };
        let unit = work.unit;
        if unit.follows() {
            see_own_calls_or_not();
        }
        if !work.counts {
            return Some(());
        }
        // Guards may be dropped in any order: if the thread still works for the unit, by another
        // guard, that one takes the segment over.
        if self.len() > 0 {
            if let Some(heir) = self.position(unit) {
                self.hand_over(heir, *work);
                return Some(());
            }
        }
        let inside = self.last_of_units(work).then(segments::inside_so_far);
        let (counts, peak) = segments::end(work.segment);
        let is_its = unit.add(counts, work.base, peak);
        if let Some(inside) = inside.flatten() {
            // What came too late for its unit is no unit's.
            segments::go_outside(if is_its { inside } else { Counts::ZERO });
        }
        self.free_if_detached();
        Some(())
    }
}
