//! Budgets enforced: measure a piece of work, compare, and panic with the lines to look at.

use crate::call_site::{self, CallSite};
use crate::engine::{ActiveSites, Sites};
use crate::{Budget, BudgetExceeded, InUnit, Retained, Scope, Unit, Usage, engine, excluded};
use std::future::{Future, poll_fn};
use std::pin::pin;

impl Budget {
    /// Runs `work` on this thread and returns its value if it kept within the budget.
    ///
    /// # Panics
    ///
    /// After `work` has ended, if a limit is broken or the tracker is not installed.
    #[track_caller]
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let guard = BudgetGuard::enter(*self);
        let value = work();
        guard.finish();
        value
    }

    fn check_with(
        &self,
        usage: &Usage,
        retained: Option<Retained>,
        sites: &Sites,
    ) -> Result<(), BudgetExceeded> {
        self.check_kept(usage, retained).map_err(|mut exceeded| {
            if usage.is_tracked() {
                // What the symbols take, and keep, is nobody's. The result is the caller's.
                let mut resolved = excluded(|| call_site::resolve(sites));
                // By what was exceeded: many small blocks and one large one are different finds.
                let by_count = exceeded.excesses().iter().all(|e| e.metric.is_count());
                resolved.sort_by_key(|site| {
                    std::cmp::Reverse(if by_count {
                        (site.allocs, site.bytes)
                    } else {
                        (site.bytes, site.allocs)
                    })
                });
                exceeded.sites = resolved.clone();
                exceeded.estimated = sites.are_estimates();
                excluded(|| drop(resolved));
                let noted = |figure: fn(&CallSite) -> u64| exceeded.sites.iter().map(figure).sum();
                exceeded.elsewhere = (
                    usage.allocs.saturating_sub(noted(|site| site.allocs)),
                    usage.alloc_bytes.saturating_sub(noted(|site| site.bytes)),
                );
            }
            exceeded
        })
    }
}

/// A budget's block on one thread: what [`assert_budget!`](crate::assert_budget!) and `#[budget]`
/// are made of. Checks when it is finished, or dropped because the block is left early.
#[doc(hidden)]
#[derive(Debug)]
pub struct BudgetGuard {
    budget: Budget,
    measuring: Option<Measuring>,
}

#[derive(Debug)]
struct Measuring {
    scope: Scope,
    sites: ActiveSites,
    /// The blocks of the work, if it matters which are left.
    following: Option<Following>,
}

impl BudgetGuard {
    pub fn enter(budget: Budget) -> Self {
        let following = budget.limits_what_is_kept().then(Following::start);
        let sites = Sites::new().activate();
        BudgetGuard {
            budget,
            measuring: Some(Measuring {
                scope: Scope::enter(),
                sites,
                following,
            }),
        }
    }

    #[track_caller]
    pub fn finish(mut self) {
        self.check();
    }

    #[track_caller]
    fn check(&mut self) {
        let Some(measuring) = self.measuring.take() else {
            return;
        };
        let usage = measuring.scope.finish();
        let retained = measuring.following.and_then(|f| f.unit.retained());
        let sites = measuring.sites.stop();
        if let Err(exceeded) = self.budget.check_with(&usage, retained, &sites) {
            panic!("{exceeded}");
        }
    }
}

impl Drop for BudgetGuard {
    fn drop(&mut self) {
        // A body that panics has its own say; a second panic would abort.
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// Follows what this thread allocates, for a budget, and leaves its
/// [current unit](Unit::current) what it is.
#[derive(Debug)]
struct Following {
    unit: Unit,
    segment: engine::UnitSegment,
}

impl Following {
    fn start() -> Self {
        let unit = Unit::following();
        let segment = unit.handle().open_unseen();
        Following { unit, segment }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        engine::close_for_unit(self.segment);
    }
}

/// The same for a future of its own, whatever threads it is polled on.
#[doc(hidden)]
pub async fn run_future<F: Future>(
    budget: Budget,
    future: F,
) -> (F::Output, Result<(), BudgetExceeded>) {
    let unit = if budget.limits_what_is_kept() {
        Unit::following()
    } else {
        Unit::new()
    };
    let mut idle = Some(Sites::new());
    let mut future = pin!(future.in_unit(&unit));
    let value = poll_fn(|cx| {
        let sites = idle.take().unwrap_or_else(Sites::new).activate();
        let poll = future.as_mut().poll(cx);
        idle = Some(sites.stop());
        poll
    })
    .await;
    let sites = idle.unwrap_or_else(Sites::new);
    let checked = budget.check_with(&unit.usage(), unit.retained(), &sites);
    (value, checked)
}

/// Runs a block and panics if it broke a limit; returns the block's value.
///
/// Any of `allocs`, `reallocs`, `frees`, `alloc_bytes`, `freed_bytes`, `peak_bytes`,
/// `live_bytes`, `live_blocks` can be limited, with `<=`.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::assert_budget;
///
/// # #[cfg(feature = "track")] {
/// let words = assert_budget!(allocs <= 1, alloc_bytes <= 4 * 1024, {
///     Vec::<&str>::with_capacity(2)
/// });
/// assert_eq!(words.capacity(), 2);
/// # }
/// ```
///
/// What counts is what this thread does in the block. Work that it hands to other threads counts
/// where it is measured by a [`Unit`](crate::Unit), not here. Leaving the block early, with
/// `return`, `?` or `break`, ends and checks it all the same. What a program sets up once, at its
/// first use (a thread-local, a lazy static, a channel's first wait), counts too: do the work once
/// before.
///
/// In an `async fn` the block may await. It then counts all that its thread does meanwhile, and
/// the future cannot be sent to another thread. Written as `async { .. }`, the block is a future
/// of its own: only its own polls count, on whatever threads they happen, and what it spawns with
/// [`in_current_unit`](crate::InUnit::in_current_unit), which then works for the budget and not for
/// a unit around it. If it is cancelled, it is not checked.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// # use alloc_tracker::assert_budget;
/// # async fn fetch() -> u32 { 7 }
/// async fn handler() -> u32 {
///     assert_budget!(allocs <= 3, live_bytes <= 0, async { fetch().await })
/// }
/// # drop(handler());
/// ```
///
/// # Panics
///
/// After the block has ended: if a limit is broken, with limit, actual and excess of each; or if
/// the tracker is not installed, saying what to add.
///
/// # Cost
///
/// A microsecond or two, and a microsecond for each allocation in the block, whose stack is walked;
/// past 2,048 of them only some are, and the figures of lines are estimates. Those of the budget are
/// exact. Meant for tests: code that runs in production is better held by
/// [`measure`](crate::measure) and [`Budget::check`].
#[macro_export]
macro_rules! assert_budget {
    (@limits [$budget:expr] $metric:ident <= $limit:expr, $($rest:tt)+) => {
        $crate::assert_budget!(@limits [$budget.$metric($limit)] $($rest)+)
    };
    (@limits [$budget:expr] async $body:block $(,)?) => {
        $crate::assert_budget!(@future [$budget] async $body)
    };
    (@limits [$budget:expr] async move $body:block $(,)?) => {
        $crate::assert_budget!(@future [$budget] async move $body)
    };
    (@limits [$budget:expr] $body:expr $(,)?) => {{
        let guard = $crate::BudgetGuard::enter($budget);
        let value = $body;
        guard.finish();
        value
    }};
    (@future [$budget:expr] $body:expr) => {{
        let (value, checked) = $crate::run_future($budget, $body).await;
        if let ::std::result::Result::Err(exceeded) = checked {
            ::std::panic!("{exceeded}");
        }
        value
    }};
    ($metric:ident <= $($rest:tt)+) => {
        $crate::assert_budget!(@limits [$crate::Budget::new()] $metric <= $($rest)+)
    };
    ($($wrong:tt)*) => {
        ::core::compile_error!(
            "write limits with `<=`, then the work: assert_budget!(allocs <= 3, { work() })"
        )
    };
}

/// Runs a block and panics if it allocated; returns the block's value. Frees are allowed.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// # #[cfg(feature = "track")] {
/// let sum = alloc_tracker::assert_no_alloc!({ (1..=4).sum::<u32>() });
/// assert_eq!(sum, 10);
/// # }
/// ```
///
/// # Panics
///
/// As [`assert_budget!`] with `allocs <= 0`.
#[macro_export]
macro_rules! assert_no_alloc {
    ($($body:tt)+) => {
        $crate::assert_budget!(allocs <= 0, $($body)+)
    };
}
