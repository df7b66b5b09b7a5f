//! Units: which spans are one, of what kind, and the state of those in progress.
//!
//! * [`filter`]: which spans are units.
//! * [`kinds`]: span call sites and the kinds of unit made of them.
//! * [`spans`]: from a span's id to the unit it belongs to.
//! * [`slot`]: what a unit in progress has cost so far; [`slots`]: where they lie.
//! * [`finished`]: a unit that has ended.

mod filter;
mod finished;
mod kinds;
mod slot;
mod slots;
mod spans;

pub(crate) use filter::Interest;
pub use filter::{ParseUnitFilterError, UnitFilter};
pub(crate) use finished::{BOUNDARIES_PER_UNIT, Boundaries, Finished, FinishedBoundary};
pub(crate) use kinds::{KindId, Kinds};
pub(crate) use slot::Start;
pub(crate) use slots::{FreeSlot, SlotRef, Slots};
pub(crate) use spans::{Membership, SpanTable};
