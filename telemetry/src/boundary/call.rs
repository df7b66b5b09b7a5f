//! One call across a boundary.

use crate::cost::{BoundaryId, BoundaryMetric};
use crate::instance::Lasting;
use crate::ledger::Untold;
use crate::live::{Crossing, LiveUnit, PlacedUnit};
use crate::thread::{self, AtWork, IfOver, WorksFor};
use std::time::Duration;

/// The unit that a call is of, in the eyes of one telemetry.
///
/// PERF: where the unit lies and what it does there, and what lasts of the telemetry, so that the telemetry need not be
/// asked for, which all threads would count the use of in one place. The place says whether it still is the unit's.
#[derive(Debug)]
struct Target {
    unit: PlacedUnit,
    crossed: &'static Crossing,
    /// The units around it, if there are any: what is done in a unit is done in them, whether it is over or not.
    outer: Option<Box<[PlacedUnit]>>,
    lasting: &'static Lasting,
    began: u64,
}

impl Target {
    #[inline(always)]
    fn begin(at_work: AtWork, boundary: BoundaryId, waits: bool) -> Self {
        let AtWork {
            unit,
            place,
            lasting,
            thread,
        } = at_work;
        let began = lasting.clock.now();
        let crossed = place.begin_call(boundary, (began, waits), thread);
        let outer = match place.outer() {
            None => None,
            Some(_) => begin_in_outer(place, |unit| {
                _ = unit.begin_call(boundary, (began, waits), thread);
            }),
        };
        // The unit may be in progress for long, and no thread leave it: what it does is to be written.
        lasting.bell.something_happened();
        Target {
            unit: PlacedUnit { unit, place },
            crossed,
            outer,
            lasting,
            began,
        }
    }

    /// Adds to what the unit and those around it do across the boundary.
    #[inline(always)]
    fn tell(&self, boundary: BoundaryId, each: impl Fn(&LiveUnit, &Crossing, bool)) {
        let thread = thread::number();
        match self.unit.live() {
            Some(unit) => {
                each(unit, self.crossed, unit.is_owner(thread));
                unit.has_crossed();
            }
            None => self.is_over(),
        }
        if let Some(outer) = &self.outer {
            for unit in outer.iter().filter_map(PlacedUnit::live) {
                each(unit, unit.crossing(boundary), unit.is_owner(thread));
                unit.has_crossed();
            }
        }
        self.lasting.bell.something_happened();
    }

    #[cold]
    #[inline(never)]
    fn is_over(&self) {
        self.lasting.untold.add(Untold::CallAfterEnd);
    }

    #[inline(always)]
    fn add(&self, boundary: BoundaryId, metric: BoundaryMetric, n: u64) {
        self.tell(boundary, |_, crossed, by_owner| {
            crossed.add(metric, n, by_owner)
        });
    }

    /// `waits`: it did nothing else.
    #[inline(always)]
    fn end(&self, boundary: BoundaryId, waits: bool) {
        let now = self.lasting.clock.now();
        let time = now.saturating_sub(self.began);
        self.tell(boundary, |unit, crossed, by_owner| {
            unit.waits_otherwise(now);
            if waits {
                crossed.add(BoundaryMetric::Waited, time, by_owner);
            }
            crossed.end(time, by_owner);
        });
    }
}

/// PERF: apart, as most units are inside of none.
#[cold]
#[inline(never)]
fn begin_in_outer(
    place: &'static LiveUnit,
    begin: impl Fn(&'static LiveUnit),
) -> Option<Box<[PlacedUnit]>> {
    let outer = alloc_tracker::raw::for_a_tool(|| PlacedUnit::around(place));
    outer.iter().filter_map(PlacedUnit::live).for_each(begin);
    Some(outer)
}

/// One call across a [`Boundary`](crate::Boundary), made by [`call!`](crate::call!).
///
/// It is counted when it is made, and lasts until it is dropped. It may be moved to other threads, and what is added after
/// its unit has ended is not counted. Outside of any unit it does nothing. If a panic drops it, it has failed.
///
/// ```
/// # use std::time::Duration;
/// let call = telemetry::call!("payments");
/// call.sent(512);
/// for attempt in 0..3 {
///     if attempt > 0 {
///         call.retried(); // one more call, and one retry
///     }
///     # break;
/// }
/// call.waited(Duration::from_micros(40)); // of the time that it took: for a connection, say
/// call.received(64);
/// ```
#[derive(Debug)]
#[must_use = "bind the call to a variable, and add to it what is sent and received: it lasts until it is dropped"]
pub struct Call {
    boundary: BoundaryId,
    /// It began while a panic unwound: that does not tell whether it has failed.
    in_unwinding: bool,
    /// It does nothing but wait for its turn.
    waits: bool,
    works_for: WorksFor<Target, Box<[Target]>>,
}

impl Call {
    // PERF: one call of a function where the program makes a call, and one where that ends.
    pub(super) fn begin(boundary: BoundaryId) -> Self {
        Call::begin_or_wait(boundary, false)
    }

    /// One that does nothing but wait, for a stream to be ready, and is no call before something [came](Call::came) of it.
    pub(super) fn waiting(boundary: BoundaryId) -> Self {
        Call::begin_or_wait(boundary, true)
    }

    #[inline(always)]
    fn begin_or_wait(boundary: BoundaryId, waits: bool) -> Self {
        let works_for = match thread::at_work() {
            WorksFor::Nothing => WorksFor::Nothing,
            WorksFor::One(at_work) => WorksFor::One(Target::begin(at_work, boundary, waits)),
            WorksFor::Several(()) => begin_in_all(boundary, waits),
        };
        Call {
            boundary,
            in_unwinding: std::thread::panicking(),
            waits,
            works_for,
        }
    }

    /// Something came of waiting: it is a call, and this is what it did.
    pub(super) fn came(&self, metric: BoundaryMetric, n: u64) {
        self.add(BoundaryMetric::Calls, 1);
        self.add(metric, n);
    }

    /// Whether it is of the unit that the thread works for, as far as is known.
    #[cfg(feature = "tokio")]
    pub(super) fn is_of_whom_the_thread_works_for(&self) -> bool {
        let unit = match &self.works_for {
            WorksFor::Nothing => None,
            WorksFor::One(target) => Some(target.unit.unit),
            WorksFor::Several(targets) => targets.first().map(|target| target.unit.unit),
        };
        unit == thread::unit_at_work()
    }

    /// Adds bytes that went out.
    pub fn sent(&self, bytes: u64) {
        self.add(BoundaryMetric::Sent, bytes);
    }

    /// Adds bytes that came in.
    pub fn received(&self, bytes: u64) {
        self.add(BoundaryMetric::Received, bytes);
    }

    /// The call is tried again: one more call, and one retry.
    pub fn retried(&self) {
        self.add(BoundaryMetric::Retries, 1);
    }

    /// The call has failed. Once more, and it has failed once more: as often as its retries.
    pub fn failed(&self) {
        self.add(BoundaryMetric::Failures, 1);
    }

    /// So much of the time that the call takes, it waits for its turn: for a connection of a pool, say.
    pub fn waited(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.add(BoundaryMetric::Waited, nanoseconds);
    }

    #[inline(always)]
    fn add(&self, metric: BoundaryMetric, n: u64) {
        match &self.works_for {
            WorksFor::Nothing => {}
            WorksFor::One(target) => target.add(self.boundary, metric, n),
            WorksFor::Several(targets) => add_in_all(targets, self.boundary, metric, n),
        }
    }
}

// PERF: apart, as there is one telemetry mostly.

#[cold]
#[inline(never)]
fn begin_in_all(boundary: BoundaryId, waits: bool) -> WorksFor<Target, Box<[Target]>> {
    alloc_tracker::raw::for_a_tool(|| {
        let mut targets = Vec::new();
        thread::at_work_for_all(IfOver::Untold, |at_work| {
            targets.push(Target::begin(at_work, boundary, waits))
        });
        match targets.len() {
            0 => WorksFor::Nothing,
            _ => WorksFor::Several(targets.into()),
        }
    })
}

#[cold]
#[inline(never)]
fn add_in_all(targets: &[Target], boundary: BoundaryId, metric: BoundaryMetric, n: u64) {
    (targets.iter()).for_each(|target| target.add(boundary, metric, n));
}

#[cold]
#[inline(never)]
fn end_in_all(targets: &mut Box<[Target]>, boundary: BoundaryId, waits: bool) {
    (targets.iter()).for_each(|target| target.end(boundary, waits));
    alloc_tracker::raw::for_a_tool(|| *targets = Box::default());
}

impl Drop for Call {
    fn drop(&mut self) {
        // What only waited was no call yet.
        if std::thread::panicking() && !self.in_unwinding && !self.waits {
            self.failed();
        }
        match &mut self.works_for {
            WorksFor::Nothing => {}
            WorksFor::One(target) => {
                target.end(self.boundary, self.waits);
                if let Some(outer) = target.outer.take() {
                    alloc_tracker::raw::for_a_tool(|| drop(outer));
                }
            }
            WorksFor::Several(targets) => end_in_all(targets, self.boundary, self.waits),
        }
    }
}
