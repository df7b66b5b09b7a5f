//! Histograms of every cost, per kind of unit and per boundary.

use crate::budgets::{Limit, Over};
use crate::cost::{
    BoundaryId, BoundaryMetric, Finished, FinishedBoundary, InsideCosts, KindId, Metric, Source,
};
use crate::histogram::Histogram;
use crate::os::Sampling;

/// The costs of one kind of unit over some time.
#[derive(Clone, Debug)]
pub(crate) struct KindCosts {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    metrics: [Histogram; Metric::ALL.len()],
    /// What of it other units have as well.
    pub(crate) inside: InsideCosts,
    pub(crate) boundaries: Vec<BoundaryCosts>,
    /// How the units kept each limit of their budget.
    pub(crate) over: Vec<Over>,
}

/// Boundaries that are kept apart for a kind of units; further ones are counted together as `other`.
const BOUNDARIES_PER_KIND: usize = 64;

/// The costs of one boundary over the units of a kind.
#[derive(Clone, Debug)]
pub(crate) struct BoundaryCosts {
    pub(crate) id: BoundaryId,
    /// Those that crossed it: the others count as 0, and are in none of the metrics.
    units: u64,
    metrics: [Histogram; BoundaryMetric::ALL.len()],
}

impl BoundaryCosts {
    fn new(id: BoundaryId) -> Self {
        BoundaryCosts {
            id,
            units: 0,
            metrics: std::array::from_fn(|_| Histogram::empty()),
        }
    }

    /// A metric over this many units, of which some did not cross it.
    pub(crate) fn over(&self, units: u64, metric: BoundaryMetric) -> Histogram {
        let mut costs = self.metrics[metric as usize].clone();
        costs.add_zeros(units.saturating_sub(self.units));
        costs
    }

    fn merge(&mut self, interval: &BoundaryCosts) {
        self.units += interval.units;
        for (mine, theirs) in self.metrics.iter_mut().zip(&interval.metrics) {
            mine.merge(theirs);
        }
    }

    fn record(&mut self, crossed: &FinishedBoundary) {
        self.units += 1;
        for (metric, value) in self.metrics.iter_mut().zip(crossed.figures) {
            metric.record(value, 1);
        }
    }
}

impl KindCosts {
    pub(crate) fn new() -> Self {
        KindCosts {
            count: 0,
            errors: 0,
            metrics: std::array::from_fn(|_| Histogram::empty()),
            inside: InsideCosts::default(),
            boundaries: Vec::new(),
            over: Vec::new(),
        }
    }

    pub(crate) fn metric(&self, metric: Metric) -> &Histogram {
        &self.metrics[metric as usize]
    }

    fn boundary(&mut self, id: BoundaryId) -> &mut BoundaryCosts {
        let at = self.boundaries.iter().position(|known| known.id == id);
        let at = at.unwrap_or_else(|| {
            self.boundaries.push(BoundaryCosts::new(id));
            self.boundaries.len() - 1
        });
        &mut self.boundaries[at]
    }

    /// Adds an interval.
    pub(crate) fn merge(&mut self, interval: &KindCosts) {
        if self.over.len() < interval.over.len() {
            self.over.resize(interval.over.len(), Over::default());
        }
        for (mine, theirs) in self.over.iter_mut().zip(&interval.over) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.metrics.iter_mut().zip(&interval.metrics) {
            mine.merge(theirs);
        }
        for theirs in &interval.boundaries {
            self.boundary(theirs.id).merge(theirs);
        }
        self.inside += interval.inside;
        self.count += interval.count;
        self.errors += interval.errors;
    }

    /// Counts a unit, whose kind has these limits, but for its boundaries.
    ///
    /// PERF: inlined where units are drained; elsewhere it is rare.
    #[inline(always)]
    fn record(&mut self, unit: &Finished, sampling: Sampling, limits: &[Limit]) {
        if self.over.len() < limits.len() {
            self.over.resize(limits.len(), Over::default());
        }
        for (over, limit) in self.over.iter_mut().zip(limits) {
            over.record(limit, unit, sampling);
        }
        let costs = &unit.costs;
        // PERF: loops over lists that the compiler knows, one for each question that is asked; one over all
        // metrics, which asked for each, took twice as long.
        let mut record = |metrics: &[Metric]| {
            for &metric in metrics {
                self.metrics[metric as usize].record(costs.value(metric), 1);
            }
        };
        record(&Source::ENDED);
        record(&Source::ADDED);
        if costs.knows(Source::Tracked) {
            record(&Source::TRACKED);
        }
        if costs.knows(Source::Woken) {
            record(&Source::WOKEN);
        }
        if costs.knows(Source::Asked) {
            self.record_sample(unit, sampling);
        }
        if let Some(inside) = unit.inside {
            self.inside += inside;
        }
        self.count += 1;
        self.errors += u64::from(unit.error);
    }

    /// Counts what a unit did across its boundaries, of which these are kept apart, after the unit.
    fn record_boundaries(&mut self, unit: &Finished, apart: &mut Vec<BoundaryId>) {
        let mut other: Option<FinishedBoundary> = None;
        for crossed in unit.boundaries.iter() {
            let is_apart = crossed.id != BoundaryId::OTHER
                && (apart.contains(&crossed.id) || keep_apart(apart, crossed.id));
            match is_apart {
                true => self.boundary(crossed.id).record(crossed),
                false => {
                    (other.get_or_insert(FinishedBoundary::none(BoundaryId::OTHER))).add(crossed)
                }
            }
        }
        if let Some(other) = other {
            self.boundary(BoundaryId::OTHER).record(&other);
        }
    }

    #[cold]
    fn record_sample(&mut self, unit: &Finished, sampling: Sampling) {
        for metric in Source::ASKED.into_iter().chain(Source::ASKED_FOR_IO) {
            if let Some(value) = unit.costs.get(metric) {
                self.metrics[metric as usize].record(value, sampling.weight_of(metric));
            }
        }
    }

    /// Forgets the figures and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.errors = 0;
        self.inside = InsideCosts::default();
        self.over.clear();
        self.metrics.iter_mut().for_each(Histogram::clear);
        self.boundaries.clear();
    }
}

/// One more boundary is kept apart, if there is room. False: there is none.
#[cold]
fn keep_apart(apart: &mut Vec<BoundaryId>, id: BoundaryId) -> bool {
    let has_room = apart.len() < BOUNDARIES_PER_KIND;
    if has_room {
        apart.push(id);
    }
    has_room
}

/// The costs of all kinds over some time.
#[derive(Debug, Default)]
pub(crate) struct Aggregate {
    kinds: Vec<Option<Box<KindCosts>>>,
    /// Which boundaries of a kind are kept apart, for good: those that its units crossed first.
    apart: Vec<Vec<BoundaryId>>,
}

impl Aggregate {
    /// Counts a unit, whose kind has these limits.
    #[inline(always)]
    pub(crate) fn record(&mut self, unit: &Finished, sampling: Sampling, limits: &[Limit]) {
        self.at(unit.kind).record(unit, sampling, limits);
        // PERF: few units cross any.
        if !unit.boundaries.is_empty() {
            self.record_boundaries(unit);
        }
    }

    fn record_boundaries(&mut self, unit: &Finished) {
        let index = unit.kind.0 as usize;
        if index >= self.apart.len() {
            self.apart.resize_with(index + 1, Vec::new);
        }
        let kind = self.kinds.get_mut(index).and_then(Option::as_mut);
        if let (Some(kind), Some(apart)) = (kind, self.apart.get_mut(index)) {
            kind.record_boundaries(unit, apart);
        }
    }

    /// The costs of a kind; `None` if it had no units.
    pub(crate) fn of(&self, kind: KindId) -> Option<&KindCosts> {
        let costs = self.kinds.get(kind.0 as usize)?.as_deref()?;
        (costs.count > 0).then_some(costs)
    }

    /// The costs of a kind, which may be about to have its first unit.
    pub(crate) fn at(&mut self, kind: KindId) -> &mut Box<KindCosts> {
        let index = kind.0 as usize;
        if index >= self.kinds.len() {
            self.kinds.resize_with(index + 1, || None);
        }
        self.kinds[index].get_or_insert_with(|| Box::new(KindCosts::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Sampling {
        Sampling::new(1.0).expect("a probability")
    }

    fn unit(kind: u32, n: u64) -> Finished {
        let mut unit = Finished {
            kind: KindId(kind),
            error: n % 4 == 0,
            ..Finished::empty()
        };
        for (metric, value) in [
            (Metric::Wall, n * 1000),
            (Metric::Busy, n * 500),
            (Metric::Wakeups, 1),
            (Metric::Allocs, n),
            (Metric::AllocBytes, n * 64),
            (Metric::PeakBytes, n * 8),
        ] {
            unit.costs.set(metric, value);
        }
        unit.costs.tell(Source::Tracked, true);
        if n % 2 == 0 {
            let mut boundary = FinishedBoundary::none(BoundaryId(3));
            boundary.set(BoundaryMetric::Calls, n);
            unit.boundaries.push(boundary);
        }
        unit
    }

    /// Count, errors, wall sum and median; count, sum and median of each boundary's calls.
    type Figures = ([u64; 4], Vec<[u64; 3]>);

    fn figures(costs: &KindCosts) -> Figures {
        let wall = costs.metric(Metric::Wall);
        let boundaries = costs.boundaries.iter();
        let boundaries = boundaries.map(|b| b.over(costs.count, BoundaryMetric::Calls));
        (
            [costs.count, costs.errors, wall.sum(), wall.quantile(0.5)],
            boundaries
                .map(|c| [c.count(), c.sum(), c.quantile(0.5)])
                .collect(),
        )
    }

    #[test]
    fn intervals_merged_are_the_whole() {
        let (mut wholes, mut intervals) = (Aggregate::default(), Aggregate::default());
        let mut merged = KindCosts::new();
        for n in 1..=1000 {
            let unit = unit(0, n);
            wholes.record(&unit, all(), &[]);
            intervals.record(&unit, all(), &[]);
            if n % 70 == 0 {
                let interval = intervals.at(unit.kind);
                merged.merge(interval);
                interval.clear();
                assert_eq!(interval.count, 0);
            }
        }
        merged.merge(intervals.at(KindId(0)));
        let mut at_once = KindCosts::new();
        at_once.merge(wholes.at(KindId(0)));
        assert_eq!(figures(&merged), figures(&at_once));
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut aggregate = Aggregate::default();
        for n in 1..=10 {
            let unit = unit((n % 3) as u32 * 5, n);
            aggregate.record(&unit, all(), &[]);
        }
        let count = |kind| aggregate.of(KindId(kind)).map(|costs| costs.count);
        assert_eq!([0, 5, 10].map(count), [Some(3), Some(4), Some(3)]);
        assert_eq!([1, 20].map(count), [None, None]);
    }

    #[test]
    fn a_unit_that_did_not_cross_a_boundary_counts_as_zero_there() {
        let mut aggregate = Aggregate::default();
        for n in [1, 3, 5, 8] {
            aggregate.record(&unit(0, n), all(), &[]);
        }
        let costs = aggregate.of(KindId(0)).expect("it had units");
        let calls = costs.boundaries[0].over(costs.count, BoundaryMetric::Calls);
        assert_eq!((calls.count(), calls.sum(), calls.max()), (4, 8, 8));
        assert_eq!(calls.quantile(0.5), 0);
    }
}
