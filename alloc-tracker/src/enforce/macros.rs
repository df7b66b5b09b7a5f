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
