//! Exemplars: single units that are written in detail, chosen when they end.
//!
//! A small share is drawn before it begins and stands for all units. A unit is also kept for
//! what came of it: an error, a broken budget, slowness, a kind that is rarely seen. Each reason has
//! a limit of its own for each kind of unit, so that a storm of one starves no other; and what the
//! limit leaves out is in the weight of the next that is kept.

mod keep;
mod tree;

pub(crate) use keep::{Choice, Chooser, HeadSample, Kept};
pub(crate) use tree::tree;

use crate::cost::{Finished, KindId};
use crate::details::Entry;
use crate::live::UnitRef;
use crate::record::{Reason, TraceIds};
use std::time::SystemTime;

/// A kept unit on its way from the thread that ended it to the background thread.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) id: u64,
    pub(crate) kept: Kept,
    pub(crate) unit: Finished,
    /// Which unit it is, and which one it is inside of.
    pub(crate) reference: UnitRef,
    pub(crate) outer: Option<(UnitRef, KindId)>,
    pub(crate) trace: Option<TraceIds>,
    /// When the unit ended, and by the instance's clock when it began.
    pub(crate) ended: SystemTime,
    pub(crate) started: u64,
    /// The newest first, thread by thread.
    pub(crate) entries: Vec<Entry>,
    /// Whether all entries are there.
    pub(crate) whole: bool,
}

impl Captured {
    pub(crate) fn kind(&self) -> KindId {
        self.unit.kind
    }

    /// What it is an example of: those for a reason come before the sample.
    pub(crate) fn group(&self) -> (bool, KindId, Reason) {
        let reason = self.kept.why().next().unwrap_or_default();
        (self.kept.is_sample(), self.kind(), reason)
    }

    /// Bytes that it takes while it waits.
    pub(crate) fn size(&self) -> usize {
        let entries = self
            .entries
            .iter()
            .map(|e| size_of::<Entry>() + e.fields().len());
        size_of::<Self>() + size_of_val(&*self.unit.boundaries) + entries.sum::<usize>()
    }
}
