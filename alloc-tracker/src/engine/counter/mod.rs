//! One thread's sums, and how others read them.
//!
//! * [`block`]: the counters of a thread; [`peaks`], [`countdown`]: what it looks for in them.
//! * [`inside`]: what of them it does for units.
//! * [`published`], [`slot`], [`registry`]: how other threads read them; the process's totals.
//! * [`tools`]: what tools allocate for themselves.

pub(super) mod block;
#[cfg(feature = "profile")]
pub(super) mod countdown;
pub(super) mod counts;
pub(super) mod inside;
pub(super) mod peaks;
pub(super) mod published;
pub(super) mod registry;
pub(super) mod slot;
pub(super) mod tools;

// Where the loom models have it, too.
use super::sync;
