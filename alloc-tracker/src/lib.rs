//! Know what a unit of work allocates, and hold it down.
//!
//! A program installs one global allocator:
//!
//! ```
//! #[global_allocator]
//! static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
//!
//! fn main() {
//!     let (greeting, usage) = alloc_tracker::measure(|| String::from("hello"));
//!     assert_eq!(greeting, "hello");
//! #   #[cfg(feature = "track")]
//!     assert_eq!((usage.allocs, usage.alloc_bytes), (1, 5));
//! }
//! ```
//!
//! From then on every allocation is counted on the thread that makes it, and these
//! questions can be asked:
//!
//! | question | answer |
//! |---|---|
//! | what did this call cost? | [`measure`], [`Scope`] |
//! | what did this request cost, on all its threads? | [`Unit`], [`InUnit`], [`in_current_unit`] |
//! | does it stay within its budget? | [`assert_budget!`], [`assert_no_alloc!`], [`Budget`] |
//! | what did it allocate that nobody has freed? | [`Unit::retained`] |
//! | what did the whole process allocate? | [`process_usage`], by size: [`SizeRecording`] |
//! | what did it allocate for no unit? | [`outside_usage`] |
//!
//! # What counts
//!
//! Only calls that succeed. `alloc` and `alloc_zeroed` are one allocation of the requested size.
//! `realloc` is one allocation, and one of [`Usage::reallocs`]; its bytes move by the difference.
//! `dealloc` is one free, charged to whoever frees. So live bytes are always `alloc_bytes` −
//! `freed_bytes`. A nested scope is inside its parent: the parent's figures include it. What the
//! tracker allocates for itself is charged to nobody's scope.
//!
//! # Cost
//!
//! Each call of the allocator adds to counters in a thread-local block: no lock, no shared cache
//! line, no allocation. Without the feature `track` all of this compiles to nothing, the
//! allocator is the inner allocator to the instruction, and measuring says "not tracked".
//!
//! # Limits
//!
//! * The compiler may remove an allocation whose result is never used. A count is the count of
//!   the calls that the optimised program really makes; code in the crate that holds the
//!   `#[global_allocator]` static can be optimised differently from code in other crates.
//! * Memory that C code allocates with `malloc` is not seen.
//! * [`Usage::peak_bytes`] of a unit whose segments overlap in time on several threads is an
//!   estimate: see [`Unit`].

#![cfg_attr(docsrs, feature(doc_cfg))]

mod allocator;
mod budget;
mod call_site;
mod enforce;
mod escape;
mod fork;
mod future;
mod scope;
mod sizes;
#[cfg(feature = "track")]
mod symbols;
mod unit;
mod usage;

#[cfg(feature = "track")]
mod engine;
#[cfg(not(feature = "track"))]
#[path = "engine_off.rs"]
mod engine;

pub use allocator::AllocTracker;
pub use budget::{Budget, BudgetExceeded, Excess, Metric};
pub use call_site::CallSite;
#[doc(hidden)]
pub use enforce::parts as __budget;
pub use enforce::{BudgetReport, Outside};
pub use future::{InUnit, WithUnit, in_current_unit};
pub use scope::{Scope, excluded, measure};
pub use sizes::{SizeClass, SizeHistogram, SizeRecording};
pub use unit::{Entered, Unit};
pub use usage::{Retained, Usage};

/// Holds each call of a function to a budget.
///
/// The arguments are limits as in [`assert_budget!`], with `=`: a whole number or a constant, or a
/// text like `"4 KiB"` (B, KiB, MiB, GiB) for a size. It stands on synchronous and `async`
/// functions and methods, above or below `#[test]` and `#[tokio::test]`; what the test harness and
/// the runtime allocate is not the function's. Of an `async fn` only its own polls count, and so under
/// `#[async_trait]`. Of a function that returns `impl Future` or `Pin<Box<dyn Future>>`, what it does
/// itself and what the future does, to its end; a future whose type has a name is refused. With
/// `process`, what all threads do counts.
///
/// But for that, the function is what it was. Where the dependency has another name, the manifest says
/// so; where another crate re-exports it, `crate = that_crate::alloc_tracker` does.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// #[alloc_tracker::budget(allocs = 1, alloc_bytes = "1 KiB")]
/// fn greeting(name: &str) -> String {
///     format!("hello, {name}")
/// }
///
/// # #[cfg(feature = "track")]
/// assert_eq!(greeting("you"), "hello, you");
/// ```
///
/// # Panics
///
/// The function panics after its body has ended if a limit is broken, or if the tracker is not
/// installed; see [`assert_budget!`], also for what becomes of its value.
#[cfg(feature = "macros")]
pub use alloc_tracker_macros::budget;

#[cfg(feature = "profile")]
pub mod profiler;

#[doc(hidden)]
pub mod raw;

/// Whether this crate's allocator is *the* global allocator of this process, and counts.
///
/// True behind a wrapper too, as long as the wrapper hands its calls on to an [`AllocTracker`].
/// Always false without the feature `track`.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// if !alloc_tracker::is_installed() {
///     eprintln!("nothing is counted: build with the feature `track`, and install the allocator");
/// }
/// # assert_eq!(alloc_tracker::is_installed(), cfg!(feature = "track"));
/// ```
///
/// # Cost
///
/// The first call makes one probing allocation; later calls are one load.
pub fn is_installed() -> bool {
    engine::is_installed()
}

/// What the whole process has allocated since it started: all threads, the ended ones too.
///
/// No figure ever goes back, and none is lost, however many threads come and go. The counters of
/// running threads are read one after the other without stopping them, allocations before frees:
/// the live bytes are at most those at some moment of the call, and less by what other threads
/// allocated and freed while it ran.
///
/// It is the program's figure: what `lightweight-telemetry` holds and does for itself is not in it.
///
/// `peak_bytes` is the highest number of live bytes that any call of this function has seen, a
/// lower bound of the true peak: following the true peak of a process would need a counter that
/// all threads share, on every allocation.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// let before = alloc_tracker::process_usage();
/// let held = vec![0u8; 1 << 20];
/// let grown = alloc_tracker::process_usage() - before;
/// println!("{} bytes more are live, of all threads", grown.live_bytes());
/// # #[cfg(feature = "track")]
/// assert!(grown.alloc_bytes >= 1 << 20);
/// # drop(held);
/// ```
///
/// # Cost
///
/// Two visits to each thread slot, some 10 ns each. Takes no lock.
pub fn process_usage() -> Usage {
    engine::process_usage()
}

/// Everything that the process has allocated while the thread that did worked for no [`Unit`], by all its threads since its
/// start, also those that have exited.
///
/// Each thread counts it, so it is not what is missing between the process and its units: while nobody works, what
/// all outermost units have and this are [`process_usage`], to the byte. What a thread allocates while this reads is
/// in the one or the other, or in neither, and so is what a unit allocates in the entry that it is in. `peak_bytes` is 0.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// let before = alloc_tracker::outside_usage();
/// let unit = alloc_tracker::Unit::new();
/// let held = unit.run(|| vec![0u8; 1 << 20]);
/// let spawned = std::thread::spawn(|| vec![0u8; 1 << 10]).join();
/// let outside = alloc_tracker::outside_usage() - before;
/// # #[cfg(feature = "track")]
/// assert!((1 << 10..1 << 20).contains(&outside.alloc_bytes));
/// # drop((held, spawned));
/// ```
///
/// # Cost
///
/// Three visits to each thread slot, some 10 ns each. Takes no lock.
pub fn outside_usage() -> Usage {
    engine::outside_usage()
}

/// The README's programs compile.
#[cfg(all(doctest, feature = "track"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
