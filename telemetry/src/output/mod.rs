//! From what the application's threads hand over to the records that are written: a bounded [`queue`], and the
//! background thread, the [`worker`]. It has a [`writer`] make records, as many as the [`allowance`] has room
//! for, and hands each [`delivery`] of them to the exporters: in turn, or by the [`lane`] of one that has a
//! thread of its own.

mod allowance;
mod delivery;
mod lane;
mod queue;
mod records;
mod turns;
mod worker;
mod writer;

pub(crate) use allowance::OutputLimit;
pub(crate) use queue::{Item, MOST_ITEMS, Queue};
pub(crate) use worker::{Setup, start};
