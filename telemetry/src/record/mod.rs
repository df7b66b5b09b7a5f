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
mod outside;
mod plain;
mod report;
mod snapshot;
mod table;
mod trace;
mod unit;
mod where_time_goes;

pub use envelope::{Envelope, Resource};
pub use event::{EventRecord, Level, SuppressedRecord};
pub use exemplar::{ExemplarEvent, ExemplarRecord, ExemplarSpan, OuterUnit, Reason};
pub use finding::{BrokenBudget, FindingKind, FindingRecord, Statistic};
pub use incident::{
    Culprit, EndedBy, HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope, Phase,
    Unwinding,
};
pub use ledger::{Cost, ExporterLedger, Ledger, LedgerRecord, SpanLedger, Stream, TimeKind};
pub use lines::{LineError, Lines, Why};
pub use outside::{Observability, Outside, OutsideCpu, OutsideOfThreads};
pub use snapshot::{PassedBy, Snapshot};
pub use trace::TraceIds;
pub use unit::{
    BoundaryCost, BoundarySnapshot, BudgetSnapshot, InProgress, Inside, UnitRecord, UnitSnapshot,
};

use serde::{Deserialize, Serialize};

/// The version of the format that this library writes, and the newest that it reads.
const VERSION: u32 = 1;

/// Reads and writes a type by what serde made of its likeness. What is read goes by [`Plain`] first.
macro_rules! written_as {
    ($record:ident, $likeness:ident) => {
        impl Serialize for $record {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $likeness::serialize(self, to)
            }
        }

        impl<'de> Deserialize<'de> for $record {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(from)?;
                let plain = $crate::record::plain::Plain(value);
                $likeness::deserialize(plain).map_err(serde::de::Error::custom)
            }
        }
    };
}
use written_as;

macro_rules! types {
    ($($(#[$doc:meta])* $type:ident($record:ident),)*) => {
        /// One record. Serialised, it is one object with `type` and what is in its [`Envelope`].
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Record {
            $($(#[$doc])* $type($record),)*
            /// Of a type that this library does not know: of a newer one. What it says is not kept, so it cannot
            /// be serialised: that is an error.
            Unknown,
        }

        #[derive(Serialize, Deserialize)]
        #[serde(remote = "Record", tag = "type", rename_all = "snake_case")]
        enum Tagged {
            $($type($record),)*
            #[serde(other, skip_serializing)]
            Unknown,
        }

        impl Record {
            /// Who says it, and when; `None` of a record that this library does not know.
            pub fn envelope(&self) -> Option<&Envelope> {
                Some(match self {
                    $(Record::$type(record) => &record.envelope,)*
                    Record::Unknown => return None,
                })
            }
        }
    };
}

types! {
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
}

written_as!(Record, Tagged);
