//! Where records go.
//!
//! An [`Exporter`] is called on telemetry's background thread, once per flush, with all records of
//! that flush. It may be slow, fail or panic: the service goes on, and the ledger counts what was
//! lost, and why. Exporters are called one after the other: while one blocks, the others wait, and
//! what is to be written waits for them, some thousand records at the most. If no exporter took the
//! records of a flush, the next one says again what would be said once only: how many events were
//! suppressed, which budgets are for units that nobody saw, and which incidents began and ended.

mod json_lines;
mod record;
mod report;

pub use crate::snapshot::BoundaryCost;
pub use json_lines::{JsonLines, OpenFileError, json_lines, json_lines_file};
pub use record::{
    BrokenBudget, Culprit, EventRecord, ExemplarEvent, ExemplarRecord, ExemplarSpan, FindingRecord,
    HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope, LedgerRecord, Record,
    SuppressedRecord, UnitRecord,
};

use std::io;

/// Writes records somewhere.
pub trait Exporter: Send {
    /// Writes the records of one flush and returns the number of bytes that it took.
    ///
    /// # Errors
    ///
    /// If not all records were written for good: all of the flush then count as dropped, with the
    /// error's kind as the reason.
    fn export(&mut self, records: &[Record]) -> io::Result<u64>;
}
