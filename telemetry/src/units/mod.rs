//! Units: which spans are one, of what kind, and the state of those in progress.
//!
//! * [`filter`]: which spans are units.
//! * [`kinds`]: span call sites and the kinds of unit made of them.
//! * [`spans`]: from a span's id to the unit it belongs to.
//! * [`slots`]: what a unit in progress has cost so far.

mod filter;
mod kinds;
mod slots;
mod spans;

pub(crate) use filter::Interest;
pub use filter::{ParseUnitFilterError, UnitFilter};
pub(crate) use kinds::{KindId, Kinds};
pub(crate) use slots::{
    BOUNDARIES_PER_UNIT, Boundaries, Finished, FinishedBoundary, FreeSlot, SlotRef, Slots, Start,
};
pub(crate) use spans::{Membership, SpanTable};
