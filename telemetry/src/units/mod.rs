//! Units: which spans are one, of what kind, and the state of those in progress.
//!
//! * [`kinds`]: span call sites and the kinds of unit made of them.
//! * [`spans`]: from a span's id to the unit it belongs to.
//! * [`slot`]: what a unit in progress has cost so far; [`slots`]: where they lie.
//! * [`finished`]: a unit that has ended.

mod finished;
mod kinds;
mod slot;
mod slots;
mod spans;

pub(crate) use finished::{BOUNDARIES_PER_UNIT, Finished, FinishedBoundary};
pub(crate) use kinds::{KindId, Kinds};
pub(crate) use slot::{Slot, Start};
pub(crate) use slots::{Ended, FreeSlot, SlotRef, Slots};
pub(crate) use spans::{Membership, SpanTable};
