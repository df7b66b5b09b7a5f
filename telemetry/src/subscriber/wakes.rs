//! When a future is woken, and when it is polled for that: in between, its unit waits for a thread.

use crate::instance::Lasting;
use crate::live::{LiveUnit, UnitRef, for_outer};
use crate::thread::{self, AtWork};
use alloc_tracker::raw::for_a_tool;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The same future, whose wake-ups are seen: the time from one to the next poll is `queued` in the unit that it is polled
/// in, as far as no thread works for that. What [`spawn`](super::follow::spawn) and its like start has it.
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
/// An allocation when it is first polled, none later; for each wake-up a reading of the clock, two locked instructions and
/// a lock that is mostly free.
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
}

/// What its waker has.
struct Shared {
    /// It was woken, and is not polled yet. Changes while `rest` is locked.
    woken: AtomicBool,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    /// The task's own waker.
    task: Option<Waker>,
    /// In what units it was polled last, by each telemetry; none: it is over.
    units: Vec<Target>,
}

/// A unit, in the eyes of one telemetry.
#[derive(Clone, Copy)]
struct Target {
    unit: UnitRef,
    place: &'static LiveUnit,
    lasting: &'static Lasting,
}

impl Target {
    /// Tells the unit, unless it is over, and those around it.
    fn tell(&self, each: impl Fn(&LiveUnit)) {
        if self.place.is(self.unit) {
            each(self.place);
            for_outer(self.place, each);
        }
    }
}

impl Shared {
    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_woken(&self, rest: &Rest) {
        if !self.woken.swap(true, Relaxed) {
            for target in &rest.units {
                let now = target.lasting.clock.now();
                target.tell(|unit| unit.is_woken(now));
            }
        }
    }

    fn is_polled(&self, rest: &Rest) {
        if self.woken.swap(false, Relaxed) {
            for target in &rest.units {
                target.tell(LiveUnit::is_polled);
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
            thread::at_work_for_all(|at_work| {
                let AtWork {
                    unit,
                    place,
                    lasting,
                    ..
                } = at_work;
                place.has_waker();
                units.push(Target {
                    unit,
                    place,
                    lasting,
                });
            });
        });
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let rest = self.rest();
        self.is_woken(&rest);
        // A clone, as whoever is woken may poll at once.
        let task = rest.task.clone();
        drop(rest);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        for_a_tool(|| {
            Arc::new(Shared {
                woken: AtomicBool::new(false),
                rest: Mutex::default(),
            })
        })
    }
}

impl Seen {
    /// It will be polled by a task that is not known yet.
    #[cfg(feature = "tokio")]
    fn is_woken(&mut self) {
        let shared = self.shared.get_or_insert_with(Shared::new);
        let mut rest = shared.rest();
        rest.is_in();
        shared.is_woken(&rest);
    }

    /// It is polled by a task with this waker. What it is to be polled with.
    fn is_polled(&mut self, task: &Waker) -> &Waker {
        let shared = self.shared.get_or_insert_with(Shared::new);
        let is_new = !self
            .task
            .as_ref()
            .is_some_and(|known| known.will_wake(task));
        // PERF: asked without the lock, as a task is polled for other reasons, too.
        if is_new || shared.woken.load(Relaxed) {
            let mut rest = shared.rest();
            shared.is_polled(&rest);
            rest.is_in();
            if is_new {
                let before = rest.task.replace(task.clone());
                drop(rest);
                // They are the program's: nothing is locked while they go.
                drop((before, self.task.replace(task.clone())));
            }
        }
        (self.waker).get_or_insert_with(|| Waker::from(Arc::clone(shared)))
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut rest = shared.rest();
            shared.is_polled(&rest);
            let over = std::mem::take(&mut *rest);
            drop(rest);
            // The task's waker is the program's.
            drop(over.task);
            for_a_tool(|| drop(over.units));
        }
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
