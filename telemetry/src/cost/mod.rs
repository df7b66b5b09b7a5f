//! What a unit of work costs: one table, with a row for each metric.
//!
//! From a row come the metric's cell in a unit in progress, its word in one that has ended, the histogram
//! that its values go to, its name in budgets, its column in the table, its line in `docs/costs.md` and in the
//! JSON Schema. What a row cannot say is where the figure arises: that is one call, of
//! [`LiveUnit::add`](crate::live) mostly.

mod boundary_id;
mod crossing;
mod finished;
mod inside;
mod measure;
mod of_unit;

pub(crate) use boundary_id::BoundaryId;
pub use crossing::BoundaryMetric;
pub(crate) use crossing::{BOUNDARIES_PER_UNIT, Boundaries, FinishedBoundary};
pub(crate) use finished::{Finished, KindId, Outcome};
pub(crate) use inside::InsideCosts;
pub use measure::Measure;
pub(crate) use of_unit::UnitCosts;

use std::fmt;

/// How a figure of a unit comes to be known, and of which units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The unit has it when it ends. Of every unit.
    Ended,
    /// Threads add to it as it arises. Of every unit.
    Added,
    /// The allocator counts it, where it is the tracker.
    Tracked,
    /// The system is asked about a sample of the units.
    Asked,
    /// So it is about a sample of the sample.
    AskedForIo,
    /// Of units whose wake-ups are seen.
    Woken,
}

/// What the table says of a metric.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    measure: Measure,
    source: Source,
    /// Whether it is known while the unit is in progress, and can be added up over several units: a maximum cannot.
    is_sum: bool,
    /// The title of its column for people; `None`: it has none.
    column: Option<&'static str>,
    prometheus: (&'static str, Option<(&'static str, &'static str)>),
    text: &'static str,
}

macro_rules! costs {
    ($($metric:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        /// A figure of a unit of work that has a distribution.
        ///
        /// All of them, with what they count and of which units they are known, are in `docs/costs.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Metric {
            $(
                #[allow(missing_docs)] // `Metric::text` says it
                $metric,
            )*
        }

        impl Metric {
            /// All of them, in the order in which they are written.
            pub const ALL: [Metric; ROWS.len()] = [$(Metric::$metric),*];
        }

        const ROWS: [Row; [$(Metric::$metric),*].len()] = [$(Row { $($field: $value),* }),*];
    };
}

costs! {
    Wall {
        name: "wall",
        measure: Measure::Nanoseconds,
        source: Source::Ended,
        is_sum: true,
        column: Some("wall"),
        prometheus: ("unit_duration_seconds", None),
        text: "From the unit's begin to its last exit, or to its close if it was never entered",
    }
    Busy {
        name: "busy",
        measure: Measure::Nanoseconds,
        source: Source::Added,
        is_sum: true,
        column: Some("busy"),
        prometheus: ("unit_busy_seconds", None),
        text: "Time inside of the unit's spans, summed over threads",
    }
    Active {
        name: "active",
        measure: Measure::Nanoseconds,
        source: Source::Ended,
        is_sum: true,
        column: None,
        prometheus: ("unit_active_seconds", None),
        text: "The part of `wall` in which at least one thread worked for the unit",
    }
    Queued {
        name: "queued",
        measure: Measure::Nanoseconds,
        source: Source::Woken,
        is_sum: true,
        column: None,
        prometheus: ("unit_queued_seconds", None),
        text: "The part of `wall` in which it had been woken and no thread had polled it yet",
    }
    Wait {
        name: "wait",
        measure: Measure::Nanoseconds,
        source: Source::Ended,
        is_sum: true,
        column: None,
        prometheus: ("unit_wait_seconds", None),
        text: "The part of `wall` in which it waited for a call across a boundary, and no thread worked for it",
    }
    Unexplained {
        name: "unexplained",
        measure: Measure::Nanoseconds,
        source: Source::Ended,
        is_sum: false,
        column: None,
        prometheus: ("unit_unexplained_seconds", None),
        text: "What is left of `wall`: nobody said what the unit waited for",
    }
    Cpu {
        name: "cpu",
        measure: Measure::Nanoseconds,
        source: Source::Asked,
        is_sum: true,
        column: Some("cpu"),
        prometheus: ("unit_cpu_seconds", None),
        text: "Time on a processor, without what asking for it takes, and never above `busy`",
    }
    Allocs {
        name: "allocs",
        measure: Measure::Count,
        source: Source::Tracked,
        is_sum: true,
        column: Some("allocs"),
        prometheus: ("unit_allocations", None),
        text: "Allocations and reallocations",
    }
    AllocBytes {
        name: "alloc_bytes",
        measure: Measure::Bytes,
        source: Source::Tracked,
        is_sum: true,
        column: Some("bytes"),
        prometheus: ("unit_allocated_bytes", None),
        text: "Bytes allocated, and by which reallocations grew",
    }
    PeakBytes {
        name: "peak_bytes",
        measure: Measure::Bytes,
        source: Source::Tracked,
        is_sum: false,
        column: Some("peak"),
        prometheus: ("unit_peak_bytes", None),
        text: "The most live bytes at once",
    }
    Wakeups {
        name: "wakeups",
        measure: Measure::Count,
        source: Source::Added,
        is_sum: true,
        column: Some("wake-ups"),
        prometheus: ("unit_wakeups", None),
        text: "How often a thread began to work for the unit: each poll is one, and the drop of an instrumented future",
    }
    Retries {
        name: "retries",
        measure: Measure::Count,
        source: Source::Ended,
        is_sum: true,
        column: None,
        prometheus: ("unit_retries", None),
        text: "Calls across boundaries that were tried again",
    }
    VoluntarySwitches {
        name: "context_switches_voluntary",
        measure: Measure::Count,
        source: Source::Asked,
        is_sum: true,
        column: None,
        prometheus: ("unit_context_switches", Some(("kind", "voluntary"))),
        text: "Context switches because the thread waited for something",
    }
    InvoluntarySwitches {
        name: "context_switches_involuntary",
        measure: Measure::Count,
        source: Source::Asked,
        is_sum: true,
        column: None,
        prometheus: ("unit_context_switches", Some(("kind", "involuntary"))),
        text: "Context switches because another thread's turn came",
    }
    IoCalls {
        name: "io_calls",
        measure: Measure::Count,
        source: Source::AskedForIo,
        is_sum: true,
        column: None,
        prometheus: ("unit_io_calls", None),
        text: "Calls of `read`, `write` and their kin, on files, pipes and sockets",
    }
    IoBytes {
        name: "io_bytes",
        measure: Measure::Bytes,
        source: Source::AskedForIo,
        is_sum: true,
        column: None,
        prometheus: ("unit_io_bytes", None),
        text: "Bytes that those calls moved",
    }
}

impl Metric {
    const fn row(self) -> &'static Row {
        const TABLE: &[Row; ROWS.len()] = &ROWS;
        &TABLE[self as usize]
    }

    /// Its name, in records and budgets: `alloc_bytes`.
    ///
    /// ```
    /// use telemetry::Metric;
    ///
    /// for metric in Metric::ALL {
    ///     println!(
    ///         "{} ({}, of {}): {}",
    ///         metric.name(),
    ///         metric.unit_of_measure(),
    ///         metric.known_of(),
    ///         metric.text(),
    ///     );
    /// }
    /// assert_eq!(Metric::by_name("wall"), Some(Metric::Wall));
    /// assert!(Metric::Cpu.is_of_sample());
    /// ```
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it counts: `ns`, `bytes` or `count`.
    pub const fn unit_of_measure(self) -> &'static str {
        self.measure().as_str()
    }

    /// What it is, in a sentence without its end.
    pub const fn text(self) -> &'static str {
        self.row().text
    }

    /// Its name in Prometheus, where times are in seconds, and the label that tells it apart there, if
    /// another metric has the name, too.
    pub const fn prometheus(self) -> (&'static str, Option<(&'static str, &'static str)>) {
        self.row().prometheus
    }

    /// Of which units it is known, in words.
    pub const fn known_of(self) -> &'static str {
        match self.source() {
            Source::Ended | Source::Added => "every unit",
            Source::Tracked => "every unit, with the tracker",
            Source::Asked => "a sample",
            Source::AskedForIo => "a sample of the sample",
            Source::Woken => "units whose wake-ups are seen",
        }
    }

    /// Whether it is known of a sample of the units only.
    pub const fn is_of_sample(self) -> bool {
        matches!(self.source(), Source::Asked | Source::AskedForIo)
    }

    /// The metric of this name.
    pub fn by_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The same, as data.
    pub const fn measure(self) -> Measure {
        self.row().measure
    }

    pub(crate) const fn source(self) -> Source {
        self.row().source
    }

    pub(crate) const fn column(self) -> Option<&'static str> {
        self.row().column
    }

    /// Whether the costs of several units can be added up, and are known while they are in progress.
    pub(crate) const fn is_told_in_progress(self) -> bool {
        self.row().is_sum && !self.is_of_sample()
    }

    /// Its place among those of the same source.
    pub(crate) const fn place(self) -> usize {
        let (mut place, mut at) = (0, 0);
        while at < self as usize {
            if ROWS[at].source as u8 == self.source() as u8 {
                place += 1;
            }
            at += 1;
        }
        place
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Source {
    pub(crate) const ENDED: [Metric; Source::Ended.len()] = Source::Ended.metrics();
    pub(crate) const ADDED: [Metric; Source::Added.len()] = Source::Added.metrics();
    pub(crate) const TRACKED: [Metric; Source::Tracked.len()] = Source::Tracked.metrics();
    pub(crate) const ASKED: [Metric; Source::Asked.len()] = Source::Asked.metrics();
    pub(crate) const ASKED_FOR_IO: [Metric; Source::AskedForIo.len()] =
        Source::AskedForIo.metrics();
    pub(crate) const WOKEN: [Metric; Source::Woken.len()] = Source::Woken.metrics();

    const TOLD_LEN: usize =
        Source::Ended.len() + Source::Added.len() + Source::Tracked.len() + Source::Woken.len();

    /// What a unit has a value for without being asked, whether it means anything or not.
    pub(crate) const TOLD: [Metric; Source::TOLD_LEN] = {
        let mut told = [Metric::Wall; Source::TOLD_LEN];
        let (mut len, mut at) = (0, 0);
        while at < ROWS.len() {
            if matches!(
                ROWS[at].source,
                Source::Ended | Source::Added | Source::Tracked | Source::Woken
            ) {
                told[len] = Metric::ALL[at];
                len += 1;
            }
            at += 1;
        }
        told
    };

    /// How many metrics come so.
    pub(crate) const fn len(self) -> usize {
        let (mut len, mut at) = (0, 0);
        while at < ROWS.len() {
            if ROWS[at].source as u8 == self as u8 {
                len += 1;
            }
            at += 1;
        }
        len
    }

    const fn metrics<const LEN: usize>(self) -> [Metric; LEN] {
        let mut metrics = [Metric::Wall; LEN];
        let (mut len, mut at) = (0, 0);
        while at < ROWS.len() {
            if ROWS[at].source as u8 == self as u8 {
                metrics[len] = Metric::ALL[at];
                len += 1;
            }
            at += 1;
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_told_apart() {
        let names: BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        let series: BTreeSet<_> = Metric::ALL
            .iter()
            .map(|metric| metric.prometheus())
            .collect();
        assert_eq!(series.len(), Metric::ALL.len());
        assert!(
            Metric::ALL
                .iter()
                .all(|metric| Metric::by_name(metric.name()) == Some(*metric))
        );
        assert_eq!(Metric::by_name("walls"), None);
    }

    #[test]
    fn every_metric_is_of_one_source_and_has_a_place_there() {
        let mut all: Vec<Metric> = Vec::new();
        for of_source in [
            &Source::ENDED[..],
            &Source::ADDED,
            &Source::TRACKED,
            &Source::ASKED,
            &Source::ASKED_FOR_IO,
            &Source::WOKEN,
        ] {
            for (place, metric) in of_source.iter().enumerate() {
                assert_eq!(metric.place(), place);
            }
            all.extend(of_source);
        }
        all.sort();
        assert_eq!(all, Metric::ALL);
    }
}
