//! What the ledger is made of: what became of everything that telemetry has seen, and what telemetry itself cost.

use crate::cost::{Finished, Outcome};
use crate::events::Events;
use crate::os;
use crate::record::{Cost, ExporterLedger, Ledger, SpanLedger, Stream, TimeKind};
use alloc_tracker::raw::Lock;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

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

/// How often.
#[derive(Debug, Default)]
pub(crate) struct UntoldCounts([AtomicU64; Untold::ALL.len()]);

impl UntoldCounts {
    /// Something happened of which nobody can tell what it cost, or whom.
    pub(crate) fn add(&self, what: Untold) {
        self.0[what as usize].fetch_add(1, Relaxed);
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

    /// This many that were kept were not written after all.
    pub(crate) fn write_failed(&self, times: u64) {
        self.lose(times);
        self.kept.fetch_sub(times, Relaxed);
    }

    /// This many were not written.
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

/// What became of the records that one exporter was handed.
#[derive(Debug)]
struct Exported {
    name: String,
    kept: AtomicU64,
    dropped: Lock<BTreeMap<String, u64>>,
    bytes: AtomicU64,
    /// Of its own thread, if it has one, in nanoseconds.
    cpu: AtomicU64,
}

impl Exported {
    fn new(name: String) -> Self {
        Exported {
            name,
            kept: AtomicU64::new(0),
            dropped: Lock::new(),
            bytes: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
        }
    }

    fn drop(&self, records: u64, why: &str) {
        if records > 0 {
            *self.dropped.lock().entry(why.to_owned()).or_default() += records;
        }
    }

    fn ledger(&self) -> ExporterLedger {
        ExporterLedger {
            records: Stream::new(self.kept.load(Relaxed), self.dropped.lock().clone()),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

/// The running sums behind the ledger.
#[derive(Debug)]
pub(crate) struct Counters {
    units_kept: AtomicU64,
    units_dropped: [AtomicU64; UnitDrop::ALL.len()],
    untold: &'static UntoldCounts,
    timed_units: AtomicU64,
    timed_ns: AtomicU64,
    /// On the application's threads, but not in a timed callback: nanoseconds by the CPU clock.
    apart_ns: AtomicU64,
    /// There is no CPU clock: those are by the wall's.
    apart_by_wall: AtomicBool,
    pub(crate) events: Written,
    pub(crate) exemplars: Written,
    exemplars_not_chosen: AtomicU64,
    exemplars_rate_limited: AtomicU64,
    exporters: Vec<Exported>,
    panics: AtomicU64,
    /// Nanoseconds plus one; 0 is unknown.
    cpu: AtomicU64,
}

impl Counters {
    /// For exporters of these names, all of them different.
    pub(crate) fn new(exporters: Vec<String>, untold: &'static UntoldCounts) -> Self {
        Counters {
            units_kept: AtomicU64::new(0),
            units_dropped: Default::default(),
            untold,
            timed_units: AtomicU64::new(0),
            timed_ns: AtomicU64::new(0),
            apart_ns: AtomicU64::new(0),
            apart_by_wall: AtomicBool::new(os::cpu_of(|| ()).1.is_none()),
            events: Written::default(),
            exemplars: Written::default(),
            exemplars_not_chosen: AtomicU64::new(0),
            exemplars_rate_limited: AtomicU64::new(0),
            exporters: exporters.into_iter().map(Exported::new).collect(),
            panics: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
        }
    }

    /// What was done on one of the application's threads, apart from what is timed, took so long: by the CPU clock, or,
    /// where there is none, by the other.
    pub(crate) fn took_apart(&self, by_cpu: Option<u64>, by_wall: impl FnOnce() -> u64) {
        let took = by_cpu.unwrap_or_else(by_wall);
        self.apart_ns.fetch_add(took, Relaxed);
    }

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
        self.untold.add(what);
    }

    /// The exporter with this place wrote this many records and bytes.
    pub(crate) fn records_written(&self, place: usize, records: u64, bytes: u64) {
        let exporter = &self.exporters[place];
        exporter.kept.fetch_add(records, Relaxed);
        // Whatever it says that it wrote.
        let more = |before: u64| Some(before.saturating_add(bytes));
        let _ = exporter.bytes.fetch_update(Relaxed, Relaxed, more);
    }

    /// The exporter with this place did not.
    pub(crate) fn records_dropped(&self, place: usize, records: u64, why: &str) {
        self.exporters[place].drop(records, why);
    }

    /// No exporter was handed this many records.
    pub(crate) fn records_of_all_dropped(&self, records: u64, why: &str) {
        let each = |exporter: &Exported| exporter.drop(records, why);
        self.exporters.iter().for_each(each);
    }

    /// Notes the CPU time of the calling thread, which is that of the exporter with this place.
    pub(crate) fn note_cpu_of_exporter(&self, place: usize) {
        if let Ok(ns) = own_cpu_ns() {
            self.exporters[place].cpu.store(ns, Relaxed);
        }
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

    /// CPU time of the background thread and those of exporters, as last noted; `None`: unknown.
    pub(crate) fn own_cpu_ns(&self) -> Option<u64> {
        let exporters = self.exporters.iter();
        let of_exporters: u64 = exporters.map(|exporter| exporter.cpu.load(Relaxed)).sum();
        Some(self.cpu.load(Relaxed).checked_sub(1)? + of_exporters)
    }

    /// `rate_limited`: how many events limits kept back.
    pub(crate) fn ledger(&self, events: &Events, rate_limited: u64) -> Ledger {
        let units_dropped = UnitDrop::ALL.into_iter();
        let units_dropped =
            units_dropped.map(|why| (why.name(), self.units_dropped[why as usize].load(Relaxed)));
        let untold = Untold::ALL.into_iter();
        let untold = untold.map(|what| (what.name(), self.untold.0[what as usize].load(Relaxed)));
        let exporters = self.exporters.iter();
        let exporters: BTreeMap<String, ExporterLedger> = exporters
            .map(|exporter| (exporter.name.clone(), exporter.ledger()))
            .collect();
        let mut records = Stream::default();
        exporters
            .values()
            .for_each(|exporter| records.add(&exporter.records));
        let timed = self.timed_units.load(Relaxed);
        Ledger {
            untold: named(untold),
            spans: SpanLedger::default(),
            units: Stream::new(self.units_kept.load(Relaxed), named(units_dropped)),
            events: (self.events.stream()).leaving_out(events.sampled_out(), rate_limited),
            exemplars: self.exemplars.stream().leaving_out(
                self.exemplars_not_chosen.load(Relaxed),
                self.exemplars_rate_limited.load(Relaxed),
            ),
            event_probability: events.are_on().then(|| events.probability()),
            records,
            panics: self.panics(),
            outside: None,
            forked: false,
            cost: Cost {
                cpu_seconds: self.own_cpu_ns().map(|ns| ns as f64 / 1e9),
                bytes: (exporters.values())
                    .fold(0, |sum: u64, exporter| sum.saturating_add(exporter.bytes)),
                ns_per_unit: (timed > 0).then(|| {
                    let apart = self.apart_ns.load(Relaxed) as f64;
                    let units = self.units_kept.load(Relaxed).max(1) as f64;
                    self.timed_ns.load(Relaxed) as f64 / timed as f64 + apart / units
                }),
                ns_per_unit_is: match self.apart_by_wall.load(Relaxed) {
                    false => TimeKind::Cpu,
                    true => TimeKind::Wall,
                },
                cpu_reading_ns: None,
                live_bytes: alloc_tracker::is_installed()
                    .then(|| alloc_tracker::raw::tools_usage().live_bytes()),
            },
            exporters,
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
