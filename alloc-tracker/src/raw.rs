//! What the `telemetry` crate needs of this one: units for tables that are all atomics. Not for users, and not covered by semantic versioning.
//!
//! Wrong use (a segment closed on another thread, work for a unit that is over) gives wrong
//! figures, never undefined behaviour: the memory of a unit is only ever reused for units.

pub use crate::escape::{escaped, fit, unshown};
pub use crate::fork::{Guard, Lock, generation, is_child};

use crate::Usage;
use crate::engine;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// Runs work of a tool: as [`excluded`](crate::excluded) work, but no figure of the process has it
/// either.
///
/// What is allocated inside must be freed inside: [`Own`] sees to that.
pub fn for_a_tool<T>(work: impl FnOnce() -> T) -> T {
    let _excluded = engine::Excluded::start_a_tools();
    work()
}

/// Runs [`excluded`](crate::excluded) work, and says what that cost. `None`: a measurement began inside of it that goes on,
/// and nothing was excluded.
pub fn excluded_and_measured<T>(work: impl FnOnce() -> T) -> (T, Option<Usage>) {
    let excluded = engine::Excluded::start();
    // Inside, and left there.
    let scope = crate::Scope::enter();
    let done = work();
    let usage = scope.finish();
    (done, excluded.finish().then_some(usage))
}

/// Runs the program's own code on a thread, or inside of work, that is [a tool's](for_a_tool): what it
/// allocates and frees is the process's again, though no unit's.
pub fn for_the_program<T>(work: impl FnOnce() -> T) -> T {
    let _paused = engine::Paused::start();
    work()
}

/// What the calling thread allocates and frees from here on is [for a tool](for_a_tool), and no sample of
/// the heap profiler.
pub fn be_a_tools_own() {
    engine::be_a_tools_own();
}

/// What was allocated and freed [for tools](for_a_tool), on all threads: what
/// [`process_usage`](crate::process_usage) does not have.
pub fn tools_usage() -> Usage {
    engine::tools_usage()
}

/// What each thread that is there now allocated and freed while it worked for no unit, by the number that the system has for
/// it; 0 where it is not known. What those did that have exited is missing.
pub fn outside_by_thread() -> Vec<(u32, Usage)> {
    engine::outside_by_thread()
}

/// What a tool keeps: its end is [for the tool](for_a_tool), wherever it happens.
#[derive(Debug, Default)]
pub struct Own<T>(ManuallyDrop<T>);

impl<T> Own<T> {
    /// Wraps a value, which is made for the tool, too.
    pub const fn new(value: T) -> Self {
        Own(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Own<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        // SAFETY: this is the value's end: nobody has it after its wrapper.
        for_a_tool(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// The name of a unit, looked up once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitName(pub(crate) u32);

impl UnitName {
    /// Looks a name up. Locks.
    #[cfg(feature = "profile")]
    pub fn of(name: &str) -> Self {
        UnitName(engine::profile::names::number(name))
    }

    /// No name: heap profiles alone have them.
    #[cfg(not(feature = "profile"))]
    pub fn of(_name: &str) -> Self {
        UnitName::default()
    }
}

/// The allocations of one unit after another, for a table whose places are used again. A place has one for good.
#[derive(Debug)]
pub struct Account(engine::Account);

impl Default for Account {
    fn default() -> Self {
        Account::new()
    }
}

impl Account {
    /// Of a first unit.
    pub fn new() -> Self {
        Account(engine::Account::new())
    }

    /// Names the unit in heap profiles.
    #[inline]
    pub fn set_name(&self, name: UnitName) {
        self.0.set_name(name.0);
    }

    /// What every ended segment of the unit cost, on any thread; `None` if nobody counts.
    pub fn ended_usage(&self) -> Option<Usage> {
        self.0.ended_usage()
    }

    /// Ends the unit: its figures. Nobody works for it any more, not even the calling thread. From here on this is
    /// about the next one.
    ///
    /// Costs less than a new unit: the old one is cleared, unless somebody else has a handle of it.
    #[inline]
    pub fn exchange(&self) -> Usage {
        self.0.exchange()
    }

    /// The calling thread starts to work for the unit, until [`Segment::close`].
    ///
    // PERF: inlined, as is the end, into the program: in a library the address of a thread-local is a function's
    // answer as far as the compiler knows, and registers are saved for it.
    #[inline]
    pub fn open(&self) -> Segment {
        Segment(self.0.open())
    }
}

/// A thread's open work for a unit.
#[derive(Clone, Copy, Debug)]
pub struct Segment(engine::UnitSegment);

impl Segment {
    /// No work for any unit.
    pub const NONE: Segment = Segment(engine::UnitSegment::NONE);

    /// Ends the work: the unit has its figures.
    #[inline]
    pub fn close(self) {
        engine::close_for_unit(self.0);
    }

    /// What the work has cost so far; `None` if nobody counts, or it is not open on the calling thread.
    #[cold]
    pub fn so_far(&self) -> Option<Usage> {
        engine::so_far_for_unit(self.0)
    }

    /// Ends the work, of which nobody knows what was the unit's: none of it is in its figures.
    pub fn abandon(self) {
        engine::abandon_for_unit(self.0);
    }
}
