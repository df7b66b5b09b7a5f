//! What the units of one kind cost.

use super::Envelope;
use crate::cost::{BoundaryMetric, FinishedBoundary, InsideCosts, Measure, Metric};
use crate::histogram::Distribution;
use crate::tool::human;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the units of one kind cost in one interval: those that ended, and those in progress. There is
/// none if no unit ended and none was worked for.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::record::{
///     BoundaryCost, BoundarySnapshot, Envelope, Resource, UnitRecord, UnitSnapshot,
/// };
/// use telemetry::{Distribution, Measure};
///
/// let mut figures = UnitSnapshot::new("checkout", "shop::api");
/// figures.count = 3;
/// let wall = Distribution::of_values(Measure::Nanoseconds, [1_000, 2_000, 40_000]);
/// figures.metrics.insert("wall".to_owned(), Some(wall));
/// let of = |measure, values: [u64; 3]| Distribution::of_values(measure, values);
/// let database = BoundarySnapshot::new(
///     of(Measure::Count, [1, 1, 2]),
///     of(Measure::Bytes, [80, 80, 160]),
///     of(Measure::Bytes, [4_096, 512, 900]),
/// );
/// figures.boundaries.insert("db".to_owned(), database);
/// let open = BoundaryCost::new(1, 80, 0); // of a unit that has not ended
/// figures.in_progress.boundaries.insert("db".to_owned(), open);
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let record = UnitRecord::new(envelope, 10.0, figures);
/// assert_eq!(record.figures.metric("wall").unwrap().max, 40_000);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitRecord {
    /// At the end of the interval.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The length of the interval in seconds.
    pub seconds: f64,
    /// The figures.
    #[serde(flatten)]
    pub figures: UnitSnapshot,
}

impl UnitRecord {
    /// Of an interval of this many seconds.
    pub fn new(envelope: Envelope, seconds: f64, figures: UnitSnapshot) -> Self {
        UnitRecord {
            envelope,
            seconds,
            figures,
        }
    }
}

/// The cost of one kind of unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitSnapshot {
    /// The name of the span, and its class after it, if it has one: `request GET /books/{id}`. Or `other`.
    pub unit: String,
    /// What fields of the span say of its class, such as `GET /books/{id}`: it tells this kind from others of the same
    /// span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The target of the span's call site.
    pub target: String,
    /// Units that have ended.
    pub count: u64,
    /// Those of them with an error.
    pub errors: u64,
    /// Units in progress now.
    pub in_flight: u64,
    /// The most units that were seen in progress at once, since the start. Threads count by
    /// themselves, and are added up when one of them has more than ever, and with each snapshot:
    /// exact on one thread, and a little less than the truth where many begin and end units at once.
    pub in_flight_max: u64,
    /// Those in progress, and what they cost. It is in none of the other figures before they end.
    #[serde(default)]
    pub in_progress: InProgress,
    /// What of it is in the figures of other units as well: units may be inside of units.
    #[serde(default, skip_serializing_if = "Inside::is_nothing")]
    pub inside: Inside,
    /// Per metric; `None` where it is unknown (no unit has ended, allocations are not tracked, the platform does not
    /// say, or no unit was in the sample).
    pub metrics: BTreeMap<String, Option<Distribution>>,
    /// Per boundary that a unit of this kind has crossed.
    pub boundaries: BTreeMap<String, BoundarySnapshot>,
    /// Per limit of the kind's budget, such as `allocs.p99`: how it was kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, BudgetSnapshot>,
}

impl UnitSnapshot {
    /// Of a kind of which there was no unit; every metric is unknown.
    ///
    /// ```
    /// use telemetry::record::UnitSnapshot;
    /// use telemetry::{Distribution, Measure, Metric};
    ///
    /// let mut checkout = UnitSnapshot::new("checkout", "shop");
    /// checkout.count = 2;
    /// let wall = Distribution::of_values(Measure::Nanoseconds, [1_000_000, 3_000_000]);
    /// checkout.metrics.insert("wall".to_owned(), Some(wall));
    /// assert_eq!(checkout.metric("wall").map(|wall| wall.sum), Some(4_000_000));
    /// assert_eq!(checkout.metric("busy"), None);
    /// assert_eq!(checkout.metrics.len(), Metric::ALL.len());
    /// ```
    pub fn new(unit: impl Into<String>, target: impl Into<String>) -> Self {
        UnitSnapshot {
            unit: unit.into(),
            class: None,
            target: target.into(),
            count: 0,
            errors: 0,
            in_flight: 0,
            in_flight_max: 0,
            in_progress: InProgress::default(),
            inside: Inside::default(),
            metrics: Metric::ALL
                .map(|metric| (metric.name().to_owned(), None))
                .into(),
            boundaries: BTreeMap::new(),
            budgets: BTreeMap::new(),
        }
    }

    /// The name of the span, which all its classes have in common.
    ///
    /// ```
    /// use telemetry::record::UnitSnapshot;
    ///
    /// let mut books = UnitSnapshot::new("request GET /books", "tower_http::trace::make_span");
    /// books.class = Some("GET /books".to_owned());
    /// assert_eq!(books.span_name(), "request");
    /// ```
    pub fn span_name(&self) -> &str {
        let class = self.class.as_deref();
        let span = class.and_then(|class| self.unit.strip_suffix(class)?.strip_suffix(' '));
        span.unwrap_or(&self.unit)
    }

    /// The name with the target, as tables have it where several kinds have the name.
    pub(crate) fn label(&self) -> String {
        format!("{} ({})", self.unit, self.target)
    }

    /// Whether somebody who says this name means its units, among others maybe.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.unit == name
            || self.span_name() == name
            || (name.ends_with(')') && self.label() == name)
    }

    /// The distribution of a metric: `wall` and its parts `active`, `queued`, `wait` and `unexplained`, `busy` (ns),
    /// `allocs`, `wakeups`, `retries` (count), `alloc_bytes`, `peak_bytes` (bytes); and, of a sample of the units, `cpu` (ns),
    /// `context_switches_voluntary`, `context_switches_involuntary`, `io_calls` (count), `io_bytes`
    /// (bytes). `None` if it is unknown.
    ///
    /// `cpu` is without what asking for it takes ([`Cost::cpu_reading_ns`](crate::Cost)), and of no unit
    /// above its `busy`.
    pub fn metric(&self, name: &str) -> Option<&Distribution> {
        self.metrics.get(name)?.as_ref()
    }

    /// What its units, ended and in progress, have cost that no other unit has as well: `allocs`, `alloc_bytes` or `busy`.
    /// Added up over all kinds nothing counts twice. `None` for other metrics, and where it is unknown.
    ///
    /// ```
    /// use telemetry::record::UnitSnapshot;
    /// use telemetry::{Distribution, Measure};
    ///
    /// let mut commands = UnitSnapshot::new("command", "cache");
    /// let allocs = Distribution::of_values(Measure::Count, [5, 7]);
    /// commands.metrics.insert("allocs".to_owned(), Some(allocs));
    /// commands.inside.allocs = 5; // of these the connection has as well
    /// assert_eq!(commands.outermost("allocs"), Some(7));
    /// assert_eq!(commands.outermost("wall"), None);
    /// ```
    pub fn outermost(&self, metric: &str) -> Option<u64> {
        let of = |inside: &Inside| match metric {
            "allocs" => Some(inside.allocs),
            "alloc_bytes" => Some(inside.alloc_bytes),
            "busy" => Some(inside.busy),
            _ => None,
        };
        let others_have = of(&self.inside)? + of(&self.in_progress.inside)?;
        let ended = self.metric(metric).map(|ended| ended.sum);
        let in_progress = self.in_progress.cost(metric);
        let all = match (ended, in_progress) {
            (None, None) => return None,
            (ended, in_progress) => ended.unwrap_or(0) + in_progress.unwrap_or(0),
        };
        Some(all.saturating_sub(others_have))
    }

    /// Every distribution in it, in buckets of this many bits; `None`: without any.
    pub(crate) fn set_bits(&mut self, bits: Option<u8>) {
        let metrics = self.metrics.values_mut().flatten();
        let boundaries = self.boundaries.values_mut();
        let boundaries = boundaries.flat_map(BoundarySnapshot::distributions);
        metrics
            .chain(boundaries)
            .for_each(|distribution| distribution.set_bits(bits));
    }

    /// The kind with the most wall time in all first.
    pub(crate) fn sort(units: &mut [UnitSnapshot]) {
        units.sort_by_key(|unit| std::cmp::Reverse(unit.metric("wall").map(|wall| wall.sum)));
    }
}

/// Units that have not ended, and what they have cost: in a record, in its interval; in a snapshot of
/// [`Telemetry`](crate::Telemetry), since they began.
///
/// What a thread does for a unit is known when it leaves it; calls across boundaries and retries at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InProgress {
    /// How many there are.
    pub count: u64,
    /// The sum over all of them, per metric: `wall` (as long as they have been in progress), `active`,
    /// `queued`, `wait`, `busy` (ns), `wakeups`, `retries`, `allocs` (count), `alloc_bytes` (bytes). `None` where it is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<String, Option<u64>>,
    /// The same per boundary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boundaries: BTreeMap<String, BoundaryCost>,
    /// What of it is in the figures of other units as well.
    #[serde(default, skip_serializing_if = "Inside::is_nothing")]
    pub inside: Inside,
}

/// What of the cost of units is in the figures of other units as well: of commands, in those of their connection.
///
/// A unit begins inside another one if its span is [one that means a unit](crate::UnitSpan) and has one of that unit around
/// it. What a thread does for it is then the other's, too, and so are its calls across boundaries and its retries. Units
/// that were merely entered one in the other share what was done there, and are not counted as `units` here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inside {
    /// Units that began inside of others.
    pub units: u64,
    /// Allocations and reallocations that others have as well.
    pub allocs: u64,
    /// Bytes of them.
    pub alloc_bytes: u64,
    /// Time at work that others have as well, in nanoseconds.
    pub busy: u64,
}

impl Inside {
    /// Whether there is none.
    pub fn is_nothing(&self) -> bool {
        *self == Inside::default()
    }

    pub(crate) fn add(&mut self, other: &Inside) {
        self.units += other.units;
        self.allocs += other.allocs;
        self.alloc_bytes += other.alloc_bytes;
        self.busy += other.busy;
    }
}

impl From<InsideCosts> for Inside {
    fn from(costs: InsideCosts) -> Self {
        let InsideCosts {
            units,
            allocs,
            alloc_bytes,
            busy,
        } = costs;
        Inside {
            units,
            allocs,
            alloc_bytes,
            busy,
        }
    }
}

impl InProgress {
    /// The sum of a metric over all of them; `None` if it is unknown.
    pub fn cost(&self, metric: &str) -> Option<u64> {
        self.costs.get(metric).copied().flatten()
    }
}

/// What the units of a kind did across one boundary. Units that did not cross it count as 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BoundarySnapshot {
    /// Calls per unit.
    pub calls: Distribution,
    /// Bytes out per unit.
    pub bytes_sent: Distribution,
    /// Bytes in per unit.
    pub bytes_received: Distribution,
    /// How long the calls of a unit took together, in nanoseconds. `None`: an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Distribution>,
    /// What of it they waited for their turn, as far as they are known to, in nanoseconds. `None`: no unit's did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Distribution>,
    /// Calls per unit that were tried again. `None`: none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Distribution>,
    /// Calls per unit that failed. `None`: none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Distribution>,
    /// The part of a unit's wall time in which it waited for this boundary, in nanoseconds. `None`: none waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Distribution>,
}

impl BoundarySnapshot {
    /// Of calls, and of bytes out and in.
    pub fn new(
        calls: Distribution,
        bytes_sent: Distribution,
        bytes_received: Distribution,
    ) -> Self {
        BoundarySnapshot {
            calls,
            bytes_sent,
            bytes_received,
            time: None,
            waited: None,
            retries: None,
            failures: None,
            wait: None,
        }
    }

    /// Of what is known of each metric, or was always 0 if it is not known.
    pub(crate) fn of(mut told: impl FnMut(BoundaryMetric) -> Option<Distribution>) -> Self {
        let mut always = |metric: BoundaryMetric| {
            let none = || Distribution::of_values(metric.measure(), []);
            told(metric).unwrap_or_else(none)
        };
        let mut boundary = BoundarySnapshot::new(
            always(BoundaryMetric::Calls),
            always(BoundaryMetric::Sent),
            always(BoundaryMetric::Received),
        );
        boundary.time = told(BoundaryMetric::Time);
        boundary.waited = told(BoundaryMetric::Waited);
        boundary.retries = told(BoundaryMetric::Retries);
        boundary.failures = told(BoundaryMetric::Failures);
        boundary.wait = told(BoundaryMetric::Wait);
        boundary
    }

    /// The distribution of a metric; `None` if no unit had any of it, or nobody knows.
    ///
    /// ```
    /// use telemetry::record::BoundarySnapshot;
    /// use telemetry::{BoundaryMetric, Distribution, Measure};
    ///
    /// let of = |measure, value| Distribution::of_values(measure, [value]);
    /// let (calls, bytes) = (of(Measure::Count, 3), of(Measure::Bytes, 90));
    /// let database = BoundarySnapshot::new(calls, bytes.clone(), bytes);
    /// assert_eq!(database.metric(BoundaryMetric::Calls).unwrap().max, 3);
    /// assert_eq!(database.metric(BoundaryMetric::Retries), None);
    /// ```
    pub fn metric(&self, metric: BoundaryMetric) -> Option<&Distribution> {
        match metric {
            BoundaryMetric::Calls => Some(&self.calls),
            BoundaryMetric::Sent => Some(&self.bytes_sent),
            BoundaryMetric::Received => Some(&self.bytes_received),
            BoundaryMetric::Time => self.time.as_ref(),
            BoundaryMetric::Waited => self.waited.as_ref(),
            BoundaryMetric::Retries => self.retries.as_ref(),
            BoundaryMetric::Failures => self.failures.as_ref(),
            BoundaryMetric::Wait => self.wait.as_ref(),
        }
    }

    /// All distributions in it.
    fn distributions(&mut self) -> impl Iterator<Item = &mut Distribution> {
        let BoundarySnapshot {
            calls,
            bytes_sent,
            bytes_received,
            time,
            waited,
            retries,
            failures,
            wait,
        } = self;
        let others = [time, waited, retries, failures, wait]
            .into_iter()
            .flatten();
        [calls, bytes_sent, bytes_received]
            .into_iter()
            .chain(others)
    }
}

/// What one unit did across one boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BoundaryCost {
    /// Calls.
    pub calls: u64,
    /// Bytes out.
    pub bytes_sent: u64,
    /// Bytes in.
    pub bytes_received: u64,
    /// How long the calls that have ended took together, in nanoseconds.
    #[serde(default)]
    pub time: u64,
    /// What of it they waited for their turn, as far as they are known to, in nanoseconds.
    #[serde(default, skip_serializing_if = "is_none")]
    pub waited: u64,
    /// Calls that were tried again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub retries: u64,
    /// Calls that failed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub failures: u64,
    /// The part of the unit's wall time in which it waited for this boundary, in nanoseconds.
    #[serde(default, skip_serializing_if = "is_none")]
    pub wait: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_none(n: &u64) -> bool {
    *n == 0
}

impl BoundaryCost {
    /// This many calls, and bytes out and in.
    pub fn new(calls: u64, bytes_sent: u64, bytes_received: u64) -> Self {
        BoundaryCost {
            calls,
            bytes_sent,
            bytes_received,
            ..BoundaryCost::default()
        }
    }
}

impl From<&FinishedBoundary> for BoundaryCost {
    fn from(crossed: &FinishedBoundary) -> Self {
        BoundaryCost {
            calls: crossed.value(BoundaryMetric::Calls),
            bytes_sent: crossed.value(BoundaryMetric::Sent),
            bytes_received: crossed.value(BoundaryMetric::Received),
            time: crossed.value(BoundaryMetric::Time),
            waited: crossed.value(BoundaryMetric::Waited),
            retries: crossed.value(BoundaryMetric::Retries),
            failures: crossed.value(BoundaryMetric::Failures),
            wait: crossed.value(BoundaryMetric::Wait),
        }
    }
}

/// How one limit of a budget was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// What `limit` and `worst` count; of a rate it is [`Measure::Share`], and `worst` says nothing.
    pub unit_of_measure: Measure,
    /// The most it may be; of a rate: the share.
    pub limit: f64,
    /// The most that one unit had.
    pub worst: u64,
    /// How many units were over it: exact, but for metrics that are taken of a sample.
    pub over: u64,
    /// Of how many.
    pub of: u64,
    /// Whether so few were over it that it holds.
    pub holds: bool,
}

impl BudgetSnapshot {
    /// A limit that no unit was held to: it holds.
    pub fn new(unit_of_measure: Measure, limit: f64) -> Self {
        BudgetSnapshot {
            unit_of_measure,
            limit,
            worst: 0,
            over: 0,
            of: 0,
            holds: true,
        }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let show = |value: f64| match self.unit_of_measure {
            Measure::Nanoseconds => human::duration(value as u64),
            Measure::Bytes => human::bytes(value as u64),
            _ => value.to_string(),
        };
        let (limit, over, of) = (self.limit, human::count(self.over), human::count(self.of));
        if self.unit_of_measure == Measure::Share {
            return format!("limit {limit}, {over} of {of} units");
        }
        let (limit, worst) = (show(limit), show(self.worst as f64));
        format!("limit {limit}, worst {worst}, {over} of {of} units over it")
    }
}
