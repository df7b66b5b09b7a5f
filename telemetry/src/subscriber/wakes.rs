//! When a future is woken, and when it is polled for that: in between, its unit waits for a thread.

use crate::instance::Lasting;
use crate::live::{PlacedUnit, UnitRef};
use crate::thread::{self, AtWork, IfOver};
use alloc_tracker::raw::{for_a_tool, generation};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

/// The same future, whose wake-ups are seen: the time from one to the next poll is `queued` in the unit that it is polled
/// in, as far as no thread works for that. What [`spawn`](super::follow::spawn) and its like start has it.
///
/// A part of a task that was woken, and is not polled as another part of a `select!` was ready before it, is `queued` until it
/// is polled or dropped: the whole task is what to see the wake-ups of.
///
/// It belongs inside of what enters the span: `wakes(work).instrument(span)`.
///
/// ```
/// use telemetry::follow::wakes;
/// use tracing::Instrument;
///
/// # async fn answer() {}
/// let request = wakes(answer()).instrument(tracing::info_span!("request"));
/// # drop(request);
/// ```
///
/// # Cost
///
/// Two allocations when it is first polled, none later, which no unit has; for each wake-up a reading of the clock, some
/// locked instructions and a lock that is mostly free.
pub fn wakes<F: Future>(future: F) -> Wakes<F> {
    Wakes {
        seen: Seen::default(),
        future,
    }
}

/// The same of one that is about to be polled for the first time.
#[cfg(feature = "tokio")]
pub(super) fn woken<F: Future>(future: F) -> Wakes<F> {
    let mut woken = wakes(future);
    woken.seen.is_woken();
    woken
}

pin_project! {
    /// A future whose wake-ups are seen, made by [`wakes`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Wakes<F> {
        seen: Seen,
        #[pin]
        future: F,
    }
}

/// What is kept for a future. Nobody looks for wake-ups any more when it is dropped.
#[derive(Default)]
struct Seen {
    shared: Option<Arc<Shared>>,
    /// The waker that leads to it.
    waker: Option<Waker>,
    /// What wakes the task, as it was handed on last: it seldom changes.
    task: Option<Waker>,
    /// The unit that it was polled in last.
    unit: Option<UnitRef>,
}

/// What its waker has.
struct Shared {
    /// It was woken, and is not polled yet. Changes while `rest` is locked.
    woken: AtomicBool,
    /// The process in which it was locked last, of a line of forks.
    generation: AtomicU32,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    /// The task's own waker.
    task: Option<Waker>,
    /// In what units it was polled last, by each telemetry, and in which those are; none: it is over.
    units: Vec<Target>,
}

/// A unit, in the eyes of one telemetry.
#[derive(Clone, Copy)]
struct Target {
    unit: PlacedUnit,
    lasting: &'static Lasting,
}

impl Shared {
    /// `None` in the child of a fork that came while another thread had it: nobody wakes what it is about any more.
    fn rest(&self) -> Option<MutexGuard<'_, Rest>> {
        let now = generation();
        if self.generation.load(Relaxed) == now {
            return Some(self.rest.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let rest = match self.rest.try_lock() {
            Ok(rest) => rest,
            Err(TryLockError::Poisoned(rest)) => rest.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // No thread of the parent has it: it is as any other from here on.
        self.generation.store(now, Relaxed);
        Some(rest)
    }

    fn is_woken(&self, rest: &Rest) {
        if !self.woken.swap(true, Relaxed) {
            for Target { unit, lasting } in &rest.units {
                if let Some(unit) = unit.live() {
                    unit.is_woken(lasting.clock.now());
                }
            }
        }
    }

    fn is_polled(&self, rest: &Rest) {
        if self.woken.swap(false, Relaxed) {
            for Target { unit, lasting } in &rest.units {
                if let Some(unit) = unit.live() {
                    unit.is_polled(|| lasting.clock.now());
                }
            }
        }
    }
}

impl Rest {
    /// It is polled in the units that this thread works for.
    fn is_in(&mut self) {
        let units = &mut self.units;
        units.clear();
        for_a_tool(|| {
            thread::at_work_for_all(IfOver::Nothing, |at_work| {
                let AtWork {
                    unit,
                    place,
                    lasting,
                    ..
                } = at_work;
                let innermost = PlacedUnit { unit, place };
                let outer = match place.outer() {
                    None => Box::default(),
                    Some(_) => PlacedUnit::around(place),
                };
                for unit in [innermost].into_iter().chain(outer) {
                    if let Some(live) = unit.live() {
                        live.has_waker();
                        units.push(Target { unit, lasting });
                    }
                }
            });
        });
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        for_a_tool(|| {
            Arc::new(Shared {
                woken: AtomicBool::new(false),
                generation: AtomicU32::new(generation()),
                rest: Mutex::default(),
            })
        })
    }

    fn wake(&self) {
        let Some(rest) = self.rest() else { return };
        self.is_woken(&rest);
        // A clone, as whoever is woken may poll at once.
        let task = rest.task.clone();
        drop(rest);
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The waker of an `Arc<Shared>`. Not by [`std::task::Wake`]: whoever has the last one frees what telemetry has allocated.
mod waker {
    #![allow(unsafe_code)] // the functions of a waker

    use super::{Arc, Shared, Waker, for_a_tool};
    use std::mem::ManuallyDrop;
    use std::task::{RawWaker, RawWakerVTable};

    static FUNCTIONS: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

    pub(super) fn of(shared: &Arc<Shared>) -> Waker {
        // SAFETY: the functions keep a count of the `Arc` for each waker, from this one on, and all of them may be called on
        // any thread, as `Shared` is `Send` and `Sync`.
        unsafe { Waker::from_raw(raw(Arc::clone(shared))) }
    }

    fn raw(shared: Arc<Shared>) -> RawWaker {
        RawWaker::new(Arc::into_raw(shared).cast(), &FUNCTIONS)
    }

    /// # Safety
    ///
    /// `data` is of a waker made here, whose count it stands for.
    unsafe fn taken(data: *const ()) -> Arc<Shared> {
        // SAFETY: it came from `Arc::into_raw`, and the count is the waker's.
        unsafe { Arc::from_raw(data.cast()) }
    }

    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: a waker's function is called with its data; the count stays the waker's.
        let shared = ManuallyDrop::new(unsafe { taken(data) });
        raw(Arc::clone(&shared))
    }

    unsafe fn wake(data: *const ()) {
        // SAFETY: as above; the waker is gone, and its count with it.
        let shared = unsafe { taken(data) };
        shared.wake();
        for_a_tool(|| std::mem::drop(shared));
    }

    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: as in `clone`.
        let shared = ManuallyDrop::new(unsafe { taken(data) });
        shared.wake();
    }

    unsafe fn drop(data: *const ()) {
        // SAFETY: as in `wake`.
        let shared = unsafe { taken(data) };
        for_a_tool(|| std::mem::drop(shared));
    }
}

impl Seen {
    /// It will be polled by a task that is not known yet.
    #[cfg(feature = "tokio")]
    fn is_woken(&mut self) {
        let shared = self.shared.get_or_insert_with(Shared::new);
        if let Some(mut rest) = shared.rest() {
            rest.is_in();
            shared.is_woken(&rest);
        }
    }

    /// It is polled by a task with this waker. What it is to be polled with.
    fn is_polled(&mut self, task: &Waker) -> &Waker {
        let shared = self.shared.get_or_insert_with(Shared::new);
        let is_new = !self
            .task
            .as_ref()
            .is_some_and(|known| known.will_wake(task));
        // They are the program's: nothing is locked while they are made, or go.
        let new = is_new.then(|| (task.clone(), task.clone()));
        // PERF: asked without the lock, as a task is polled for other reasons, too.
        let unit = thread::unit_at_work();
        let is_elsewhere = self.unit != unit;
        self.unit = unit;
        if is_new || is_elsewhere || shared.woken.load(Relaxed) {
            let rest = shared.rest().map(|mut rest| {
                shared.is_polled(&rest);
                rest.is_in();
                rest
            });
            if let (Some((new, own)), Some(mut rest)) = (new, rest) {
                let before = rest.task.replace(new);
                drop(rest);
                drop((before, self.task.replace(own)));
            }
        }
        (self.waker).get_or_insert_with(|| waker::of(shared))
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let over = shared.rest().map(|mut rest| {
            shared.is_polled(&rest);
            std::mem::take(&mut *rest)
        });
        let Rest { task, units } = over.unwrap_or_default();
        // The task's waker is the program's.
        drop((task, self.task.take()));
        drop(self.waker.take());
        for_a_tool(|| drop((units, shared)));
    }
}

impl<F: Future> Future for Wakes<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let waker = this.seen.is_polled(context.waker());
        let poll = this.future.poll(&mut Context::from_waker(waker));
        if poll.is_ready() {
            // Not only when whoever has the future drops it.
            *this.seen = Seen::default();
        }
        poll
    }
}

impl<F> fmt::Debug for Wakes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").finish_non_exhaustive()
    }
}
