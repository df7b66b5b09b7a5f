//! From what the application's threads hand over to the records that are written: a bounded
//! [`queue`], and a [`writer`] on the background thread that keeps the output under its limit.

mod allowance;
mod queue;
mod records;
mod turns;
mod writer;

pub(crate) use allowance::OutputLimit;
pub(crate) use queue::{Item, MOST_ITEMS, Queue};
pub(crate) use writer::Writer;
