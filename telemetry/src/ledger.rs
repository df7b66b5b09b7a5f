//! The ledger: what became of everything that telemetry has seen, and what telemetry itself cost.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What became of everything, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ledger {
    /// Units of work that have ended. Kept: in the histograms.
    pub units: Stream,
    /// Log events that could be written. None is, in this version.
    pub events: Stream,
    /// Units that could be written in detail. None is, in this version.
    pub exemplars: Stream,
    /// Records handed to exporters, once for each exporter. Kept: written.
    pub records: Stream,
    /// What telemetry itself cost.
    pub cost: Cost,
}

/// `seen = kept + sampled_out + rate_limited + dropped`, always.
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
    fn new(kept: u64, dropped: BTreeMap<String, u64>) -> Self {
        Stream {
            seen: kept + dropped.values().sum::<u64>(),
            kept,
            sampled_out: 0,
            rate_limited: 0,
            dropped,
        }
    }

    /// How many were lost, for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// What telemetry itself cost. `None` is "unknown".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cost {
    /// CPU time of the background thread, in seconds. Known on Linux.
    pub cpu_seconds: Option<f64>,
    /// Bytes that exporters have written.
    pub bytes: u64,
    /// Time per unit on the application's threads, in nanoseconds: the mean of every 64th unit,
    /// the clock's own time included.
    pub ns_per_unit: Option<f64>,
}

/// Why a unit was not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnitDrop {
    /// The builder's `max_units_in_progress` were in progress.
    TooManyUnits,
    /// There was no room for its span's id.
    TooManySpans,
    /// It ended after `shutdown`.
    ShutDown,
}

impl UnitDrop {
    const ALL: [UnitDrop; 3] = [
        UnitDrop::TooManyUnits,
        UnitDrop::TooManySpans,
        UnitDrop::ShutDown,
    ];

    fn name(self) -> &'static str {
        match self {
            UnitDrop::TooManyUnits => "too_many_units",
            UnitDrop::TooManySpans => "too_many_spans",
            UnitDrop::ShutDown => "shut_down",
        }
    }
}

/// The running sums behind the ledger.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    units_kept: AtomicU64,
    units_dropped: [AtomicU64; UnitDrop::ALL.len()],
    timed_units: AtomicU64,
    timed_ns: AtomicU64,
    records_kept: AtomicU64,
    records_dropped: Mutex<BTreeMap<String, u64>>,
    bytes: AtomicU64,
    /// Nanoseconds plus one; 0 is unknown.
    cpu: AtomicU64,
}

impl Counters {
    pub(crate) fn unit_kept(&self, telemetry_ns: Option<u64>) {
        self.units_kept.fetch_add(1, Relaxed);
        if let Some(ns) = telemetry_ns {
            self.timed_units.fetch_add(1, Relaxed);
            self.timed_ns.fetch_add(ns, Relaxed);
        }
    }

    pub(crate) fn unit_dropped(&self, why: UnitDrop) {
        self.units_dropped[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn records_written(&self, records: u64, bytes: u64) {
        self.records_kept.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn records_dropped(&self, records: u64, why: &str) {
        let mut dropped = self
            .records_dropped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *dropped.entry(why.to_owned()).or_default() += records;
    }

    /// Notes the CPU time of the calling thread, which is the background thread.
    pub(crate) fn note_own_cpu(&self) {
        if let Ok(ns) = own_cpu_ns() {
            self.cpu.store(ns + 1, Relaxed);
        }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let units_dropped = UnitDrop::ALL
            .into_iter()
            .map(|why| (why, self.units_dropped[why as usize].load(Relaxed)))
            .filter(|(_, n)| *n > 0)
            .map(|(why, n)| (why.name().to_owned(), n))
            .collect();
        let records_dropped = self
            .records_dropped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let timed = self.timed_units.load(Relaxed);
        Ledger {
            units: Stream::new(self.units_kept.load(Relaxed), units_dropped),
            events: Stream::default(),
            exemplars: Stream::default(),
            records: Stream::new(self.records_kept.load(Relaxed), records_dropped),
            cost: Cost {
                cpu_seconds: self
                    .cpu
                    .load(Relaxed)
                    .checked_sub(1)
                    .map(|ns| ns as f64 / 1e9),
                bytes: self.bytes.load(Relaxed),
                ns_per_unit: (timed > 0).then(|| self.timed_ns.load(Relaxed) as f64 / timed as f64),
            },
        }
    }
}

/// CPU time of the calling thread in nanoseconds, from the scheduler's own account.
fn own_cpu_ns() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().unwrap_or_default();
    first
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
