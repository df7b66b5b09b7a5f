//! Detail turned up for a bounded time.

use super::Envelope;
use crate::tool::words::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words! {
    /// Which end of an incident a record is about.
    Phase {
        /// Detail is turned up.
        Begin = "begin",
        /// It is back to what it was.
        End = "end",
    }
}

words! {
    /// What ended an incident.
    EndedBy {
        /// Its time was over.
        Ttl = "ttl",
        /// Somebody asked for it.
        Request = "request",
        /// Telemetry was shut down.
        Shutdown = "shutdown",
    }
}

words! {
    /// How the heap profiler walked stacks.
    Unwinding {
        /// By frame pointers, which a program has that is built so.
        FramePointers = "frame pointers",
        /// By the tables that exceptions are unwound by.
        UnwindTables = "unwind tables",
    }
}

/// Detail was turned up for a bounded time, or is back to what it was.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::record::{
///     Culprit, EndedBy, Envelope, HeapReport, IncidentEnd, IncidentRecord, Phase, Resource,
/// };
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let why = "checkouts are slow";
/// let mut incident = IncidentRecord::new(envelope, 1, "on call", why, 60.0);
/// assert_eq!(incident.phase, Phase::Begin);
/// incident.phase = Phase::End;
/// let mut end = IncidentEnd::new(EndedBy::Ttl, 60.0);
/// let mut heap = HeapReport::default();
/// heap.grew.push(Culprit::new("src/cart.rs:31 remember"));
/// end.heap = Some(heap);
/// incident.end = Some(end);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentRecord {
    /// When it began or ended.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Whether it begins or ends.
    pub phase: Phase,
    /// Names the incident, in this process.
    pub id: u64,
    /// Who asked for it: `api`, `trigger`, `signal`, or what was given.
    pub who: String,
    /// Why.
    pub why: String,
    /// Which units it is about.
    pub scope: IncidentScope,
    /// How long it lasts at most.
    pub ttl_seconds: f64,
    /// Bytes between two samples of the heap, at the mean, as asked for; `None`: the heap is not
    /// profiled.
    pub heap_mean_bytes: Option<u64>,
    /// What came of it; `None` when it begins.
    pub end: Option<IncidentEnd>,
}

impl IncidentRecord {
    /// Its begin, of an incident about all units that does not profile the heap.
    pub fn new(
        envelope: Envelope,
        id: u64,
        who: impl Into<String>,
        why: impl Into<String>,
        ttl_seconds: f64,
    ) -> Self {
        IncidentRecord {
            envelope,
            phase: Phase::Begin,
            id,
            who: who.into(),
            why: why.into(),
            scope: IncidentScope::default(),
            ttl_seconds,
            heap_mean_bytes: None,
            end: None,
        }
    }
}

/// Which units an incident is about; what is not said is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentScope {
    /// The name of the unit's span.
    pub unit: Option<String>,
    /// The module that the span's target is in.
    pub target: Option<String>,
    /// Fields of the span.
    pub fields: BTreeMap<String, String>,
}

/// What came of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentEnd {
    /// What ended it.
    pub by: EndedBy,
    /// How long it lasted.
    pub seconds: f64,
    /// What it cost.
    pub cost: IncidentCost,
    /// What the heap profiler found.
    pub heap: Option<HeapReport>,
}

impl IncidentEnd {
    /// After this many seconds, and nothing known of what it cost.
    pub fn new(by: EndedBy, seconds: f64) -> Self {
        IncidentEnd {
            by,
            seconds,
            cost: IncidentCost::default(),
            heap: None,
        }
    }
}

/// What telemetry spent while an incident lasted. What several spent at the same time is in the figures
/// of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentCost {
    /// CPU seconds of telemetry's own threads, exporters included, and of the samples of the heap, until it ended;
    /// `None` where it is unknown.
    pub cpu_seconds: Option<f64>,
    /// CPU seconds of the report of the heap, after that.
    pub report_cpu_seconds: Option<f64>,
    /// Bytes of exemplars that were written for it.
    pub bytes: u64,
    /// Units that were kept for it.
    pub exemplars: u64,
    /// Events over the limits of their call sites that passed for it.
    pub events: u64,
    /// Samples of the heap.
    pub heap_samples: u64,
    /// How often it was given less, as it took more than its share of the processor or of bytes.
    pub shed: u64,
}

/// What the heap profiler found while an incident lasted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeapReport {
    /// Files that were written, of what changed meanwhile: for `go tool pprof` (`.heap.pb.gz`), as a flame
    /// graph (`.growth.svg`) and as JSON (`.growth.json`). If the directory cannot be written to, they are
    /// among the temporary files.
    pub files: Vec<String>,
    /// Which could not be written where, and why.
    pub error: Option<String>,
    /// How stacks were walked.
    pub unwinding: Unwinding,
    /// Bytes in use, more than at the beginning: an estimate.
    pub inuse_growth_bytes: f64,
    /// Where memory grew most.
    pub grew: Vec<Culprit>,
    /// Where most was allocated, freed or not.
    pub allocated: Vec<Culprit>,
    /// Where most bytes were allocated outside of every unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Culprit>,
}

/// One place in one unit, and what was allocated there while an incident lasted. Figures are estimates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Culprit {
    /// The unit of work that allocated, if there was one.
    pub unit: Option<String>,
    /// The innermost frame of the user's own code.
    pub site: String,
    /// Bytes in use, more than at the beginning.
    pub inuse_bytes: f64,
    /// Bytes allocated.
    pub alloc_bytes: f64,
    /// The frames from there on, the innermost first; at most 12, of the stack that did most of it.
    pub stack: Vec<String>,
}

impl Culprit {
    /// A place where nothing was allocated, in no unit.
    pub fn new(site: impl Into<String>) -> Self {
        Culprit {
            unit: None,
            site: site.into(),
            inuse_bytes: 0.0,
            alloc_bytes: 0.0,
            stack: Vec::new(),
        }
    }
}
