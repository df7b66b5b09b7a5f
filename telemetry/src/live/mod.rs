//! Units and spans in progress.
//!
//! * [`unit`]: what a unit has cost so far, by [sums](shared_sum), the boundaries that it has
//!   [`crossed`] and the [`moments`] at which it changed; [`units`]:
//!   where they lie; [`nested`]: units in units.
//! * [`spans`]: from a span's id to the unit it belongs to, by a [`span_table`]; [`in_unit`]: which that is, as
//!   one word.

mod crossed;
mod in_unit;
mod moments;
mod nested;
pub(crate) mod refs;
mod shared_sum;
mod span_table;
mod spans;
mod unit;
mod units;

pub(crate) use crossed::Crossing;
pub(crate) use in_unit::{UnitOfSpan, UnitRef};
pub(crate) use nested::{Nesting, Outer, PlacedUnit, for_outer};
pub(crate) use spans::{KnownSpan, SpanOwner, Spans, WhoLives};
pub(crate) use unit::{LiveUnit, Start};
pub(crate) use units::{Ended, LiveUnits};
