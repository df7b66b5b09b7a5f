//! Units in futures and closures.

use crate::raw::Own;
use crate::{Unit, engine};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets a future work for a [`Unit`], on whatever thread it is polled.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// # async fn handle_request() { drop(vec![0u8; 64]) }
/// # fn spawn(f: impl std::future::Future<Output = ()> + Send + 'static) {
/// #     let waker = std::task::Waker::noop();
/// #     let mut cx = std::task::Context::from_waker(waker);
/// #     let _ = std::pin::pin!(f).as_mut().poll(&mut cx);
/// # }
/// use alloc_tracker::{InUnit, Unit};
///
/// let unit = Unit::new();
/// spawn(handle_request().in_unit(&unit));
/// println!("{}", unit.usage());
/// ```
pub trait InUnit: Future + Sized {
    /// Enters `unit` at every poll, and when the future is dropped.
    fn in_unit(self, unit: &Unit) -> WithUnit<Self> {
        WithUnit {
            future: Some(self),
            works_for: WorksFor::Unit(unit.clone()),
        }
    }

    /// Enters at every poll the unit that the calling thread is working for, and is counted by the
    /// budgets that are open on it; with neither, changes nothing. Meant for a spawn:
    /// `spawn(future.in_current_unit())`.
    fn in_current_unit(self) -> WithUnit<Self> {
        WithUnit {
            future: Some(self),
            works_for: WorksFor::current(),
        }
    }
}

impl<F: Future> InUnit for F {}

/// A future that works for a unit. Made by [`InUnit`].
///
/// Dropping it drops the inner future inside the unit, so what a cancelled future frees is
/// charged to the unit that allocated it.
///
/// ```
/// use alloc_tracker::{InUnit, Unit, WithUnit};
///
/// async fn serve() -> usize {
///     "a".repeat(100).len()
/// }
///
/// let unit = Unit::new();
/// let future: WithUnit<_> = serve().in_unit(&unit); // for any executor
/// # let waker = std::task::Waker::noop();
/// # let future = std::pin::pin!(future);
/// # assert!(future.poll(&mut std::task::Context::from_waker(waker)).is_ready());
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct WithUnit<F> {
    /// `None` only while `drop` runs.
    future: Option<F>,
    works_for: WorksFor,
}

impl<F: Future> Future for WithUnit<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with the whole: it is never moved out of a pinned
        // `WithUnit` (`drop` drops it in place), and there is no other way to reach it.
        // `works_for` is not pinned and only borrowed.
        let (future, works_for) = unsafe {
            let this = self.get_unchecked_mut();
            (
                this.future.as_mut().map(|f| Pin::new_unchecked(f)),
                &this.works_for,
            )
        };
        works_for.run(|| match future {
            Some(future) => future.poll(cx),
            // Only `drop` takes the future away, and nobody polls after that.
            None => Poll::Pending,
        })
    }
}

impl<F> Drop for WithUnit<F> {
    fn drop(&mut self) {
        // Assigning drops the old value in place, as pinning demands.
        self.works_for.run(|| self.future = None);
    }
}

/// Wraps a closure so that it works for the unit that the calling thread is working for, and is counted
/// by the budgets that are open on it, on whatever thread it is called. With neither, changes nothing.
///
/// It is for closures that are called once. A closure that is called often, as by rayon's
/// `for_each`, takes a handle and enters by itself: `let unit = Unit::current();` outside, then
/// `unit.run(|| work())` inside.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::{Unit, in_current_unit};
///
/// let unit = Unit::new();
/// let worker = unit.run(|| std::thread::spawn(in_current_unit(|| vec![0u8; 128])));
/// let data = worker.join().unwrap();
/// # #[cfg(feature = "track")]
/// assert!(unit.usage().live_bytes() >= 128);
/// ```
pub fn in_current_unit<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let mut carried = Carried {
        work: Some(work),
        works_for: WorksFor::current(),
    };
    move || {
        let carried = &mut carried;
        match carried.work.take() {
            Some(work) => carried.works_for.run(work),
            None => unreachable!("the closure is called once"),
        }
    }
}

/// A closure on its way. If it is never called, it is dropped inside the unit.
struct Carried<F> {
    work: Option<F>,
    works_for: WorksFor,
}

impl<F> Drop for Carried<F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.works_for.run(|| drop(work));
        }
    }
}

/// Whom work is for, wherever it is done.
#[derive(Debug)]
enum WorksFor {
    Nobody,
    Unit(Unit),
    /// Those of budgets, too, the outermost first.
    Budgets(Option<Unit>, Own<Box<[Unit]>>),
}

impl WorksFor {
    /// Whom the calling thread works for.
    fn current() -> Self {
        match (
            Unit::current(),
            engine::UnitHandle::of_budgets(Unit::from_handle),
        ) {
            (None, None) => WorksFor::Nobody,
            (Some(unit), None) => WorksFor::Unit(unit),
            (unit, Some(budgets)) => WorksFor::Budgets(unit, Own::new(budgets)),
        }
    }

    #[inline]
    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match self {
            WorksFor::Unit(unit) => unit.run(work),
            WorksFor::Nobody => work(),
            WorksFor::Budgets(unit, budgets) => {
                let (mut work, mut value) = (Some(work), None);
                for_budgets(budgets, &mut || {
                    let _entered = unit.as_ref().map(Unit::enter);
                    value = work.take().map(|work| work());
                });
                value.unwrap_or_else(|| unreachable!("`for_budgets` runs it"))
            }
        }
    }
}

#[cold]
fn for_budgets(budgets: &[Unit], work: &mut dyn FnMut()) {
    match budgets {
        [] => work(),
        [outer, inner @ ..] => {
            let _entered = outer.enter_for_budget();
            for_budgets(inner, work);
        }
    }
}
