//! Snapshots: the figures as data.

use crate::histogram::Distribution;
use crate::human;
use crate::ledger::Ledger;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The cost of every kind of unit, at one moment. Displayed, it is a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The version of this format: 1.
    pub v: u32,
    /// When, RFC 3339 in UTC.
    pub ts: String,
    /// The name given to the builder.
    pub service: String,
    /// Over how many seconds: since the start, or the last flush for an exported interval.
    pub seconds: f64,
    /// The kinds that had units, the one with the most wall time in all first; those too of which none has
    /// ended, and some are in progress.
    pub units: Vec<UnitSnapshot>,
    /// Units that a budget, a trigger or a prepared incident is about, and that nobody has seen so far although others were
    /// seen: their names may be wrong. If there is the unit `other`, they may be among those that it stands
    /// for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// Boundaries that a budget allows to be crossed, and that no unit has crossed so far: the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen_boundaries: Vec<String>,
    /// What became of everything, since the start.
    pub ledger: Ledger,
}

/// The cost of one kind of unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitSnapshot {
    /// The name of the span, or `other`.
    pub unit: String,
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
    /// Per metric; `None` where it is unknown (no unit has ended, allocations are not tracked, the platform does not
    /// say, or no unit was in the sample).
    pub metrics: BTreeMap<String, Option<Distribution>>,
    /// Per boundary that a unit of this kind has crossed.
    pub boundaries: BTreeMap<String, BoundarySnapshot>,
    /// Per limit of the kind's budget, such as `allocs.p99`: how it was kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, BudgetSnapshot>,
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
    /// The sum over all of them, per metric: `wall` (as long as they have been in progress), `busy` (ns),
    /// `wakeups`, `retries`, `allocs` (count), `alloc_bytes` (bytes). `None` where it is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<String, Option<u64>>,
    /// The same per boundary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boundaries: BTreeMap<String, BoundaryCost>,
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
}

/// How one limit of a budget was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// What `limit` and `worst` count: `ns`, `bytes`, `count`, or `share` for a rate, whose `worst` says
    /// nothing.
    pub unit_of_measure: String,
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
    /// For people.
    pub(crate) fn describe(&self) -> String {
        let show = |value: f64| match self.unit_of_measure.as_str() {
            "ns" => human::duration(value as u64),
            "bytes" => human::bytes(value as u64),
            _ => value.to_string(),
        };
        let (limit, over, of) = (self.limit, human::count(self.over), human::count(self.of));
        if self.unit_of_measure == "share" {
            return format!("limit {limit}, {over} of {of} units");
        }
        let (limit, worst) = (show(limit), show(self.worst as f64));
        format!("limit {limit}, worst {worst}, {over} of {of} units over it")
    }
}

impl UnitSnapshot {
    /// The distribution of a metric: `wall`, `busy` (ns), `allocs`, `wakeups`, `retries` (count),
    /// `alloc_bytes`, `peak_bytes` (bytes); and, of a sample of the units, `cpu` (ns),
    /// `context_switches_voluntary`, `context_switches_involuntary`, `io_calls` (count), `io_bytes`
    /// (bytes). `None` if it is unknown.
    ///
    /// `cpu` is without what asking for it takes ([`Cost::cpu_reading_ns`](crate::Cost)), and of no unit
    /// above its `busy`.
    pub fn metric(&self, name: &str) -> Option<&Distribution> {
        self.metrics.get(name)?.as_ref()
    }
}

impl UnitSnapshot {
    /// Every distribution in it, in buckets of so many bits; `None`: without any.
    pub(crate) fn set_bits(&mut self, bits: Option<u8>) {
        let metrics = self.metrics.values_mut().flatten();
        let boundaries = self.boundaries.values_mut();
        let boundaries =
            boundaries.flat_map(|b| [&mut b.calls, &mut b.bytes_sent, &mut b.bytes_received]);
        metrics
            .chain(boundaries)
            .for_each(|distribution| distribution.set_bits(bits));
    }

    /// The kind with the most wall time in all first.
    pub(crate) fn sort(units: &mut [UnitSnapshot]) {
        units.sort_by_key(|unit| std::cmp::Reverse(unit.metric("wall").map(|wall| wall.sum)));
    }
}

impl Snapshot {
    /// The figures of the kind of unit with this name. If spans of several targets have it: of the
    /// one with the most wall time in all; look through `units` for the others.
    pub fn unit(&self, name: &str) -> Option<&UnitSnapshot> {
        self.units.iter().find(|unit| unit.unit == name)
    }
}

/// What one unit did across one boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BoundaryCost {
    /// Calls.
    pub calls: u64,
    /// Bytes out.
    pub bytes_sent: u64,
    /// Bytes in.
    pub bytes_received: u64,
}
