//! Records: what exporters are given, and what is read back from JSON lines. Data, and no more.
//!
//! Whoever writes an exporter, or a test of what reads records, can make them: each has a `new` for what it
//! cannot be without, and fields for the rest.
//!
//! ```
//! use std::time::SystemTime;
//! use telemetry::record::{Envelope, EventRecord, Level, Lines, Record, Resource};
//!
//! let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
//! let mut event = EventRecord::new(envelope, Level::Error, "shop::pay");
//! event.message = Some("card declined".to_owned());
//! let text = serde_json::to_string(&Record::Event(event.clone()))? + "\n{\"type\":\"led\n";
//!
//! let mut lines = Lines::new(text.as_bytes());
//! assert_eq!(lines.next().transpose()?, Some(Record::Event(event)));
//! let error = lines.next().and_then(Result::err).ok_or("it is torn")?;
//! assert_eq!(error.line(), 2);
//! assert!(lines.next().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod envelope;
mod event;
mod exemplar;
mod finding;
mod incident;
mod ledger;
mod lines;
mod plain;
mod report;
mod snapshot;
mod table;
mod unit;

pub use envelope::{Envelope, Resource};
pub use event::{EventRecord, Level, SuppressedRecord};
pub use exemplar::{ExemplarEvent, ExemplarRecord, ExemplarSpan, Reason};
pub use finding::{BrokenBudget, FindingKind, FindingRecord, Statistic};
pub use incident::{
    Culprit, EndedBy, HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope, Phase,
    Unwinding,
};
pub use ledger::{Cost, ExporterLedger, Ledger, LedgerRecord, Stream};
pub use lines::{LineError, Lines, Why};
pub use snapshot::Snapshot;
pub use unit::{
    BoundaryCost, BoundarySnapshot, BudgetSnapshot, InProgress, UnitRecord, UnitSnapshot,
};

use plain::Plain;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The version of the format that this library writes, and the newest that it reads.
const VERSION: u32 = 1;

/// One record. Serialised, it is one object with `type` and what is in its [`Envelope`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// What the units of one kind cost in one interval.
    Unit(UnitRecord),
    /// One unit in detail.
    Exemplar(ExemplarRecord),
    /// A log event.
    Event(EventRecord),
    /// How many events of one call site were not written.
    Suppressed(SuppressedRecord),
    /// Something to act upon.
    Finding(FindingRecord),
    /// Detail was turned up, or is back to what it was.
    Incident(IncidentRecord),
    /// What became of everything, since the start.
    Ledger(LedgerRecord),
    /// Of a type that this library does not know: of a newer one. What it says is not kept, so it cannot be
    /// serialised: that is an error.
    Unknown,
}

/// How it is written: what serde makes of this is for a [`Record`]. Of its own, for what is read goes by
/// [`Plain`] first.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Record", tag = "type", rename_all = "snake_case")]
enum Tagged {
    Unit(UnitRecord),
    Exemplar(ExemplarRecord),
    Event(EventRecord),
    Suppressed(SuppressedRecord),
    Finding(FindingRecord),
    Incident(IncidentRecord),
    Ledger(LedgerRecord),
    #[serde(other, skip_serializing)]
    Unknown,
}

impl Serialize for Record {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Tagged::serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Tagged::deserialize(Plain(value)).map_err(D::Error::custom)
    }
}

impl Record {
    /// Who says it, and when; `None` of a record that this library does not know.
    pub fn envelope(&self) -> Option<&Envelope> {
        Some(match self {
            Record::Unit(record) => &record.envelope,
            Record::Exemplar(record) => &record.envelope,
            Record::Event(record) => &record.envelope,
            Record::Suppressed(record) => &record.envelope,
            Record::Finding(record) => &record.envelope,
            Record::Incident(record) => &record.envelope,
            Record::Ledger(record) => &record.envelope,
            Record::Unknown => return None,
        })
    }
}
