//! Budgets of work that awaits: each poll is a stretch of it, on whatever thread.

use super::thread;
use super::verdict::{BudgetReport, Findings, Surroundings};
use crate::engine::{self, ActiveSites, Here, Sites};
use crate::{Budget, Unit};
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::panicking;

/// What a budget knows of its work between stretches.
#[derive(Debug)]
pub(super) struct Task {
    budget: Budget,
    process: bool,
    unit: Unit,
    /// `None` while a stretch has it.
    sites: Option<Sites>,
    /// `None` before the first stretch.
    surroundings: Option<Surroundings>,
}

/// A thread works for the budget.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Lives as long as a thread says that it works for it.
    _unit: Unit,
    segment: engine::UnitSegment,
    sites: Option<ActiveSites>,
    start: Here,
}

// A panic leaves nothing half done in it: what is counted of a poll is added at the poll's end or not at
// all, and the library's counters bear a panic in any place. So a future of it is what its own work is.
impl UnwindSafe for Task {}
impl RefUnwindSafe for Task {}

impl Task {
    pub(super) fn new(budget: Budget, process: bool) -> Self {
        Task {
            budget,
            process,
            unit: thread::unit_of(budget),
            sites: Some(Sites::new()),
            surroundings: None,
        }
    }

    pub(super) fn enter(&mut self) -> Stretch {
        let process = self.process;
        self.surroundings
            .get_or_insert_with(|| Surroundings::new(process));
        let sites = self.sites.take().unwrap_or_else(Sites::new);
        Stretch {
            sites: Some(sites.activate()),
            start: Here::now(),
            segment: self.unit.handle().open_for_budget(),
            _unit: self.unit.clone(),
        }
    }

    pub(super) fn leave(&mut self, mut stretch: Stretch) {
        if let Some(surroundings) = &mut self.surroundings {
            surroundings.count_as_own(stretch.start);
        }
        self.sites = stretch.sites.take().map(ActiveSites::stop);
    }

    /// `None`: there was no work.
    pub(super) fn end(&mut self) -> Option<BudgetReport> {
        let (usage, outside) = self.surroundings.take()?.end(self.unit.usage());
        Some(self.budget.judge(&Findings {
            usage,
            retained: self.unit.retained(),
            sites: self.sites.take().unwrap_or_else(Sites::new),
            outside,
        }))
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        engine::close_for_unit(self.segment);
    }
}

/// A future whose polls are a budget's work.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Reported<F> {
    /// `None` only while `drop` runs.
    future: Option<F>,
    task: Task,
    /// If it is cancelled: what it did until then is held to the budget.
    is_held: bool,
}

impl<F> Reported<F> {
    fn parts(self: Pin<&mut Self>) -> (Option<Pin<&mut F>>, &mut Task) {
        // SAFETY: `future` is pinned with the whole: it is never moved out of a pinned `Reported`
        // (`cancel` drops it in place), and there is no other way to reach it. `task` is not pinned.
        unsafe {
            let this = self.get_unchecked_mut();
            let future = this.future.as_mut().map(|f| Pin::new_unchecked(f));
            (future, &mut this.task)
        }
    }

    /// Drops the future, as work of the budget.
    fn cancel(&mut self) {
        let begun = self.task.surroundings.is_some();
        let stretch = begun.then(|| self.task.enter());
        // Assigning drops the old value in place, as pinning demands.
        self.future = None;
        if let Some(stretch) = stretch {
            self.task.leave(stretch);
        }
    }
}

impl<F: Future> Future for Reported<F> {
    type Output = (F::Output, BudgetReport);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, task) = self.parts();
        let Some(future) = future else {
            // Only `cancel` takes the future away, and nobody polls after that.
            return Poll::Pending;
        };
        let stretch = task.enter();
        let poll = future.poll(cx);
        task.leave(stretch);
        match poll {
            Poll::Pending => Poll::Pending,
            Poll::Ready(value) => match task.end() {
                Some(report) => Poll::Ready((value, report)),
                None => unreachable!("a poll is work"),
            },
        }
    }
}

impl<F> Drop for Reported<F> {
    fn drop(&mut self) {
        self.cancel();
        let is_checked = self.is_held && !panicking();
        let ended = is_checked.then(|| self.task.end()).flatten();
        if let Some(report) = ended {
            report.or_panic();
        }
    }
}

/// The same, with a panic in its last poll if the budget is broken.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Budgeted<F>(Reported<F>);

impl<F: Future> Future for Budgeted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the one field is pinned with the whole: nothing moves it, and there is no `drop`.
        let reported = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        reported.poll(cx).map(settled)
    }
}

pub(super) fn reported<F: Future>(budget: Budget, process: bool, future: F) -> Reported<F> {
    Reported {
        future: Some(future),
        task: Task::new(budget, process),
        is_held: false,
    }
}

/// Of an `async` block that is awaited at once, and its value then [`settled`].
pub fn held<T, F: Future<Output = T>>(budget: Budget, process: bool, future: F) -> Reported<F> {
    let mut held = reported(budget, process, future);
    held.is_held = true;
    held
}

/// The value, if the budget holds.
#[track_caller]
pub fn settled<T>((value, report): (T, BudgetReport)) -> T {
    report.or_panic();
    value
}

/// Of an `async` block.
pub fn future<F: Future>(budget: Budget, process: bool, future: F) -> Budgeted<F> {
    Budgeted(held(budget, process, future))
}

/// A future is being made, as work of the budget.
#[derive(Debug)]
pub struct Making {
    task: Task,
    stretch: Stretch,
}

impl Making {
    pub fn enter(budget: Budget, process: bool) -> Self {
        let mut task = Task::new(budget, process);
        let stretch = task.enter();
        Making { task, stretch }
    }

    pub fn made<F: Future>(mut self, future: F) -> Budgeted<F> {
        self.task.leave(self.stretch);
        Budgeted(Reported {
            future: Some(future),
            task: self.task,
            is_held: true,
        })
    }

    /// The box around the two is its caller's.
    pub fn boxed<B: BoxedFuture>(self, future: B) -> B {
        B::boxed(self.made(future))
    }
}

/// Of a future, and of making it.
pub fn made<F: Future>(budget: Budget, process: bool, make: impl FnOnce() -> F) -> Budgeted<F> {
    Making::enter(budget, process).made(make())
}

/// Of a boxed future, and of making it.
pub fn boxed<B: BoxedFuture>(budget: Budget, process: bool, make: impl FnOnce() -> B) -> B {
    Making::enter(budget, process).boxed(make())
}

/// A future that can be put into another box of its own type.
#[diagnostic::on_unimplemented(
    message = "a budget cannot be kept by a `{Self}`",
    label = "this is measured while it is made, not while it runs",
    note = "write `-> impl Future<Output = ..>`, an `async fn`, or \
            `-> Pin<Box<dyn Future<Output = ..> + Send + 'a>>` with or without `Send`"
)]
pub trait BoxedFuture: Future + Sized {
    #[doc(hidden)]
    fn boxed(future: Budgeted<Self>) -> Self;
}

macro_rules! boxed_futures {
    ($($dyn:ty),*) => {
        $(impl<'a, T: 'a> BoxedFuture for Pin<Box<$dyn>> {
            fn boxed(future: Budgeted<Self>) -> Self {
                Box::pin(future)
            }
        })*
    };
}

boxed_futures! {
    dyn Future<Output = T> + 'a,
    dyn Future<Output = T> + Send + 'a,
    dyn Future<Output = T> + Send + Sync + 'a,
    dyn Future<Output = T> + UnwindSafe + 'a,
    dyn Future<Output = T> + Send + UnwindSafe + 'a,
    dyn Future<Output = T> + Send + Sync + UnwindSafe + 'a,
    dyn Future<Output = T> + UnwindSafe + RefUnwindSafe + 'a,
    dyn Future<Output = T> + Send + UnwindSafe + RefUnwindSafe + 'a,
    dyn Future<Output = T> + Send + Sync + UnwindSafe + RefUnwindSafe + 'a
}
