//! Units in progress: how many, and what they cost, in an interval or so far. What they cost is in no
//! distribution before they end.

use super::Instance;
use crate::cost::{Finished, FinishedBoundary, InsideCosts, KindId, Metric, Source, UnitCosts};
use crate::record::{BoundaryCost, InProgress};
use std::collections::{BTreeMap, HashMap};

/// What the units in progress had cost when they were last told of.
#[derive(Debug, Default)]
pub(super) struct Told {
    units: HashMap<u64, CostsSoFar>,
}

/// What a unit has cost, or several of them.
#[derive(Clone, Debug)]
struct CostsSoFar {
    costs: UnitCosts,
    inside: InsideCosts,
    boundaries: BTreeMap<&'static str, FinishedBoundary>,
}

impl CostsSoFar {
    fn of(unit: &Finished) -> Self {
        let mut boundaries = BTreeMap::new();
        for crossed in unit.boundaries.iter() {
            boundaries.insert(crossed.id.name(), *crossed);
        }
        CostsSoFar {
            costs: unit.costs,
            inside: unit.inside.unwrap_or_default(),
            boundaries,
        }
    }

    /// What has come since `before`. Threads add to a unit's figures while they are read: each stands for
    /// itself, and none goes back.
    fn since(&self, before: &CostsSoFar) -> CostsSoFar {
        let mut boundaries = self.boundaries.clone();
        for (name, before) in &before.boundaries {
            if let Some(now) = boundaries.get_mut(name) {
                now.subtract(before);
            }
        }
        CostsSoFar {
            costs: self.costs.zip(&before.costs, u64::saturating_sub),
            inside: self.inside.since(before.inside),
            boundaries,
        }
    }

    fn add(&mut self, other: &CostsSoFar) {
        self.costs = self.costs.zip(&other.costs, u64::saturating_add);
        self.inside += other.inside;
        for (name, figures) in &other.boundaries {
            let none = FinishedBoundary::none(figures.id);
            self.boundaries.entry(name).or_insert(none).add(figures);
        }
    }

    /// Whether anything was done.
    fn is_work(&self) -> bool {
        let mut crossed = self.boundaries.values();
        let crossed = crossed.any(|b| b.figures.iter().any(|&n| n > 0));
        crossed || (Source::ADDED.iter()).any(|&metric| self.costs.value(metric) > 0)
    }
}

/// The units of one kind that are in progress.
#[derive(Debug, Default)]
struct OfKind {
    count: u64,
    is_at_work: bool,
    /// `None`: of no unit.
    figures: Option<CostsSoFar>,
}

/// The units in progress, by kind.
#[derive(Debug, Default)]
pub(super) struct ByKind {
    kinds: BTreeMap<KindId, OfKind>,
}

impl ByKind {
    /// Whether something was done for one of them, or may be being done.
    pub(super) fn is_at_work(&self, kind: KindId) -> bool {
        self.kinds.get(&kind).is_some_and(|of| of.is_at_work)
    }

    pub(super) fn of(&self, kind: KindId) -> InProgress {
        self.kinds
            .get(&kind)
            .map_or_else(InProgress::default, OfKind::told)
    }

    fn add(&mut self, kind: KindId, figures: &CostsSoFar, is_inside: bool) {
        let of = self.kinds.entry(kind).or_default();
        of.count += 1;
        of.is_at_work |= is_inside || figures.is_work();
        match &mut of.figures {
            Some(sum) => sum.add(figures),
            None => of.figures = Some(figures.clone()),
        }
    }
}

impl OfKind {
    fn told(&self) -> InProgress {
        let Some(figures) = &self.figures else {
            return InProgress::default();
        };
        let told = Metric::ALL
            .into_iter()
            .filter(|metric| metric.is_told_in_progress());
        let costs = told.map(|metric| (metric.name().to_owned(), figures.costs.get(metric)));
        let boundary = |(name, crossed): (&&str, &FinishedBoundary)| {
            ((*name).to_owned(), BoundaryCost::from(crossed))
        };
        InProgress {
            count: self.count,
            costs: costs.collect(),
            boundaries: figures.boundaries.iter().map(boundary).collect(),
            inside: figures.inside.into(),
        }
    }
}

impl Instance {
    /// What the units in progress have cost since they began.
    pub(super) fn in_progress_so_far(&self) -> ByKind {
        let mut all = ByKind::default();
        let now = self.clock.now();
        self.live_units.in_progress(now, |_, unit, is_inside| {
            all.add(unit.kind, &CostsSoFar::of(unit), is_inside);
        });
        all
    }

    /// What they have cost since this was last called.
    pub(super) fn in_progress_since(&self, told: &mut Told) -> ByKind {
        let mut all = ByKind::default();
        let mut before = std::mem::take(&mut told.units);
        let now = self.clock.now();
        self.live_units
            .in_progress(now, |reference, unit, is_inside| {
                let figures = CostsSoFar::of(unit);
                let new = match before.remove(&reference.0) {
                    Some(before) => figures.since(&before),
                    None => figures.clone(),
                };
                all.add(unit.kind, &new, is_inside);
                told.units.insert(reference.0, figures);
            });
        all
    }
}
