//! Units in progress: how many, and what they cost, in an interval or so far. What they cost is in no
//! distribution before they end.

use super::Core;
use crate::export::BoundaryCost;
use crate::snapshot::InProgress;
use crate::units::{Finished, KindId};
use std::collections::{BTreeMap, HashMap};

/// What the units in progress had cost when they were last told of.
#[derive(Debug, Default)]
pub(super) struct Told {
    units: HashMap<u64, Figures>,
}

/// What a unit has cost, or several of them.
#[derive(Clone, Debug, Default)]
struct Figures {
    wall: u64,
    busy: u64,
    wakeups: u64,
    retries: u64,
    /// Allocations and bytes; `None`: nobody counts them.
    usage: Option<(u64, u64)>,
    /// Calls, bytes out and bytes in.
    boundaries: BTreeMap<&'static str, [u64; 3]>,
}

impl Figures {
    fn of(unit: &Finished) -> Self {
        let mut boundaries = BTreeMap::new();
        for crossed in unit.boundaries.iter() {
            let sum: &mut [u64; 3] = boundaries.entry(crossed.id.name()).or_default();
            let figures = [crossed.calls, crossed.sent, crossed.received];
            sum.iter_mut().zip(figures).for_each(|(sum, n)| *sum += n);
        }
        Figures {
            wall: unit.wall,
            busy: unit.busy,
            wakeups: unit.wakeups,
            retries: unit.retries,
            usage: unit.usage.map(|(allocs, bytes, _)| (allocs, bytes)),
            boundaries,
        }
    }

    /// What has come since `before`. Threads add to a unit's figures while they are read: each stands for
    /// itself, and none goes back.
    fn since(&self, before: &Figures) -> Figures {
        let usage = |(allocs, bytes): (u64, u64)| {
            let before = before.usage.unwrap_or_default();
            (
                allocs.saturating_sub(before.0),
                bytes.saturating_sub(before.1),
            )
        };
        let mut boundaries = self.boundaries.clone();
        for (name, before) in &before.boundaries {
            let now = boundaries.get_mut(name).into_iter().flatten();
            now.zip(before)
                .for_each(|(now, n)| *now = now.saturating_sub(*n));
        }
        Figures {
            wall: self.wall.saturating_sub(before.wall),
            busy: self.busy.saturating_sub(before.busy),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
            retries: self.retries.saturating_sub(before.retries),
            usage: self.usage.map(usage),
            boundaries,
        }
    }

    fn add(&mut self, other: &Figures) {
        self.wall += other.wall;
        self.busy += other.busy;
        self.wakeups += other.wakeups;
        self.retries += other.retries;
        if let Some((allocs, bytes)) = other.usage {
            let mine = self.usage.get_or_insert_default();
            (mine.0, mine.1) = (mine.0 + allocs, mine.1 + bytes);
        }
        for (name, figures) in &other.boundaries {
            let sum = self.boundaries.entry(name).or_default();
            sum.iter_mut().zip(figures).for_each(|(sum, n)| *sum += n);
        }
    }

    /// Whether anything was done.
    fn is_work(&self) -> bool {
        let crossed = self.boundaries.values().flatten().any(|&n| n > 0);
        crossed || self.busy > 0 || self.wakeups > 0 || self.retries > 0
    }
}

/// The units of one kind that are in progress.
#[derive(Debug, Default)]
struct OfKind {
    count: u64,
    is_at_work: bool,
    figures: Figures,
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

    fn add(&mut self, kind: KindId, figures: &Figures, is_inside: bool) {
        let of = self.kinds.entry(kind).or_default();
        of.count += 1;
        of.is_at_work |= is_inside || figures.is_work();
        of.figures.add(figures);
    }
}

impl OfKind {
    fn told(&self) -> InProgress {
        let figures = &self.figures;
        let costs = [
            ("wall", Some(figures.wall)),
            ("busy", Some(figures.busy)),
            ("wakeups", Some(figures.wakeups)),
            ("retries", Some(figures.retries)),
            ("allocs", figures.usage.map(|(allocs, _)| allocs)),
            ("alloc_bytes", figures.usage.map(|(_, bytes)| bytes)),
        ];
        let boundary = |(name, &[calls, bytes_sent, bytes_received]): (&&str, &[u64; 3])| {
            let cost = BoundaryCost {
                calls,
                bytes_sent,
                bytes_received,
            };
            ((*name).to_owned(), cost)
        };
        InProgress {
            count: self.count,
            costs: costs.map(|(name, n)| (name.to_owned(), n)).into(),
            boundaries: figures.boundaries.iter().map(boundary).collect(),
        }
    }
}

impl Core {
    /// What the units in progress have cost since they began.
    pub(super) fn in_progress_so_far(&self) -> ByKind {
        let mut all = ByKind::default();
        let now = self.clock.now();
        self.slots.in_progress(now, |_, unit, is_inside| {
            all.add(unit.kind, &Figures::of(unit), is_inside);
        });
        all
    }

    /// What they have cost since this was last called.
    pub(super) fn in_progress_since(&self, told: &mut Told) -> ByKind {
        let mut all = ByKind::default();
        let mut before = std::mem::take(&mut told.units);
        let now = self.clock.now();
        self.slots.in_progress(now, |reference, unit, is_inside| {
            let figures = Figures::of(unit);
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
