//! The figures, as data.

use super::Instance;
use super::aggregate::KindCosts;
use crate::cost::{KindId, Metric};
use crate::histogram::Distribution;
use crate::os::Sampling;
use crate::passed_by::Passer;
use crate::record::{BoundarySnapshot, InProgress, PassedBy, Snapshot, UnitSnapshot};
use std::collections::{BTreeMap, BTreeSet};

impl Instance {
    /// The figures of a kind, as data.
    pub(super) fn figures(
        &self,
        id: KindId,
        costs: &KindCosts,
        in_progress: InProgress,
    ) -> UnitSnapshot {
        let kind = self.kinds.get(id);
        let (in_flight, in_flight_max) = self.in_flight(id);
        UnitSnapshot {
            unit: kind.name().to_owned(),
            class: kind.class().map(str::to_owned),
            target: kind.target().to_owned(),
            count: costs.count,
            errors: costs.errors,
            in_flight,
            in_flight_max,
            in_progress,
            inside: costs.inside.into(),
            metrics: metrics(costs, self.sampling),
            boundaries: boundaries(costs),
            budgets: kind
                .limits()
                .iter()
                .zip(&costs.over)
                .map(|(limit, over)| (limit.key(), limit.told(over)))
                .collect(),
        }
    }

    /// Root spans that are no units; where no unit was seen, all spans that are none.
    pub(crate) fn who_passed_by(&self) -> Vec<PassedBy> {
        const MOST: usize = 16;
        let is_told =
            |passer: &Passer| passer.roots > 0 || passer.is_hidden || !self.kinds.were_seen();
        let told = self.passed_by.all().into_iter().filter(is_told);
        let as_data = |Passer {
                           site,
                           roots,
                           is_hidden,
                       }: Passer| PassedBy {
            location: site.location(),
            roots,
            hidden: is_hidden,
            ..PassedBy::new(site.name(), site.target(), site.level())
        };
        told.take(MOST).map(as_data).collect()
    }

    /// The figures of all kinds, this many nanoseconds after the start, as data.
    pub(super) fn all_figures(&self, mut units: Vec<UnitSnapshot>, nanoseconds: u64) -> Snapshot {
        UnitSnapshot::sort(&mut units);
        let mut uncrossed: BTreeSet<&str> = self.kinds.budgets().boundaries().collect();
        uncrossed.retain(|name| !units.iter().any(|u| u.boundaries.contains_key(*name)));
        if units.iter().all(|unit| unit.count == 0) {
            uncrossed.clear();
        }
        Snapshot {
            envelope: self.envelope(),
            seconds: nanoseconds as f64 / 1e9,
            outside: self.outside(&units),
            units,
            unseen: self.kinds.unseen().into_iter().map(str::to_owned).collect(),
            unseen_boundaries: uncrossed.into_iter().map(str::to_owned).collect(),
            passed_by: self.who_passed_by(),
            ledger: self.ledger_so_far(),
        }
    }
}

fn metrics(costs: &KindCosts, sampling: Sampling) -> BTreeMap<String, Option<Distribution>> {
    Metric::ALL
        .into_iter()
        .map(|metric| {
            let known = costs.metric(metric);
            let distribution = (known.count() > 0)
                .then(|| Distribution::of(known, metric.measure()))
                .map(|distribution| distribution.of_sample(sampling.weight_of(metric)));
            (metric.name().to_owned(), distribution)
        })
        .collect()
}

fn boundaries(costs: &KindCosts) -> BTreeMap<String, BoundarySnapshot> {
    let boundaries = costs.boundaries.iter();
    boundaries
        .map(|boundary| {
            let snapshot = BoundarySnapshot::of(|metric| {
                let costs = boundary.over(costs.count, metric);
                let is_written = metric.is_always_written() || costs.max() > 0;
                is_written.then(|| Distribution::of(&costs, metric.measure()))
            });
            (boundary.id.name().to_owned(), snapshot)
        })
        .collect()
}
