//! What became of everything.

use super::{Envelope, Outside};
use crate::tool::words::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What became of everything, since the start.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::Ledger;
/// use telemetry::record::{Envelope, LedgerRecord, Resource};
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let record = LedgerRecord::new(envelope, Ledger::default());
/// assert_eq!(record.ledger.units.seen, 0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerRecord {
    /// When.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The figures.
    #[serde(flatten)]
    pub ledger: Ledger,
}

impl LedgerRecord {
    /// The ledger of a moment.
    pub fn new(envelope: Envelope, ledger: Ledger) -> Self {
        LedgerRecord { envelope, ledger }
    }
}

/// What became of everything, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ledger {
    /// Units of work that have ended. Kept: in the histograms.
    pub units: Stream,
    /// Log events of the levels and targets that are asked for, and of none without an exporter.
    /// Kept: written.
    pub events: Stream,
    /// Units that could be written in detail: all that have ended. Kept: written. Sampled out: there
    /// was no reason to keep them.
    pub exemplars: Stream,
    /// Records handed to exporters, once for each exporter. Kept: written.
    pub records: Stream,
    /// The same for each exporter, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exporters: BTreeMap<String, ExporterLedger>,
    /// Which share of the events that passed the limit of their call site is written now, so that
    /// the output keeps its own limit. `None` without an exporter.
    pub event_probability: Option<f64>,
    /// Spans of units: how many were lean.
    #[serde(default)]
    pub spans: SpanLedger,
    /// What could be charged to nobody, by reason: in no figure of any unit. `entry_never_left`: a thread
    /// entered a span of a unit and never left it, as its guard was forgotten, moved to another thread, or
    /// held over an await; the unit is counted, without what the thread did since it entered.
    /// `call_after_end`: something was added to a [`Call`](crate::Call) whose unit had ended, or it ended after that.
    #[serde(default)]
    pub untold: BTreeMap<String, u64>,
    /// What was done for no unit, without time on processors and without the threads, which
    /// [`Snapshot::outside`](super::Snapshot) has; `None` if allocations are not tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// Panics on telemetry's own threads, each caught: what was about to be written is missing from the
    /// records, and the thread goes on. Those of exporters at work are in `records`, those of exporters that were
    /// dropped are here.
    #[serde(default)]
    pub panics: u64,
    /// This is the ledger of a forked child: what was counted here is in it, and is written nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
    /// What telemetry itself cost.
    pub cost: Cost,
}

/// Spans of units that were made, but for those of threads that were ending.
///
/// Only what all others say *never* to is lean in [`Lean`](crate::Lean); `docs/performance.md` says how to have more of
/// it. Without `Lean` none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpanLedger {
    /// Those that telemetry alone has.
    pub lean: u64,
    /// Those that the subscriber has as well.
    pub shared: u64,
}

impl SpanLedger {
    /// So many of both.
    pub fn new(lean: u64, shared: u64) -> Self {
        SpanLedger { lean, shared }
    }
}

/// `seen = kept + sampled_out + rate_limited + dropped`, always.
///
/// ```
/// use telemetry::Telemetry;
///
/// let (layer, telemetry) = Telemetry::builder().build()?;
/// let units = telemetry.ledger().units;
/// assert_eq!(
///     units.seen,
///     units.kept + units.sampled_out + units.rate_limited + units.dropped_total(),
/// );
/// # drop(layer);
/// # Ok::<(), telemetry::BuildError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stream {
    /// All there were.
    pub seen: u64,
    /// Counted or written.
    pub kept: u64,
    /// Left out by a sampling decision.
    pub sampled_out: u64,
    /// Left out by a rate limit.
    pub rate_limited: u64,
    /// Lost, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Stream {
    pub(crate) fn new(kept: u64, dropped: BTreeMap<String, u64>) -> Self {
        Stream {
            seen: kept + dropped.values().sum::<u64>(),
            kept,
            sampled_out: 0,
            rate_limited: 0,
            dropped,
        }
    }

    /// The same, with those that were left out on purpose.
    pub(crate) fn leaving_out(self, sampled_out: u64, rate_limited: u64) -> Self {
        Stream {
            seen: self.seen + sampled_out + rate_limited,
            sampled_out,
            rate_limited,
            ..self
        }
    }

    /// Of both.
    pub(crate) fn add(&mut self, other: &Stream) {
        self.seen += other.seen;
        self.kept += other.kept;
        self.sampled_out += other.sampled_out;
        self.rate_limited += other.rate_limited;
        for (why, n) in &other.dropped {
            *self.dropped.entry(why.clone()).or_default() += n;
        }
    }

    /// How many were lost, for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// What became of the records that one exporter was handed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExporterLedger {
    /// The records.
    #[serde(flatten)]
    pub records: Stream,
    /// Bytes that it has written.
    pub bytes: u64,
}

words! {
    /// What a time is of.
    TimeKind {
        /// Time on a processor.
        Cpu = "cpu",
        /// Time that passed.
        Wall = "wall",
    }
}

/// What telemetry itself cost. `None` is "unknown".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cost {
    /// CPU time of the background thread, and of those of exporters, in seconds. Known on Linux.
    pub cpu_seconds: Option<f64>,
    /// Bytes that exporters have written.
    pub bytes: u64,
    /// Time per unit on the application's threads, in nanoseconds, the clocks' own time included.
    ///
    /// Of every 64th unit each callback is timed. One that takes longer than 10 us was off its core meanwhile, and
    /// is left out. What callbacks leave for later (units that are put into histograms, every few hundred, and an
    /// exemplar that is put together) is asked of the thread's CPU clock each time, for all units.
    pub ns_per_unit: Option<f64>,
    /// Whether that is time on a processor, as on Linux, where a busy neighbour does not move it by much.
    #[serde(default)]
    pub ns_per_unit_is: TimeKind,
    /// What a reading of a thread's CPU clock takes, by that clock, in nanoseconds, as measured when
    /// telemetry was built. Every entry of a unit that the system is asked about has half of one at its
    /// begin and half of one at its end; so much is subtracted from its `cpu`. Known on Linux.
    #[serde(default)]
    pub cpu_reading_ns: Option<u64>,
    /// Live bytes of telemetry itself. No unit has them, no trigger, and not
    /// [`alloc_tracker::process_usage`]. Known where the tracker is installed.
    #[serde(default)]
    pub live_bytes: Option<i64>,
}
