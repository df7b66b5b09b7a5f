//! Budgets enforced: measure a piece of work, compare, and panic with the lines to look at.
//!
//! * [`thread`]: a block on one thread; [`task`]: a future; [`awaiting`]: a block that awaits.
//! * [`verdict`]: what was measured against the limits, and what is said of it.
//! * [`returned`]: values by which a budget would be evaded.
//! * [`macros`]: `assert_budget!` and its kin.

#[allow(missing_docs)] // what macros expand to is not for users
mod awaiting;
mod macros;
#[allow(missing_docs)] // what macros expand to is not for users
mod returned;
#[allow(missing_docs)] // what macros expand to is not for users
mod task;
#[allow(missing_docs)] // what macros expand to is not for users
mod thread;
mod verdict;

pub(crate) use verdict::say_outside;
pub use verdict::{BudgetReport, Outside};

use self::returned::IsNoFuture;
use crate::Budget;
use std::future::Future;

/// What the macros are made of. Not for users.
#[doc(hidden)]
pub mod parts {
    pub use super::awaiting::{InBudget, IsAwaited, IsNotAwaited, TaskGuard, Together};
    pub use super::returned::{
        IsFuture, IsLent, IsNoFuture, IsValue, Measured, NoFuture, Returned, Returning, Valued,
        awaited, ends, measured, never, nothing,
    };
    pub use super::task::{Making, boxed, future, held, made, settled};
    pub use super::thread::ThreadGuard;
    pub use alloc_tracker_macros::__assert_budget;
}

impl Budget {
    /// Runs `work` on this thread and returns its value if it kept within the budget. The value must
    /// not be a future, whose cost is yet to come.
    ///
    /// ```
    /// # #[global_allocator]
    /// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
    /// use alloc_tracker::Budget;
    ///
    /// # #[cfg(feature = "track")]
    /// let length = Budget::new().allocs(1).run(|| "a".repeat(100).len());
    /// ```
    ///
    /// # Panics
    ///
    /// After `work` has ended, if a limit is broken or the tracker is not installed.
    #[track_caller]
    pub fn run<T: IsNoFuture<Proof>, Proof>(&self, work: impl FnOnce() -> T) -> T {
        let (value, report) = self.report(work);
        report.or_panic();
        value
    }

    /// Runs `work` on this thread, and returns its value and what it cost, kept or broken.
    ///
    /// The report of a budget that holds says what was allocated outside of it meanwhile: work that
    /// was handed to a thread or a task of its own, and that the budget therefore did not see.
    ///
    /// ```
    /// # #[global_allocator]
    /// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
    /// use alloc_tracker::Budget;
    ///
    /// let budget = Budget::new().allocs(200);
    /// let (_, report) = budget.report(|| {
    ///     std::thread::scope(|threads| threads.spawn(|| vec![0u8; 4096]).join())
    /// });
    /// # #[cfg(feature = "track")] {
    /// assert!(report.result().is_ok());
    /// assert!(report.outside().bytes >= 4096); // by the thread, for no unit
    /// println!("{report}");
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Only if `work` does.
    pub fn report<T: IsNoFuture<Proof>, Proof>(
        &self,
        work: impl FnOnce() -> T,
    ) -> (T, BudgetReport) {
        let guard = thread::ThreadGuard::enter(*self, false, BudgetReport::or_panic);
        let value = work();
        (value, guard.finish())
    }

    /// The same for a future, of which its own polls count, on whatever threads they happen.
    ///
    /// ```
    /// # #[global_allocator]
    /// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
    /// use alloc_tracker::Budget;
    ///
    /// async fn job() {
    ///     let (length, report) = Budget::new()
    ///         .allocs(1)
    ///         .report_future(async { "a".repeat(100).len() })
    ///         .await;
    ///     println!("{length} characters: {report}");
    ///     # #[cfg(feature = "track")]
    ///     assert!(report.result().is_ok());
    /// }
    /// # let waker = std::task::Waker::noop();
    /// # let future = std::pin::pin!(job());
    /// # assert!(future.poll(&mut std::task::Context::from_waker(waker)).is_ready());
    /// ```
    ///
    /// # Panics
    ///
    /// Only if the future does.
    pub async fn report_future<F, Proof>(&self, future: F) -> (F::Output, BudgetReport)
    where
        F: Future<Output: IsNoFuture<Proof>>,
    {
        task::reported(*self, false, future).await
    }
}
