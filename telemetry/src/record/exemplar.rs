//! One unit in detail.

use super::{BoundaryCost, Envelope, Level};
use crate::tool::words::words;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

words! {
    /// Why a unit is kept in detail. Of those that apply, the first that is within its limit keeps it.
    Reason {
        /// It was drawn before it began.
        Sample = "sample",
        /// It failed.
        Error = "error",
        /// It broke its budget.
        OverBudget = "over_budget",
        /// It took longer than 99 % of its kind.
        Slow = "slow",
        /// Less than one unit in a hundred is of its kind.
        Rare = "rare",
        /// It is within the scope of an incident.
        Incident = "incident",
    }
}

/// One unit in detail.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::record::{
///     Envelope, ExemplarEvent, ExemplarRecord, ExemplarSpan, Level, Reason, Resource,
/// };
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let unit = ("checkout", "shop::api");
/// let mut exemplar = ExemplarRecord::new(envelope, "7", unit, Reason::Slow);
/// exemplar.spans.push(ExemplarSpan::new(1, None, "checkout", "shop::api"));
/// exemplar.spans.push(ExemplarSpan::new(2, Some(1), "pay", "shop::pay"));
/// exemplar.events.push(ExemplarEvent::new(1_200, Level::Warn, "shop::pay"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExemplarRecord {
    /// When the unit ended.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Names the exemplar, in this process.
    pub id: String,
    /// The name of the unit's span.
    pub unit: String,
    /// Names the unit, in this process.
    #[serde(default)]
    pub unit_id: String,
    /// The unit around it, if it is inside another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<OuterUnit>,
    /// Its trace, as [`Builder::trace_ids`](crate::Builder::trace_ids) has it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span that was current there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The target of the span's call site.
    pub target: String,
    /// All reasons to keep it, the one that did first.
    pub why: Vec<Reason>,
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

impl ExemplarRecord {
    /// A unit of this kind that stands for itself, and of which nothing else is known.
    pub fn new(
        envelope: Envelope,
        id: impl Into<String>,
        (unit, target): (&str, &str),
        why: Reason,
    ) -> Self {
        ExemplarRecord {
            envelope,
            id: id.into(),
            unit: unit.to_owned(),
            unit_id: String::new(),
            outer: None,
            trace_id: None,
            span_id: None,
            target: target.to_owned(),
            why: vec![why],
            weight: 1.0,
            error: false,
            costs: BTreeMap::new(),
            boundaries: BTreeMap::new(),
            spans: Vec::new(),
            events: Vec::new(),
            complete: false,
        }
    }
}

/// The unit around an inner one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OuterUnit {
    /// The name of its kind.
    pub unit: String,
    /// Names it, in this process: if there is an exemplar of it, that has this as `unit_id`.
    pub unit_id: String,
}

impl OuterUnit {
    /// Of this kind, and called so.
    pub fn new(unit: impl Into<String>, unit_id: impl Into<String>) -> Self {
        OuterUnit {
            unit: unit.into(),
            unit_id: unit_id.into(),
        }
    }
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
    /// Its entries, without those by a thread that was inside it already.
    pub entries: u64,
    /// Its fields; texts are cut at 256 bytes, all of them together at a kibibyte: a field `…` tells
    /// that others are missing, or could not be formatted.
    pub fields: Map<String, Value>,
}

impl ExemplarSpan {
    /// One that was never entered.
    pub fn new(
        id: u64,
        parent: Option<u64>,
        name: impl Into<String>,
        target: impl Into<String>,
    ) -> Self {
        ExemplarSpan {
            id,
            parent,
            name: name.into(),
            target: target.into(),
            start_ns: None,
            end_ns: None,
            busy_ns: 0,
            entries: 0,
            fields: Map::new(),
        }
    }
}

/// One event of an exemplar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExemplarEvent {
    /// When, in nanoseconds since the unit began. Of an event over its limit, when its thread last
    /// entered or left a span.
    pub at_ns: u64,
    /// Its level.
    pub level: Level,
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

impl ExemplarEvent {
    /// One without a text.
    pub fn new(at_ns: u64, level: Level, target: impl Into<String>) -> Self {
        ExemplarEvent {
            at_ns,
            level,
            target: target.into(),
            line: None,
            span: None,
            message: None,
            fields: Map::new(),
        }
    }
}
