//! Records, read back from JSON lines.
//!
//! ```
//! use telemetry::record::{Lines, Record};
//!
//! let text = "{\"type\":\"of the future\",\"v\":1}\n{\"type\":\"led\n";
//! let mut lines = Lines::new(text.as_bytes());
//! assert_eq!(lines.next().transpose()?, Some(Record::Unknown));
//! let error = lines.next().and_then(Result::err).ok_or("it is torn")?;
//! assert_eq!(error.line(), 2);
//! assert!(lines.next().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lines;

pub use crate::export::{
    BoundaryCost, BrokenBudget, Culprit, EventRecord, ExemplarEvent, ExemplarRecord, ExemplarSpan,
    FindingRecord, HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope,
    LedgerRecord, Record, SuppressedRecord, UnitRecord,
};
pub use lines::{LineError, Lines, Why};
