//! Units of work, which cross awaits, tasks and threads.

use crate::{Retained, Usage, engine};
use std::fmt;
use std::marker::PhantomData;

/// A unit of work whose cost is counted wherever it runs.
///
/// A thread works for a unit while it has [entered](Unit::enter) it. Each such stretch is a
/// *segment*; when it ends, its figures are added to the unit. Handles are cheap to clone, and
/// may be sent and shared.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::{Unit, in_current_unit};
///
/// let unit = Unit::new();
/// unit.run(|| {
///     let here = vec![0u8; 1000];
///     // The spawned thread works for the same unit: one word at the spawn.
///     std::thread::scope(|threads| {
///         threads.spawn(in_current_unit(|| drop(vec![0u8; 500])));
///     });
///     drop(here);
/// });
/// # #[cfg(feature = "track")]
/// assert!(unit.usage().alloc_bytes >= 1500);
/// ```
///
/// * Units nest: what is done for an inner unit on the same thread is in the outer one's figures
///   too. Entering a unit that this thread works for already counts nothing twice.
/// * A free is charged to the unit that frees. So [`live_bytes`](Usage::live_bytes) of a unit
///   that hands memory to others stays above zero, and may be negative for one that frees theirs.
///   [`retained`](Unit::retained) is the exact answer where memory changes hands.
/// * What a thread does while it works for a unit is the unit's, whoever asked for it: a worker of
///   a pool that waits inside a unit and takes another's job meanwhile, as rayon's do, does that job
///   inside. A job that enters its own unit is that unit's, too.
/// * [`peak_bytes`](Usage::peak_bytes) is exact as long as one thread at a time works for the
///   unit, as with a future that moves between workers. For segments that overlap in time it is
///   an estimate: a segment's own peak, on top of what the ended segments held when it started
///   or when it ended, whichever is higher. Exactness would need a counter shared between the
///   threads on every allocation.
///
/// # Cost
///
/// A handle is taken from a pool outside the tracked allocator: no allocation per unit once the
/// pool has grown to the number of units alive at once.
pub struct Unit {
    handle: engine::UnitHandle,
}

impl Unit {
    /// A new unit that has cost nothing yet.
    pub fn new() -> Self {
        Unit {
            handle: engine::UnitHandle::new(),
        }
    }

    /// A new unit with a name, by which [heap profiles](crate::profiler) call what it allocates.
    ///
    /// Of units that nest, the innermost with a name counts. Some 4,000 names are kept apart; past them
    /// units are called `other`. Without the feature `profile` it is [`Unit::new`].
    ///
    /// ```
    /// use alloc_tracker::Unit;
    ///
    /// let unit = Unit::named("checkout"); // so the heap profile calls what it holds
    /// unit.run(|| vec![0u8; 100].len());
    /// ```
    ///
    /// # Cost
    ///
    /// That of a unit, and of looking the name up under a lock: some 50 ns.
    pub fn named(name: &'static str) -> Self {
        let unit = Unit::new();
        unit.handle.set_name(crate::raw::UnitName::of(name).0);
        unit
    }

    /// A new unit that also follows every block it allocates until it is freed, by whomever: see
    /// [`retained`](Unit::retained).
    ///
    /// # Cost
    ///
    /// Made for tests and for hunting. While one exists, every thread takes the slow path of the
    /// allocator: some 30 ns for each block that it frees or allocates. The unit's own threads note
    /// each block, 60 ns; both grow with the table, to some 350 and 120 ns at 100,000 blocks, as
    /// does the memory that the tracker takes for it and keeps, 32 to 120 bytes a block.
    pub fn following() -> Self {
        Unit {
            handle: engine::UnitHandle::following(),
        }
    }

    /// What the unit has allocated and nobody has freed yet, if it was made by
    /// [`following`](Unit::following).
    ///
    /// [`Usage::live_bytes`] takes the unit's frees from its allocations, whoever's the blocks were.
    /// This is exact for memory that changes hands: a block that the unit leaves in a cache is
    /// retained until the cache drops it, on whatever thread and for whatever unit; a block that
    /// the unit frees for others does not count. A block that somebody resizes stays the unit's;
    /// if the unit enlarges a block of others that is in nobody's books, the growth is the unit's.
    /// What is done for a following unit is also in the books of the following unit that its thread
    /// worked for when it was made.
    ///
    /// `None` where this cannot be told: of units that do not follow their blocks; where the tracker
    /// is not installed; if there was no memory to note a block; if a block went into the books of a
    /// unit entered inside this one, but made outside of it; and if a unit made inside this one
    /// ended while blocks of it were in use.
    ///
    /// ```
    /// # #[global_allocator]
    /// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
    /// let unit = alloc_tracker::Unit::following();
    /// let cached = unit.run(|| vec![0u8; 100]);
    /// # #[cfg(feature = "track")]
    /// assert_eq!(unit.retained().unwrap().bytes, 100);
    /// std::thread::spawn(move || drop(cached)).join().unwrap();
    /// # #[cfg(feature = "track")] {
    /// assert_eq!(unit.retained().unwrap().bytes, 0);
    /// assert_eq!(unit.usage().live_bytes(), 100); // the other thread's free is not the unit's
    /// # }
    /// ```
    pub fn retained(&self) -> Option<Retained> {
        self.handle.retained()
    }

    /// This thread works for the unit until the returned guard is dropped.
    ///
    /// A guard that is held across an `.await` charges the unit with all that the thread does
    /// meanwhile, other tasks included: use [`InUnit`](crate::InUnit) for futures.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        Entered {
            segment: self.handle.open(),
            _unit: PhantomData,
        }
    }

    /// The same for a budget's unit, which leaves the thread's [current](Unit::current) one what it is.
    pub(crate) fn enter_for_budget(&self) -> Entered<'_> {
        Entered {
            segment: self.handle.open_for_budget(),
            _unit: PhantomData,
        }
    }

    /// Runs `work` for the unit.
    #[inline]
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        work()
    }

    /// The innermost unit that this thread works for.
    ///
    /// `None` outside of any unit, and always where the tracker is not
    /// [installed](crate::is_installed) or built without the feature `track`.
    ///
    /// ```
    /// # #[global_allocator]
    /// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
    /// use alloc_tracker::Unit;
    ///
    /// let unit = Unit::new();
    /// assert!(Unit::current().is_none());
    /// unit.run(|| {
    ///     # #[cfg(feature = "track")]
    ///     assert!(Unit::current().is_some());
    /// });
    /// ```
    pub fn current() -> Option<Unit> {
        engine::UnitHandle::current().map(|handle| Unit { handle })
    }

    /// What the unit has cost so far: every ended segment on every thread, and the calling
    /// thread's open one.
    ///
    /// A segment that is still open on another thread is not included.
    pub fn usage(&self) -> Usage {
        self.handle.usage()
    }

    pub(crate) fn from_handle(handle: engine::UnitHandle) -> Self {
        Unit { handle }
    }

    pub(crate) fn handle(&self) -> &engine::UnitHandle {
        &self.handle
    }
}

impl Clone for Unit {
    fn clone(&self) -> Self {
        Unit {
            handle: self.handle.clone(),
        }
    }
}

impl Default for Unit {
    fn default() -> Self {
        Unit::new()
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

/// A thread's work for a unit: ends when dropped. Made by [`Unit::enter`].
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::Unit;
///
/// let unit = Unit::new();
/// let entered = unit.enter();
/// let held = vec![0u8; 100];
/// drop(entered);
/// # #[cfg(feature = "track")]
/// assert_eq!(unit.usage().alloc_bytes, 100);
/// # drop(held);
/// ```
#[derive(Debug)]
#[must_use = "the thread works for the unit until this guard is dropped"]
pub struct Entered<'unit> {
    segment: engine::UnitSegment,
    /// Keeps the unit alive, and keeps the guard on its thread.
    _unit: PhantomData<(&'unit Unit, *mut ())>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        engine::close_for_unit(self.segment);
    }
}
