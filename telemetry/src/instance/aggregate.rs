//! Histograms of every cost, per kind of unit and per boundary.

use crate::budgets::{Limit, Over};
use crate::cost::{BoundaryId, Finished, FinishedBoundary, InsideCosts, KindId, Metric, Source};
use crate::histogram::{Distributed, Histogram};
use crate::os::Sampling;

/// The costs of one kind of unit over some time.
#[derive(Clone, Debug)]
pub(crate) struct KindCosts<C> {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    metrics: [C; Metric::ALL.len()],
    /// What of it other units have as well.
    pub(crate) inside: InsideCosts,
    pub(crate) boundaries: Vec<BoundaryCosts<C>>,
    /// How the units kept each limit of their budget.
    pub(crate) over: Vec<Over>,
}

/// The costs of one boundary over the units of a kind. A unit that did not cross it counts as 0.
#[derive(Clone, Debug)]
pub(crate) struct BoundaryCosts<C> {
    pub(crate) id: BoundaryId,
    pub(crate) calls: C,
    pub(crate) sent: C,
    pub(crate) received: C,
}

impl<C: Distributed> BoundaryCosts<C> {
    /// As if `units` units had been recorded that did not cross it.
    fn new(id: BoundaryId, units: u64) -> Self {
        let mut costs = BoundaryCosts {
            id,
            calls: C::empty(),
            sent: C::empty(),
            received: C::empty(),
        };
        costs.not_crossed_by(units);
        costs
    }

    fn not_crossed_by(&mut self, units: u64) {
        for figure in [&mut self.calls, &mut self.sent, &mut self.received] {
            figure.add_zeros(units);
        }
    }

    fn merge(&mut self, interval: &BoundaryCosts<Histogram>) {
        self.calls.merge(&interval.calls);
        self.sent.merge(&interval.sent);
        self.received.merge(&interval.received);
    }
}

impl<C: Distributed> KindCosts<C> {
    pub(crate) fn new() -> Self {
        KindCosts {
            count: 0,
            errors: 0,
            metrics: std::array::from_fn(|_| C::empty()),
            inside: InsideCosts::default(),
            boundaries: Vec::new(),
            over: Vec::new(),
        }
    }

    pub(crate) fn metric(&self, metric: Metric) -> &C {
        &self.metrics[metric as usize]
    }

    /// Adds an interval.
    pub(crate) fn merge(&mut self, interval: &KindCosts<Histogram>) {
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
            if !self.boundaries.iter().any(|mine| mine.id == theirs.id) {
                self.boundaries
                    .push(BoundaryCosts::new(theirs.id, self.count));
            }
        }
        for mine in &mut self.boundaries {
            let mut theirs = interval.boundaries.iter();
            match theirs.find(|theirs| theirs.id == mine.id) {
                Some(theirs) => mine.merge(theirs),
                None => mine.not_crossed_by(interval.count),
            }
        }
        self.inside += interval.inside;
        self.count += interval.count;
        self.errors += interval.errors;
    }
}

impl KindCosts<Histogram> {
    /// Counts a unit, whose kind has these limits.
    ///
    /// PERF: inlined where units are drained; elsewhere it is rare.
    #[inline(always)]
    pub(crate) fn record(&mut self, unit: &Finished, sampling: Sampling, limits: &[Limit]) {
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
        if costs.knows(Source::Asked) {
            self.record_sample(unit, sampling);
        }
        if let Some(inside) = unit.inside {
            self.inside += inside;
        }
        let crossed = || unit.boundaries.iter();
        for FinishedBoundary { id, .. } in crossed().copied() {
            if !self.boundaries.iter().any(|known| known.id == id) {
                self.boundaries.push(BoundaryCosts::new(id, self.count));
            }
        }
        for known in &mut self.boundaries {
            let figures = crossed().find(|b| b.id == known.id);
            let figures = figures.map_or([0; 3], |b| [b.calls, b.sent, b.received]);
            let [calls, sent, received] = figures;
            known.calls.record(calls, 1);
            known.sent.record(sent, 1);
            known.received.record(received, 1);
        }
        self.count += 1;
        self.errors += u64::from(unit.error);
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

/// The costs of all kinds over some time.
#[derive(Debug)]
pub(crate) struct Aggregate<C> {
    kinds: Vec<Option<Box<KindCosts<C>>>>,
}

impl<C> Default for Aggregate<C> {
    fn default() -> Self {
        Aggregate { kinds: Vec::new() }
    }
}

impl<C: Distributed> Aggregate<C> {
    /// The costs of a kind; `None` if it had no units.
    pub(crate) fn of(&self, kind: KindId) -> Option<&KindCosts<C>> {
        let costs = self.kinds.get(kind.0 as usize)?.as_deref()?;
        (costs.count > 0).then_some(costs)
    }

    /// The costs of a kind, which may be about to have its first unit.
    pub(crate) fn at(&mut self, kind: KindId) -> &mut Box<KindCosts<C>> {
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
    use crate::histogram::TotalHistogram;

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
            unit.boundaries.push(FinishedBoundary {
                id: BoundaryId(3),
                calls: n,
                ..FinishedBoundary::default()
            });
        }
        unit
    }

    /// Count, errors, wall sum and median; count, sum and median of each boundary's calls.
    type Figures = ([u64; 4], Vec<[u64; 3]>);

    fn figures(costs: &KindCosts<TotalHistogram>) -> Figures {
        let wall = costs.metric(Metric::Wall);
        let boundaries = costs.boundaries.iter().map(|b| &b.calls);
        (
            [costs.count, costs.errors, wall.sum(), wall.quantile(0.5)],
            boundaries
                .map(|c| [c.count(), c.sum(), c.quantile(0.5)])
                .collect(),
        )
    }

    #[test]
    fn intervals_merged_are_the_whole() {
        let mut whole = KindCosts::<Histogram>::new();
        let mut merged = KindCosts::<TotalHistogram>::new();
        let mut interval = KindCosts::<Histogram>::new();
        for n in 1..=1000 {
            let unit = unit(0, n);
            whole.record(&unit, all(), &[]);
            interval.record(&unit, all(), &[]);
            if n % 70 == 0 {
                merged.merge(&interval);
                interval.clear();
                assert_eq!(interval.count, 0);
            }
        }
        merged.merge(&interval);
        let mut at_once = KindCosts::new();
        at_once.merge(&whole);
        assert_eq!(figures(&merged), figures(&at_once));
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut aggregate = Aggregate::<Histogram>::default();
        for n in 1..=10 {
            let unit = unit((n % 3) as u32 * 5, n);
            aggregate.at(unit.kind).record(&unit, all(), &[]);
        }
        let count = |kind| aggregate.of(KindId(kind)).map(|costs| costs.count);
        assert_eq!([0, 5, 10].map(count), [Some(3), Some(4), Some(3)]);
        assert_eq!([1, 20].map(count), [None, None]);
    }

    #[test]
    fn a_unit_that_did_not_cross_a_boundary_counts_as_zero_there() {
        let mut costs = KindCosts::<Histogram>::new();
        for n in [1, 3, 5, 8] {
            costs.record(&unit(0, n), all(), &[]);
        }
        let calls = &costs.boundaries[0].calls;
        assert_eq!((calls.count(), calls.sum(), calls.max()), (4, 8, 8));
        assert_eq!(calls.quantile(0.5), 0);
    }
}
