//! From the rings of ended units to histograms: of the interval since the last flush, and of all time.

use super::Instance;
use super::aggregate::{Aggregate, KindCosts};
use super::in_progress::{ByKind, Told};
use crate::budgets::Over;
use crate::cost::{Finished, KindId, Metric};
use crate::exemplars::Chooser;
use crate::ledger::UnitCounts;
use crate::outbox::Outbox;
use crate::record::{InProgress, Snapshot, UnitSnapshot};
use alloc_tracker::raw::Guard;

pub(super) struct Totals {
    /// All before the last flush.
    flushed: Aggregate,
    /// Empty: what takes the place of a kind that is flushed.
    spare: Box<KindCosts>,
    /// What units in progress had cost at the last flush.
    told: Told,
    interval_start: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            flushed: Aggregate::default(),
            spare: Box::new(KindCosts::new()),
            told: Told::default(),
            interval_start: 0,
        }
    }
}

/// What the units that ended between two flushes cost.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) seconds: f64,
    /// The kinds of which units ended, or were worked for; the one with the most wall time in all first.
    pub(crate) units: Vec<UnitSnapshot>,
    pub(crate) broken: Vec<Broken>,
}

/// A limit that did not hold for an interval.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) kind: KindId,
    /// Its place in the kind's budget.
    pub(crate) limit: usize,
    pub(crate) over: Over,
}

impl Instance {
    /// Moves what is in one outbox's ring into the histograms. False in the child of a fork where none
    /// can be had: it stays where it is.
    pub(crate) fn drain(&self, outbox: &Outbox) -> bool {
        let mut incoming = self.incoming.lock();
        let can_be_read = incoming.is_shared();
        if can_be_read {
            self.drain_into(outbox, &mut incoming);
        }
        can_be_read
    }

    /// The same, unless somebody else is at the histograms.
    pub(crate) fn drain_if_free(&self, outbox: &Outbox) {
        let incoming = self.incoming.try_lock();
        if let Some(mut incoming) = incoming.filter(Guard::is_shared) {
            self.drain_into(outbox, &mut incoming);
        }
    }

    /// Takes in a unit that ended where no ring can be had.
    pub(crate) fn take_in(&self, unit: &Finished) {
        let mut incoming = self.incoming.lock();
        let mut counts = UnitCounts::default();
        alloc_tracker::raw::for_a_tool(|| self.record(unit, &mut incoming, &mut counts));
        self.counters.add(&counts);
    }

    fn drain_into(&self, outbox: &Outbox, incoming: &mut Aggregate) {
        let mut counts = UnitCounts::default();
        // A histogram that grows allocates: not at the expense of a unit around this one.
        alloc_tracker::raw::for_a_tool(|| {
            (outbox.units).drain(|unit| self.record(unit, incoming, &mut counts));
        });
        self.counters.add(&counts);
    }

    fn record(&self, unit: &Finished, incoming: &mut Aggregate, counts: &mut UnitCounts) {
        let limits = self.kinds.get(unit.kind).limits();
        incoming.record(unit, self.sampling, limits);
        counts.count(unit);
    }

    /// Brings the histograms up to date.
    pub(super) fn collect(&self) {
        let outboxes = self.outboxes();
        // Ring by ring: a thread that waits for the histograms does not wait for all rings.
        for outbox in &outboxes {
            self.drain(outbox);
        }
        for (kind, _) in self.kinds.all() {
            self.in_flight(kind);
        }
    }

    /// Everything since the start.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // Bringing up to date is telemetry's expense; the snapshot is the caller's.
        alloc_tracker::raw::for_a_tool(|| self.collect());
        let totals = self.totals.lock();
        let in_progress = alloc_tracker::raw::for_a_tool(|| self.in_progress_so_far());
        let units = self.kinds.all().filter_map(|(id, _)| {
            let costs = alloc_tracker::raw::for_a_tool(|| self.costs_of(id, &totals.flushed));
            let unit = costs
                .as_ref()
                .map(|costs| self.figures(id, costs, in_progress.of(id)));
            alloc_tracker::raw::for_a_tool(|| drop(costs));
            // Or none has ended, and some are in progress.
            unit.or_else(|| {
                (self.in_flight(id).0 > 0).then(|| self.none_ended(id, in_progress.of(id)))
            })
        });
        let units = units.collect();
        alloc_tracker::raw::for_a_tool(|| drop(in_progress));
        self.all_figures(units, self.clock.now())
    }

    /// The figures of a kind of which no unit has ended.
    fn none_ended(&self, kind: KindId, in_progress: InProgress) -> UnitSnapshot {
        self.figures(kind, &KindCosts::new(), in_progress)
    }

    /// What a kind has cost since the start; `None` if it had no units.
    fn costs_of(&self, kind: KindId, flushed: &Aggregate) -> Option<KindCosts> {
        let incoming = self.incoming.lock().of(kind).cloned();
        let mut costs = match flushed.of(kind) {
            Some(flushed) => flushed.clone(),
            None => KindCosts::new(),
        };
        if let Some(incoming) = incoming {
            costs.merge(&incoming);
        }
        (costs.count > 0).then_some(costs)
    }

    /// Ends an interval; `None` if no unit ended or was worked for, or nobody to be told of them: no exporter, and none
    /// that `watches`.
    pub(crate) fn end_interval(&self, watches: bool) -> Option<Interval> {
        self.collect();
        let mut totals = self.totals.lock();
        let totals = &mut *totals;
        let now = self.clock.now();
        let lasted = now.saturating_sub(std::mem::replace(&mut totals.interval_start, now));
        let mut interval = Interval {
            seconds: lasted as f64 / 1e9,
            units: Vec::new(),
            broken: Vec::new(),
        };
        let is_heard = self.has_exporters || watches;
        let in_progress = match is_heard {
            true => self.in_progress_since(&mut totals.told),
            false => ByKind::default(),
        };
        let mut counts = Vec::new();
        for (id, kind) in self.kinds.all() {
            {
                let mut incoming = self.incoming.lock();
                if incoming.of(id).is_none() {
                    counts.push(0);
                    drop(incoming);
                    if in_progress.is_at_work(id) {
                        let unit = self.none_ended(id, in_progress.of(id));
                        interval.units.push(unit);
                    }
                    continue;
                }
                std::mem::swap(incoming.at(id), &mut totals.spare);
            }
            let (costs, flushed) = (&totals.spare, totals.flushed.at(id));
            flushed.merge(costs);
            counts.push(costs.count);
            if let Some(p99) = p99(costs).or_else(|| p99(flushed)) {
                kind.chooser.learn_p99(p99);
            }
            if is_heard {
                let in_progress = in_progress.of(id);
                interval.units.push(self.figures(id, costs, in_progress));
                let limits = kind.limits().iter().zip(&costs.over).enumerate();
                let broken = limits.filter(|(_, (limit, over))| over.breaks(limit));
                interval.broken.extend(broken.map(|(n, (_, over))| Broken {
                    kind: id,
                    limit: n,
                    over: *over,
                }));
            }
            totals.spare.clear();
        }
        self.kinds.learn_shares(&counts);
        UnitSnapshot::sort(&mut interval.units);
        (!interval.units.is_empty()).then_some(interval)
    }
}

fn p99(costs: &KindCosts) -> Option<u64> {
    Chooser::is_enough(costs.count).then(|| costs.metric(Metric::Wall).quantile(0.99))
}
