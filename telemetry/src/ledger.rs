//! The ledger: what became of everything that telemetry has seen, and what telemetry itself cost.

use crate::cost::{Finished, Outcome};
use crate::events::Events;
use alloc_tracker::raw::Lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// Which share of the events that passed the limit of their call site is written now, so that
    /// the output keeps its own limit. `None` without an exporter.
    pub event_probability: Option<f64>,
    /// What could be charged to nobody, by reason: in no figure of any unit. `entry_never_left`: a thread
    /// entered a span of a unit and never left it, as its guard was forgotten, moved to another thread, or
    /// held over an await; the unit is counted, without what the thread did since it entered.
    /// `call_after_end`: something was added to a [`Call`](crate::Call) whose unit had ended.
    #[serde(default)]
    pub untold: BTreeMap<String, u64>,
    /// Panics on telemetry's own thread, each caught: what it was about to write is missing from the
    /// records, and the thread goes on. Those of exporters at work are in `records`.
    #[serde(default)]
    pub panics: u64,
    /// This is the ledger of a forked child: what was counted here is in it, and is written nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
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

    /// The same, with those that were left out on purpose.
    fn leaving_out(self, sampled_out: u64, rate_limited: u64) -> Self {
        Stream {
            seen: self.seen + sampled_out + rate_limited,
            sampled_out,
            rate_limited,
            ..self
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

/// Why a unit was not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnitDrop {
    /// The builder's `max_units_in_progress` were in progress.
    TooManyUnits,
    /// There was no room for its span's id.
    TooManySpans,
    /// It ended after `shutdown`.
    ShutDown,
    /// It ended in the child of a fork, where its figures cannot be read.
    Forked,
}

impl UnitDrop {
    const ALL: [UnitDrop; 4] = [
        UnitDrop::TooManyUnits,
        UnitDrop::TooManySpans,
        UnitDrop::ShutDown,
        UnitDrop::Forked,
    ];

    fn name(self) -> &'static str {
        match self {
            UnitDrop::TooManyUnits => "too_many_units",
            UnitDrop::TooManySpans => "too_many_spans",
            UnitDrop::ShutDown => "shut_down",
            UnitDrop::Forked => "forked",
        }
    }
}

/// Why something is in no unit's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Untold {
    /// A thread entered a span and never left it.
    NeverLeft,
    /// It came after its unit had ended.
    CallAfterEnd,
}

impl Untold {
    const ALL: [Untold; 2] = [Untold::NeverLeft, Untold::CallAfterEnd];

    fn name(self) -> &'static str {
        match self {
            Untold::NeverLeft => "entry_never_left",
            Untold::CallAfterEnd => "call_after_end",
        }
    }
}

/// Why an event or an exemplar that was to be written was not.
#[derive(Clone, Copy, Debug)]
enum Lost {
    QueueFull,
    ShutDown,
    /// In the child of a fork, which has nobody to write it.
    Forked,
    /// No exporter took it.
    WriteFailed,
}

impl Lost {
    const ALL: [Lost; 4] = [
        Lost::QueueFull,
        Lost::ShutDown,
        Lost::Forked,
        Lost::WriteFailed,
    ];

    fn name(self) -> &'static str {
        match self {
            Lost::QueueFull => "queue_full",
            Lost::ShutDown => "shut_down",
            Lost::Forked => "forked",
            Lost::WriteFailed => "write_failed",
        }
    }
}

/// Something that is written one by one: an event, an exemplar.
#[derive(Debug, Default)]
pub(crate) struct Written {
    kept: AtomicU64,
    lost: [AtomicU64; Lost::ALL.len()],
}

impl Written {
    pub(crate) fn keep(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    pub(crate) fn queue_full(&self) {
        self.lost[Lost::QueueFull as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn shut_down(&self) {
        self.lost[Lost::ShutDown as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn forked(&self) {
        self.lost[Lost::Forked as usize].fetch_add(1, Relaxed);
    }

    /// So many that were kept were not written after all.
    pub(crate) fn write_failed(&self, times: u64) {
        self.lose(times);
        self.kept.fetch_sub(times, Relaxed);
    }

    /// So many were not written.
    pub(crate) fn lose(&self, times: u64) {
        self.lost[Lost::WriteFailed as usize].fetch_add(times, Relaxed);
    }

    fn stream(&self) -> Stream {
        let lost = Lost::ALL.into_iter();
        let lost = lost.map(|why| (why.name(), self.lost[why as usize].load(Relaxed)));
        Stream::new(self.kept.load(Relaxed), named(lost))
    }
}

/// Without those that did not happen.
fn named(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    let counts = counts.filter(|(_, n)| *n > 0);
    counts.map(|(why, n)| (why.to_owned(), n)).collect()
}

/// What is counted of units before it goes into the ledger.
///
/// PERF: a ring is read at once; two locked additions for each unit in it took 10 ns.
#[derive(Debug, Default)]
pub(crate) struct UnitCounts {
    kept: u64,
    timed: u64,
    timed_ns: u64,
    /// By what became of them as exemplars. Who is queued is counted when it is written.
    exemplars: [u64; Outcome::ALL.len()],
}

impl UnitCounts {
    pub(crate) fn count(&mut self, unit: &Finished) {
        self.kept += 1;
        self.exemplars[unit.exemplar as usize] += 1;
        if let Some(ns) = unit.telemetry_ns {
            self.timed += 1;
            self.timed_ns += ns;
        }
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.exemplars[outcome as usize]
    }
}

/// The running sums behind the ledger.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    units_kept: AtomicU64,
    units_dropped: [AtomicU64; UnitDrop::ALL.len()],
    untold: [AtomicU64; Untold::ALL.len()],
    timed_units: AtomicU64,
    timed_ns: AtomicU64,
    pub(crate) events: Written,
    pub(crate) exemplars: Written,
    exemplars_not_chosen: AtomicU64,
    exemplars_rate_limited: AtomicU64,
    records_kept: AtomicU64,
    records_dropped: Lock<BTreeMap<String, u64>>,
    bytes: AtomicU64,
    panics: AtomicU64,
    /// Nanoseconds plus one; 0 is unknown.
    cpu: AtomicU64,
}

impl Counters {
    /// Units are in the histograms now.
    pub(crate) fn add(&self, units: &UnitCounts) {
        for (sum, n) in [
            (&self.units_kept, units.kept),
            (&self.timed_units, units.timed),
            (&self.timed_ns, units.timed_ns),
            (&self.exemplars_not_chosen, units.of(Outcome::NotChosen)),
            (&self.exemplars_rate_limited, units.of(Outcome::RateLimited)),
            (
                &self.exemplars.lost[Lost::QueueFull as usize],
                units.of(Outcome::QueueFull),
            ),
        ] {
            if n > 0 {
                sum.fetch_add(n, Relaxed);
            }
        }
    }

    pub(crate) fn exemplar_rate_limited(&self) {
        self.exemplars_rate_limited.fetch_add(1, Relaxed);
    }

    pub(crate) fn unit_dropped(&self, why: UnitDrop) {
        self.units_dropped[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn could_not_tell(&self, what: Untold) {
        self.untold[what as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn records_written(&self, records: u64, bytes: u64) {
        self.records_kept.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn records_dropped(&self, records: u64, why: &str) {
        let mut dropped = self.records_dropped.lock();
        *dropped.entry(why.to_owned()).or_default() += records;
    }

    /// Something panicked on the background thread.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// How often something did.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Notes the CPU time of the calling thread, which is the background thread.
    pub(crate) fn note_own_cpu(&self) {
        if let Ok(ns) = own_cpu_ns() {
            self.cpu.store(ns + 1, Relaxed);
        }
    }

    /// CPU time of the background thread, as last noted; `None`: unknown.
    pub(crate) fn own_cpu_ns(&self) -> Option<u64> {
        self.cpu.load(Relaxed).checked_sub(1)
    }

    /// `rate_limited`: how many events limits kept back.
    pub(crate) fn ledger(&self, events: &Events, rate_limited: u64) -> Ledger {
        let units_dropped = UnitDrop::ALL.into_iter();
        let units_dropped =
            units_dropped.map(|why| (why.name(), self.units_dropped[why as usize].load(Relaxed)));
        let untold = Untold::ALL.into_iter();
        let untold = untold.map(|what| (what.name(), self.untold[what as usize].load(Relaxed)));
        let records_dropped = self.records_dropped.lock().clone();
        let timed = self.timed_units.load(Relaxed);
        Ledger {
            untold: named(untold),
            units: Stream::new(self.units_kept.load(Relaxed), named(units_dropped)),
            events: (self.events.stream()).leaving_out(events.sampled_out(), rate_limited),
            exemplars: self.exemplars.stream().leaving_out(
                self.exemplars_not_chosen.load(Relaxed),
                self.exemplars_rate_limited.load(Relaxed),
            ),
            event_probability: events.are_on().then(|| events.probability()),
            records: Stream::new(self.records_kept.load(Relaxed), records_dropped),
            panics: self.panics(),
            forked: false,
            cost: Cost {
                cpu_seconds: self.own_cpu_ns().map(|ns| ns as f64 / 1e9),
                bytes: self.bytes.load(Relaxed),
                ns_per_unit: (timed > 0).then(|| self.timed_ns.load(Relaxed) as f64 / timed as f64),
                cpu_reading_ns: None,
                live_bytes: alloc_tracker::is_installed()
                    .then(|| alloc_tracker::raw::tools_usage().live_bytes()),
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
