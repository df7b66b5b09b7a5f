//! Where records go.
//!
//! An [`Exporter`] is called on telemetry's background thread, once for each [`Flush`]. It may be slow, fail or
//! panic: the service goes on, and the ledger counts what was lost, for each exporter, and why.
//!
//! Those that share the background thread are called one after the other: while one blocks, the others wait, and
//! what is to be written waits for them, a few thousand records at most. One that may take long, as it talks to
//! another machine, asks for a [thread of its own](on_its_own_thread): it then delays nobody, and has a queue of
//! some flushes; what finds it full is dropped for this exporter alone, and counted.
//!
//! All of these threads are silent: what happens on them is no unit, is in no sample, and wakes no other thread. Not
//! so what an exporter has done on threads of its own, an HTTP client's say: its spans are units like any other, and
//! each flush then makes the next one. The filter of units (`my_client=off`) leaves them out.
//!
//! If no exporter took the records of a flush, the next one says again what would be said once only: how many
//! events were suppressed, which budgets are for units that nobody saw, and which incidents began and ended. Those
//! come in the order in which they are said, which need not be that of their times.
//!
//! ```
//! use std::io;
//! use telemetry::export::{Exporter, Flush};
//! use telemetry::record::Record;
//!
//! /// Prints what is to be acted upon.
//! struct Findings;
//!
//! impl Exporter for Findings {
//!     fn name(&self) -> &str {
//!         "findings"
//!     }
//!
//!     fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
//!         for record in flush.records() {
//!             if let Record::Finding(finding) = record {
//!                 println!("{}: {}", flush.resource().service, finding.message);
//!             }
//!         }
//!         Ok(0)
//!     }
//! }
//!
//! let (_layer, telemetry) = telemetry::Telemetry::builder().export(Findings).build()?;
//! # drop(telemetry);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod json_lines;
mod own_thread;
mod rotation;

#[doc(no_inline)]
pub use crate::record::{
    BoundaryCost, BrokenBudget, Culprit, EventRecord, ExemplarEvent, ExemplarRecord, ExemplarSpan,
    FindingRecord, HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope,
    LedgerRecord, Record, SuppressedRecord, UnitRecord,
};
pub use json_lines::{JsonLines, OpenFileError, json_lines, json_lines_file};
pub use own_thread::{OnItsOwnThread, on_its_own_thread};

use crate::record::{Resource, Snapshot};
use std::fmt;
use std::io;

/// Writes records somewhere.
pub trait Exporter: Send {
    /// Names it in the ledger. Asked once, when telemetry is built; of two with the same name, the second
    /// is kept apart by a number.
    fn name(&self) -> &str;

    /// Writes the records of one flush and returns the number of bytes that it took.
    ///
    /// # Errors
    ///
    /// If not all records were written for good: all of the flush then count as dropped, with the
    /// error's kind as the reason.
    fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64>;

    /// Whether it wants a thread of its own: see [`on_its_own_thread`]. Asked once, when telemetry is built.
    fn wants_its_own_thread(&self) -> bool {
        false
    }
}

impl<E: Exporter + ?Sized> Exporter for Box<E> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
        (**self).export(flush)
    }

    fn wants_its_own_thread(&self) -> bool {
        (**self).wants_its_own_thread()
    }
}

/// What an exporter is given.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::export::{self, Exporter, Flush};
/// use telemetry::record::{Envelope, Resource};
/// use telemetry::Snapshot;
///
/// // As a test of an exporter makes one.
/// let resource = Resource::new("checkout");
/// let snapshot = Snapshot::new(Envelope::new(resource.clone(), SystemTime::now()), 10.0);
/// let flush = Flush::new(&resource, &[], &snapshot);
/// assert_eq!(flush.snapshot().seconds, 10.0);
/// assert_eq!(export::json_lines(Vec::new()).export(&flush)?, 0); // there are no records
/// # assert_eq!((flush.resource().service.as_str(), flush.records().len()), ("checkout", 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Flush<'a> {
    resource: &'a Resource,
    records: &'a [Record],
    figures: &'a dyn SnapshotSource,
}

/// Where the snapshot of a flush comes from.
pub(crate) trait SnapshotSource: Sync {
    fn snapshot(&self) -> &Snapshot;
}

impl SnapshotSource for Snapshot {
    fn snapshot(&self) -> &Snapshot {
        self
    }
}

impl<'a> Flush<'a> {
    /// For the test of an exporter.
    pub fn new(resource: &'a Resource, records: &'a [Record], snapshot: &'a Snapshot) -> Self {
        Flush::of(resource, records, snapshot)
    }

    pub(crate) fn of(
        resource: &'a Resource,
        records: &'a [Record],
        figures: &'a dyn SnapshotSource,
    ) -> Self {
        Flush {
            resource,
            records,
            figures,
        }
    }

    /// Who says it.
    pub fn resource(&self) -> &'a Resource {
        self.resource
    }

    /// What is new since the flush before, the ledger last.
    pub fn records(&self) -> &'a [Record] {
        self.records
    }

    /// All figures since the start, with all buckets. It is taken when the first exporter of this flush asks for
    /// it, and is the same for all of them.
    ///
    /// # Cost
    ///
    /// Nothing if nobody asks; else as [`Telemetry::snapshot`](crate::Telemetry::snapshot), once.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.figures.snapshot()
    }
}

impl fmt::Debug for Flush<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush")
            .field("resource", self.resource)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}
