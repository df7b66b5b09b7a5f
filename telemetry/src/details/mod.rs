//! The detail of units in progress: which spans they entered when, and which events they saw.
//!
//! Each thread writes what it does into a fixed ring ([`ring`]), oldest overwritten, and nobody
//! reads it, until a unit ends that is worth keeping: its entries ([`entry`]) are then copied from
//! the rings of all threads, and the background thread makes a tree of them. Fields ([`fields`])
//! are kept as bytes until then.

mod entry;
mod fields;
mod ring;

pub(crate) use entry::{Entry, What};
pub(crate) use fields::{FieldBytes, Fields, Number};
pub(crate) use ring::DetailRing;
