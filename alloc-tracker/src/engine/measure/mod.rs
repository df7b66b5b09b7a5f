//! What is measured: between two moments of a thread, and of a unit on all of them.
//!
//! * [`segments`]: the measurements of a thread; [`installed`]: whether there is anything to measure.
//! * [`work`]: the units that a thread works for; [`units`]: units as their users have them.
//! * [`unit_cell`], [`unit_pool`]: the shared sums of units, in memory that is only ever reused for units.
//! * [`account`]: one unit after another, for a table.
//! * [`active_sites`], [`meanwhile`]: what budgets ask for as well.

pub(super) mod account;
pub(super) mod active_sites;
pub(super) mod installed;
pub(super) mod meanwhile;
pub(super) mod segments;
mod unit_cell;
pub(super) mod unit_pool;
mod units;
pub(super) mod work;

// Where the loom models have them, too.
use super::counter::counts;
use super::sync;
