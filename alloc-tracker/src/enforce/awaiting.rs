//! Blocks that await: their awaits are rewritten so that a budget sees each of their polls.

use super::returned::IsNoFuture;
use super::task::{Stretch, Task};
use super::verdict::{BudgetReport, Say};
use crate::{Budget, excluded};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{ThreadId, panicking};

/// A block that awaits. Checks as a [`ThreadGuard`](super::thread::ThreadGuard) does.
///
/// Between the awaits the thread works for the budget, and so it does while a future is polled that is
/// awaited by [`InBudget`]. While that is pending, it does not.
#[derive(Debug)]
pub struct TaskGuard {
    // A lock that nobody waits for: the block is one task's.
    work: Mutex<Work>,
    say: Say,
    was_panicking: bool,
}

#[derive(Debug)]
struct Work {
    task: Task,
    stretch: Option<OnThread<Stretch>>,
    /// A stretch was to end on another thread than it began on.
    has_strayed: bool,
}

impl TaskGuard {
    pub fn enter(budget: Budget, process: bool, say: Say) -> Self {
        let guard = TaskGuard {
            work: Mutex::new(Work {
                task: Task::new(budget, process),
                stretch: None,
                has_strayed: false,
            }),
            say,
            was_panicking: panicking(),
        };
        guard.work().resume();
        guard
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block's value, if the budget holds.
    #[track_caller]
    pub fn value<T: IsNoFuture<Proof>, Proof>(&self, value: T) -> T {
        let ended = self.work().end();
        if let Some(report) = ended {
            (self.say)(report);
        }
        value
    }
}

impl Work {
    fn resume(&mut self) {
        if self.stretch.is_none() {
            self.stretch = Some(OnThread::new(self.task.enter()));
        }
    }

    fn suspend(&mut self) {
        match self.stretch.take().map(OnThread::into_inner) {
            None => {}
            Some(Some(stretch)) => self.task.leave(stretch),
            Some(None) => self.has_strayed = true,
        }
    }

    /// `None`: it has ended.
    #[track_caller]
    fn end(&mut self) -> Option<BudgetReport> {
        self.suspend();
        let report = self.task.end()?;
        if self.has_strayed {
            if panicking() {
                // A second panic would abort.
                eprintln!("{STRAYED}");
                return None;
            }
            panic!("{STRAYED}");
        }
        Some(report)
    }
}

/// Rather than a budget that is not checked.
const STRAYED: &str = "alloc_tracker: a budget cannot be checked: its work went to another thread in an \
                       await that a macro hides; write the work as a future of its own: \
                       assert_budget!(.., async { .. })";

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let ended = if panicking() && !self.was_panicking {
            None
        } else {
            self.work().end()
        };
        if let Some(report) = ended {
            (self.say)(report);
        }
    }
}

/// `x.await` inside of a block, as the block's work.
pub trait InBudget: IntoFuture + Sized {
    #[doc(hidden)]
    fn __in_budget(self, guard: &TaskGuard) -> Awaited<'_, Self::IntoFuture> {
        let future = Some(self.into_future());
        guard.work().suspend();
        Awaited {
            future,
            guard,
            is_pending: true,
        }
    }
}

impl<F: IntoFuture> InBudget for F {}

/// A future that is awaited in a block.
#[derive(Debug)]
pub struct Awaited<'guard, F> {
    /// `None` only while `drop` runs.
    future: Option<F>,
    guard: &'guard TaskGuard,
    /// The thread does not work for the budget.
    is_pending: bool,
}

impl<F: Future> Future for Awaited<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with the whole: it is never moved out of a pinned `Awaited`
        // (`drop` drops it in place), and there is no other way to reach it. The others are not pinned.
        let (future, guard, is_pending) = unsafe {
            let this = self.get_unchecked_mut();
            let future = this.future.as_mut().map(|f| Pin::new_unchecked(f));
            (future, this.guard, &mut this.is_pending)
        };
        let Some(future) = future else {
            // Only `drop` takes the future away, and nobody polls after that.
            return Poll::Pending;
        };
        guard.work().resume();
        *is_pending = false;
        let poll = future.poll(cx);
        if poll.is_pending() {
            guard.work().suspend();
            *is_pending = true;
        }
        poll
    }
}

impl<F> Drop for Awaited<'_, F> {
    fn drop(&mut self) {
        // A block that is cancelled drops all it has as the budget's work.
        if self.is_pending {
            self.guard.work().resume();
        }
        self.future = None;
    }
}

/// A value that only its own thread touches, wherever it is moved.
struct OnThread<T> {
    thread: ThreadId,
    value: ManuallyDrop<T>,
}

// SAFETY: the value is reached by `into_inner` and `drop` only, which ask whether this is its thread,
// and else leave it alone for ever. A thread's number is never given twice.
unsafe impl<T> Send for OnThread<T> {}

impl<T> fmt::Debug for OnThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the value, which another thread must not look at.
        f.debug_tuple("OnThread").field(&self.thread).finish()
    }
}

impl<T> OnThread<T> {
    fn new(value: T) -> Self {
        OnThread {
            thread: this_thread(),
            value: ManuallyDrop::new(value),
        }
    }

    /// `None` on another thread.
    fn into_inner(self) -> Option<T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the value is taken once.
        (this.thread == this_thread()).then(|| unsafe { ManuallyDrop::take(&mut this.value) })
    }
}

impl<T> Drop for OnThread<T> {
    fn drop(&mut self) {
        if self.thread == this_thread() {
            // SAFETY: this is the value's end.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

fn this_thread() -> ThreadId {
    // A thread that Rust did not start has its handle made here.
    excluded(|| std::thread::current().id())
}
