//! One line of a budget, and what becomes of it.

use crate::cost::{BoundaryId, BoundaryMetric, Finished, FinishedBoundary, Measure, Metric};
use crate::os::Sampling;
use crate::record::BudgetSnapshot;

/// A figure of a unit that may be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitedFigure {
    Metric(Metric),
    /// Voluntary and involuntary.
    ContextSwitches,
    Boundary(BoundaryFigure, BoundaryId),
    Errors,
}

/// A figure of what a unit does across one boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoundaryFigure {
    One(BoundaryMetric),
    /// Sent and received.
    Bytes,
}

impl BoundaryFigure {
    const BYTES: &str = "bytes";

    /// Their names.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        let metrics = BoundaryMetric::ALL.into_iter().map(BoundaryMetric::name);
        metrics.chain([Self::BYTES])
    }

    pub(super) fn by_name(name: &str) -> Option<Self> {
        if name == Self::BYTES {
            return Some(BoundaryFigure::Bytes);
        }
        let mut metrics = BoundaryMetric::ALL.into_iter();
        let metric = metrics.find(|metric| metric.name() == name)?;
        Some(BoundaryFigure::One(metric))
    }

    fn measure(self) -> Measure {
        match self {
            BoundaryFigure::One(metric) => metric.measure(),
            BoundaryFigure::Bytes => Measure::Bytes,
        }
    }

    /// Whether none of it means that the boundary is not crossed.
    fn is_crossing(self) -> bool {
        use BoundaryMetric::{Calls, Received, Sent, Time};
        match self {
            BoundaryFigure::Bytes => true,
            BoundaryFigure::One(metric) => matches!(metric, Calls | Sent | Received | Time),
        }
    }

    fn of(self, crossed: &FinishedBoundary) -> u64 {
        match self {
            BoundaryFigure::One(metric) => crossed.value(metric),
            BoundaryFigure::Bytes => {
                let sent = crossed.value(BoundaryMetric::Sent);
                sent.saturating_add(crossed.value(BoundaryMetric::Received))
            }
        }
    }
}

/// What about the figure is limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    /// This share of the units keeps it.
    Quantile(f64),
    /// Every unit keeps it.
    Max,
    /// At most this share of the units has it.
    Rate(f64),
}

/// One line of a budget.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    /// As in the file: `allocs`, `calls."db.query"`.
    pub(crate) metric: String,
    /// As in the file: `p99`.
    pub(crate) name: &'static str,
    pub(super) figure: LimitedFigure,
    pub(super) statistic: Statistic,
    /// The most that a unit may have.
    pub(super) most: u64,
}

/// How the units of some time kept a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Over {
    /// Units that are known to be over it; of a sample: how many they stand for.
    pub(crate) units: u64,
    /// All units of which it is known; the same.
    pub(crate) of: u64,
    /// The most that one had.
    pub(crate) worst: u64,
}

impl LimitedFigure {
    pub(super) fn measure(self) -> Measure {
        match self {
            LimitedFigure::Metric(metric) => metric.measure(),
            LimitedFigure::Boundary(figure, _) => figure.measure(),
            LimitedFigure::ContextSwitches => Measure::Count,
            LimitedFigure::Errors => Measure::Share,
        }
    }

    /// Whether every unit has some of it.
    pub(super) fn is_never_none(self) -> bool {
        use Metric::{Active, Busy, Cpu, Wall};
        matches!(self, LimitedFigure::Metric(Wall | Busy | Active | Cpu))
    }

    /// `None` where it is unknown.
    fn of(self, unit: &Finished) -> Option<u64> {
        match self {
            LimitedFigure::Metric(metric) => unit.costs.get(metric),
            LimitedFigure::ContextSwitches => {
                let voluntary = unit.costs.get(Metric::VoluntarySwitches)?;
                let involuntary = unit.costs.get(Metric::InvoluntarySwitches)?;
                Some(voluntary.saturating_add(involuntary))
            }
            LimitedFigure::Boundary(figure, id) => match unit.boundaries.of(id) {
                Some(crossed) => Some(figure.of(crossed)),
                // What a unit has no room to tell apart is in `other`, of whatever boundary it is.
                None => (unit.boundaries.of(BoundaryId::OTHER).is_none()).then_some(0),
            },
            LimitedFigure::Errors => Some(unit.error.into()),
        }
    }

    fn weight(self, sampling: Sampling) -> u64 {
        match self {
            LimitedFigure::Metric(metric) => sampling.weight_of(metric),
            LimitedFigure::ContextSwitches => sampling.weight(),
            LimitedFigure::Boundary(..) | LimitedFigure::Errors => 1,
        }
    }
}

impl Limit {
    /// Whether this one unit costs more than it may. That it failed is no cost.
    pub(crate) fn is_broken_by(&self, unit: &Finished) -> bool {
        self.figure != LimitedFigure::Errors && self.counts(unit)
    }

    /// Whether this one unit counts as over the limit.
    pub(crate) fn counts(&self, unit: &Finished) -> bool {
        self.figure.of(unit).is_some_and(|n| n > self.most)
    }

    /// The boundary that units may cross, but not too often.
    pub(super) fn boundary(&self) -> Option<BoundaryId> {
        match self.figure {
            LimitedFigure::Boundary(figure, id) if self.most > 0 || !figure.is_crossing() => {
                Some(id)
            }
            _ => None,
        }
    }

    /// Whether only units of the system's sample have the figure.
    pub(super) fn is_of_sample(&self) -> bool {
        match self.figure {
            LimitedFigure::Metric(metric) => metric.is_of_sample(),
            LimitedFigure::ContextSwitches => true,
            LimitedFigure::Boundary(..) | LimitedFigure::Errors => false,
        }
    }

    /// How it was kept, as data.
    pub(crate) fn told(&self, over: &Over) -> BudgetSnapshot {
        BudgetSnapshot {
            unit_of_measure: self.figure.measure(),
            limit: self.value(),
            worst: over.worst,
            over: over.units,
            of: over.of,
            holds: !over.breaks(self),
        }
    }

    /// As in the file: `allocs.p99`.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.metric, self.name)
    }

    /// The limit, as in the file.
    pub(crate) fn value(&self) -> f64 {
        match self.statistic {
            Statistic::Rate(share) => share,
            Statistic::Quantile(_) | Statistic::Max => self.most as f64,
        }
    }
}

impl Over {
    /// As many units as there will ever be, all of them over the limit.
    pub(super) const ALL: Over = Over {
        units: u64::MAX,
        of: u64::MAX,
        worst: u64::MAX,
    };

    pub(crate) fn record(&mut self, limit: &Limit, unit: &Finished, sampling: Sampling) {
        let Some(value) = limit.figure.of(unit) else {
            return;
        };
        let weight = limit.figure.weight(sampling);
        self.of += weight;
        self.worst = self.worst.max(value);
        if value > limit.most {
            self.units += weight;
        }
    }

    pub(crate) fn merge(&mut self, other: &Over) {
        self.units += other.units;
        self.of += other.of;
        self.worst = self.worst.max(other.worst);
    }

    /// Whether this many units are over the limit that it does not hold.
    pub(crate) fn breaks(&self, limit: &Limit) -> bool {
        let share = match limit.statistic {
            Statistic::Max => 0.0,
            Statistic::Quantile(kept) => 1.0 - kept,
            Statistic::Rate(share) => share,
        };
        // No rounding error makes one of a hundred more than 1 %.
        self.units as f64 > share * self.of as f64 * (1.0 + 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_holds_while_few_enough_are_over() {
        let mut limit = Limit {
            metric: "allocs".to_owned(),
            name: "p99",
            figure: LimitedFigure::Metric(Metric::Allocs),
            statistic: Statistic::Quantile(0.99),
            most: 10,
        };
        let over = |units, of| Over {
            units,
            of,
            worst: 0,
        };
        assert!(!over(0, 0).breaks(&limit));
        assert!(over(1, 5).breaks(&limit));
        assert!(!over(10, 1000).breaks(&limit));
        assert!(over(11, 1000).breaks(&limit));
        limit.statistic = Statistic::Rate(0.01);
        assert!(!over(1, 100).breaks(&limit));
        assert!(over(2, 100).breaks(&limit));
        limit.statistic = Statistic::Max;
        assert!(!over(0, 100).breaks(&limit));
        assert!(over(1, 1_000_000).breaks(&limit));
    }
}
