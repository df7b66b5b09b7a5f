//! Units: which spans are one, of what kind, and the state of those in progress.
//!
//! * [`kinds`]: span call sites and the kinds of unit made of them.
//! * [`spans`]: from a span's id to the unit it belongs to, by a [`span_table`];
//!   [`lean_span`]: one that nobody but telemetry has.
//! * [`slot`]: what a unit in progress has cost so far; [`slots`]: where they lie.
//! * [`pool`]: how slots and the records of lean spans are taken and given back.

mod kinds;
mod lean_span;
mod pool;
mod refs;
mod slot;
mod slots;
mod span_table;
mod spans;

pub(crate) use kinds::Kinds;
pub(crate) use lean_span::{Held, LeanRef, LeanStart};
pub(crate) use pool::{Allowed, Taken};
pub(crate) use slot::{Slot, Start};
pub(crate) use slots::{Ended, SlotRef, Slots};
pub(crate) use spans::{Known, Membership, Spans};
