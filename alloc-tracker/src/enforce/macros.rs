//! `assert_budget!` and `assert_no_alloc!`.

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
/// What counts is what this thread does in the block, and what it hands to other threads by
/// [`in_current_unit`](crate::in_current_unit()) and ends while the block runs. Of what nobody measures the
/// message of a broken budget says how much it was, and the [`BudgetReport`](crate::BudgetReport) of one that
/// holds.
/// With `process` before the limits, what all threads do counts: for tests that run alone, as by
/// `cargo nextest`. Leaving the block early, with `return`, `?` or `break`, ends and checks it all the
/// same. What a program sets up once, at its first use (a thread-local, a lazy static, a channel's
/// first wait), counts too: do the work once before.
///
/// In async code the block may await. Then it is the task's work that counts, on whatever threads it
/// is polled: not what they do between the polls, and what it spawns with
/// [`in_current_unit`](crate::InUnit::in_current_unit). The same goes for the awaits in `join!`,
/// `try_join!` and `select!`, and in what other macros are given. One that stands in the text of a
/// macro is not seen: the budget then counts the thread; written as `async { .. }`, a future of its
/// own, the block is measured whatever is in it. A block that is cancelled is held to what it did
/// until then. A future that is not awaited cannot be the block's value, or in it.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// # use alloc_tracker::assert_budget;
/// # async fn fetch() -> Option<u32> { Some(7) }
/// async fn handler() -> Option<u32> {
///     let n = assert_budget!(allocs <= 3, live_bytes <= 0, { fetch().await? + 1 });
///     assert_budget!(allocs <= 3, async { fetch().await });
///     Some(n)
/// }
/// # drop(handler());
/// ```
///
/// # Panics
///
/// After the block has ended: if a limit is broken, with limit, actual and excess of each; or if
/// the tracker is not installed, saying what to add. The value of a block that broke its budget is then
/// not dropped: the compiler does not see it when a destructor, which is where the check is, panics. A lock
/// in it stays locked.
///
/// # Cost
///
/// Some fifteen microseconds, and a microsecond for each allocation in the block, whose stack is walked;
/// past 2,048 of them only some are, and the figures of lines are estimates. Those of the budget are
/// exact. Meanwhile every thread looks at each of its calls, some 30 ns. Meant for tests: code that runs in production is better held by
/// [`measure`](crate::measure) and [`Budget::check`](crate::Budget::check).
#[macro_export]
macro_rules! assert_budget {
    ($($budget:tt)*) => {
        $crate::__budget::__assert_budget! { ($crate) $($budget)* }
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
        $crate::__budget::__assert_budget! { ($crate) allocs <= 0, $($body)+ }
    };
}
