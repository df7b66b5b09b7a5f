//! Log events: those that are written, and how many are not.

use super::Envelope;
use crate::tool::words::words;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

words! {
    /// How much an event matters.
    Level {
        /// Something failed.
        Error = "ERROR",
        /// Something may.
        Warn = "WARN",
        /// Something happened.
        Info = "INFO",
        /// For who looks for a fault.
        Debug = "DEBUG",
        /// For who follows every step.
        Trace = "TRACE",
        /// Of any level: of call sites that found no room to be kept apart.
        Other = "other",
    }
}

/// A log event.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::record::{Envelope, EventRecord, Level, Resource};
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let mut event = EventRecord::new(envelope, Level::Error, "shop::pay");
/// event.message = Some("card declined".to_owned());
/// event.fields.insert("attempt".to_owned(), 2.into());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventRecord {
    /// When it happened.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Its level.
    pub level: Level,
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
    /// output is over its own limit. What the queue or the output's limit refuse, while the
    /// share is too high, is in no weight; the `suppressed` record has all of them.
    pub weight: f64,
    /// Its trace, as [`Builder::trace_ids`](crate::Builder::trace_ids) has it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span that was current there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

impl EventRecord {
    /// One that stands for itself, without a text, in no unit.
    pub fn new(envelope: Envelope, level: Level, target: impl Into<String>) -> Self {
        EventRecord {
            envelope,
            level,
            target: target.into(),
            location: None,
            message: None,
            fields: Map::new(),
            unit: None,
            weight: 1.0,
            trace_id: None,
            span_id: None,
        }
    }
}

/// How many events of one call site were not written.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::record::{Envelope, Level, Resource, SuppressedRecord};
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let suppressed = SuppressedRecord::new(envelope, Level::Warn, "shop::pay", 1200);
/// assert_eq!(suppressed.count, 1200);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuppressedRecord {
    /// When this was found.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The level of the events.
    pub level: Level,
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

impl SuppressedRecord {
    /// This many, all of them at the moment of the record.
    pub fn new(envelope: Envelope, level: Level, target: impl Into<String>, count: u64) -> Self {
        SuppressedRecord {
            first: envelope.ts.clone(),
            last: envelope.ts.clone(),
            envelope,
            level,
            target: target.into(),
            location: None,
            count,
        }
    }
}
