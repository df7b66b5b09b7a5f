//! The records that exporters are given.

use crate::ledger::Ledger;
use crate::snapshot::{BoundaryCost, BudgetSnapshot, UnitSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One record. Serialised, it is one object with `v`, `type`, `ts` and `service`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
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
    /// Of a type that this library does not know: of a newer one. Never written.
    #[serde(other)]
    Unknown,
}

/// What the units of one kind cost in one interval: those that ended, and those in progress. There is
/// none if no unit ended and none was worked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// The end of the interval, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// The length of the interval in seconds.
    pub seconds: f64,
    /// The figures.
    #[serde(flatten)]
    pub figures: UnitSnapshot,
}

/// What became of everything, since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// The figures.
    #[serde(flatten)]
    pub ledger: Ledger,
}

/// One unit in detail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExemplarRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When the unit ended, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// Names the exemplar, in this process.
    pub id: String,
    /// The name of the unit's span.
    pub unit: String,
    /// The target of the span's call site.
    pub target: String,
    /// All reasons to keep it, of `sample`, `error`, `over_budget`, `slow`, `rare`, `incident`: the one that did
    /// first.
    pub why: Vec<String>,
    /// Kept as a `sample`: how many units of its kind it stands for. For another reason: how many
    /// with this reason, itself and those that the reason's limit left out before it.
    pub weight: f64,
    /// Whether the unit failed.
    pub error: bool,
    /// What it cost, per metric; `None` where it is unknown. Times are nanoseconds.
    pub costs: BTreeMap<String, Option<u64>>,
    /// What it did across each boundary.
    pub boundaries: BTreeMap<String, BoundaryCost>,
    /// Its spans in the order in which they began, at most 128. The first is the unit itself, unless
    /// its beginning was overwritten.
    pub spans: Vec<ExemplarSpan>,
    /// What was logged in it, at most 128.
    pub events: Vec<ExemplarEvent>,
    /// Whether all its spans and events are here: the oldest may have been overwritten.
    pub complete: bool,
}

/// One span of an exemplar. Times are nanoseconds since the unit began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExemplarSpan {
    /// Names it in this record.
    pub id: u64,
    /// The span around it; `None` for the unit's own.
    pub parent: Option<u64>,
    /// Its name.
    pub name: String,
    /// Its target.
    pub target: String,
    /// Its first entry; `None` if it was never entered.
    pub start_ns: Option<u64>,
    /// Its last exit.
    pub end_ns: Option<u64>,
    /// The time inside it, on all threads.
    pub busy_ns: u64,
    /// How often it was entered.
    pub entries: u64,
    /// Its fields; texts are cut at 256 bytes, all of them together at a kibibyte: a field `…` tells
    /// that others are missing, or could not be formatted.
    pub fields: Map<String, Value>,
}

/// One event of an exemplar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExemplarEvent {
    /// When, in nanoseconds since the unit began. Of an event over its limit, when its thread last
    /// entered or left a span.
    pub at_ns: u64,
    /// Its level: `ERROR` to `TRACE`.
    pub level: String,
    /// Its target.
    pub target: String,
    /// The line in its file, which tells call sites apart.
    pub line: Option<u32>,
    /// The span that it happened in.
    pub span: Option<u64>,
    /// Its text; `None` as well if it was over its limit and the unit not in the sample.
    pub message: Option<String>,
    /// Its fields; the same.
    pub fields: Map<String, Value>,
}

/// A log event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When it happened, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// Its level: `ERROR` to `TRACE`.
    pub level: String,
    /// Its target.
    pub target: String,
    /// The file and line of its call site.
    pub location: Option<String>,
    /// Its text.
    pub message: Option<String>,
    /// Its fields; texts are cut at 256 bytes, all of them together at a kibibyte: a field `…` tells
    /// that others are missing, or could not be formatted.
    pub fields: Map<String, Value>,
    /// The unit that it happened in.
    pub unit: Option<String>,
    /// Of how many events that passed their call site's limit it was drawn: more than 1 while the
    /// output is over its own limit. What the queue or the output's limit refuse besides, while the
    /// share is too high, is in no weight; the `suppressed` record has all of them.
    pub weight: f64,
}

/// How many events of one call site were not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuppressedRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When this was found, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// The level of the events.
    pub level: String,
    /// Their target.
    pub target: String,
    /// The file and line of the call site; `None` for all that found no room
    /// among 6,144.
    pub location: Option<String>,
    /// How many, since the record before: exact.
    pub count: u64,
    /// When the first of them was, RFC 3339 in UTC.
    pub first: String,
    /// When the last of them was.
    pub last: String,
}

/// Something to act upon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FindingRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When it was found, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// What it is about: `over_budget`, or `unknown_unit` for a budget, a trigger or a prepared
    /// incident of a unit that nobody saw.
    pub finding: String,
    /// The name of the unit.
    pub unit: String,
    /// The target of its span's call site; empty if nobody saw it.
    pub target: String,
    /// For people.
    pub message: String,
    /// The budget that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BrokenBudget>,
    /// The id of an exemplar that shows it, if one was kept.
    pub exemplar: Option<String>,
}

/// A budget that did not hold for one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrokenBudget {
    /// The metric, as in `budgets.toml`.
    pub metric: String,
    /// What about it: `p50` to `p999`, `max` or `rate`.
    pub statistic: String,
    /// How it was kept.
    #[serde(flatten)]
    pub figures: BudgetSnapshot,
}

/// Detail was turned up for a bounded time, or is back to what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// `begin` or `end`.
    pub phase: String,
    /// Names the incident, in this process.
    pub id: u64,
    /// Who asked for it: `api`, `trigger`, `signal`, or what was given.
    pub who: String,
    /// Why.
    pub why: String,
    /// Which units it is about.
    pub scope: IncidentScope,
    /// How long it lasts at the most.
    pub ttl_seconds: f64,
    /// Bytes between two samples of the heap, at the mean, as asked for; `None`: the heap is not
    /// profiled.
    pub heap_mean_bytes: Option<u64>,
    /// What came of it; `None` when it begins.
    pub end: Option<IncidentEnd>,
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
    /// What ended it: `ttl`, `request` or `shutdown`.
    pub by: String,
    /// How long it lasted.
    pub seconds: f64,
    /// What it cost.
    pub cost: IncidentCost,
    /// What the heap profiler found.
    pub heap: Option<HeapReport>,
}

/// What telemetry spent while an incident lasted. What several spent at the same time is in the figures
/// of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentCost {
    /// CPU seconds of the background thread and of the samples of the heap, until it ended; `None` where
    /// it is unknown.
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
    /// How stacks were walked: by `frame pointers` or `unwind tables`.
    pub unwinding: String,
    /// Bytes in use, more than at the beginning: an estimate.
    pub inuse_growth_bytes: f64,
    /// Where memory grew most.
    pub grew: Vec<Culprit>,
    /// Where most was allocated, freed or not.
    pub allocated: Vec<Culprit>,
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
