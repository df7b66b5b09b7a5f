//! Units in units: which one an inner unit is inside of, and what of a unit's cost others have as well.

use super::in_unit::UnitRef;
use super::unit::LiveUnit;
use crate::cost::InsideCosts;
use crate::tool::static_ref::StaticRef;
use alloc_tracker::Usage;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// Units that may be around another one. What would be a unit further in belongs to the innermost of them.
const MOST_DEPTH: u8 = 16;

/// What is said of a unit that is inside another one, or was worked for inside of the work for another.
#[derive(Debug, Default)]
pub(super) struct Nested {
    /// PERF: most units have nothing of it, and are asked for this alone.
    is_any: AtomicBool,
    /// Units have begun inside it.
    has_inner: AtomicBool,
    /// How many units are around it.
    depth: AtomicU8,
    /// The one around it, as a number; 0: there is none.
    outer: AtomicU64,
    /// Where that one lies.
    outer_place: StaticRef<LiveUnit>,
    /// The span of that one that it began in.
    span: AtomicU64,
    allocs: AtomicU64,
    alloc_bytes: AtomicU64,
    busy: AtomicU64,
}

/// The unit around an inner one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    pub(crate) unit: UnitRef,
    /// Where it lies, or lay.
    place: &'static LiveUnit,
    /// The span of it that the inner one began in.
    pub(crate) span: u64,
    /// How many units are around the inner one.
    depth: u8,
}

impl Outer {
    /// Its figures, unless it has ended.
    #[inline]
    pub(crate) fn live(&self) -> Option<&'static LiveUnit> {
        Some(self.place).filter(|place| place.is(self.unit))
    }
}

/// A unit, and where it lies, or lay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedUnit {
    pub(crate) unit: UnitRef,
    pub(crate) place: &'static LiveUnit,
}

impl PlacedUnit {
    /// Its figures, unless it has ended.
    #[inline]
    pub(crate) fn live(&self) -> Option<&'static LiveUnit> {
        Some(self.place).filter(|place| place.is(self.unit))
    }

    /// All units that are around one, the innermost first.
    pub(crate) fn around(unit: &LiveUnit) -> Box<[PlacedUnit]> {
        let next = |outer: &Outer| outer.live()?.outer();
        let outer = std::iter::successors(unit.outer(), next);
        let placed = |Outer { unit, place, .. }| PlacedUnit { unit, place };
        outer.map(placed).collect()
    }
}

/// All units that are around one: what is done in it is done in them.
#[inline(always)]
pub(crate) fn for_outer(unit: &LiveUnit, each: impl Fn(&'static LiveUnit)) {
    if let Some(outer) = unit.outer() {
        all_from(outer, each);
    }
}

#[inline(never)]
fn all_from(outer: Outer, each: impl Fn(&'static LiveUnit)) {
    let mut outer = outer.live();
    while let Some(unit) = outer {
        each(unit);
        outer = unit.outer().and_then(|outer| outer.live());
    }
}

/// Where a span would be a unit that begins inside this one of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nesting {
    /// That unit is over.
    Nothing,
    Unit(Outer),
    /// Around it are as many units as there may be.
    TooDeep,
}

impl Nesting {
    /// Inside of this span of a unit, which may be, or have been, at that place.
    pub(crate) fn of(span: u64, unit: UnitRef, place: Option<&'static LiveUnit>) -> Self {
        let live = place.filter(|place| place.is(unit));
        let Some(live) = live else {
            return Nesting::Nothing;
        };
        match live.depth() {
            MOST_DEPTH.. => Nesting::TooDeep,
            depth => {
                live.set_has_inner();
                Nesting::Unit(Outer {
                    unit,
                    place: live,
                    span,
                    depth: depth + 1,
                })
            }
        }
    }
}

impl Nested {
    pub(super) fn begin(&self, outer: Outer) {
        self.outer.store(outer.unit.0, Relaxed);
        self.outer_place.set(Some(outer.place));
        self.span.store(outer.span, Relaxed);
        self.depth.store(outer.depth, Relaxed);
        self.is_any.store(true, Relaxed);
    }

    pub(super) fn set_has_inner(&self) {
        self.has_inner.store(true, Relaxed);
    }

    #[inline]
    pub(super) fn has_inner(&self) -> bool {
        self.has_inner.load(Relaxed)
    }

    pub(super) fn depth(&self) -> u8 {
        self.depth.load(Relaxed)
    }

    #[inline]
    pub(super) fn outer(&self) -> Option<Outer> {
        match self.is_any.load(Relaxed) {
            true => self.known_outer(),
            false => None,
        }
    }

    fn known_outer(&self) -> Option<Outer> {
        let outer = Outer {
            unit: UnitRef(self.outer.load(Relaxed)),
            place: self.outer_place.get()?,
            span: self.span.load(Relaxed),
            depth: self.depth(),
        };
        (outer.unit.0 != 0).then_some(outer)
    }

    pub(super) fn add(&self, usage: Option<Usage>, busy: u64) {
        let usage = usage.unwrap_or_default();
        self.allocs.fetch_add(usage.allocs, Relaxed);
        self.alloc_bytes.fetch_add(usage.alloc_bytes, Relaxed);
        self.busy.fetch_add(busy, Relaxed);
        self.is_any.store(true, Relaxed);
    }

    /// What others have as well, if anything.
    pub(super) fn costs(&self) -> Option<InsideCosts> {
        self.is_any.load(Relaxed).then(|| InsideCosts {
            units: u64::from(self.depth() > 0),
            allocs: self.allocs.load(Relaxed),
            alloc_bytes: self.alloc_bytes.load(Relaxed),
            busy: self.busy.load(Relaxed),
        })
    }

    pub(super) fn reset(&self) {
        self.is_any.store(false, Relaxed);
        self.has_inner.store(false, Relaxed);
        self.depth.store(0, Relaxed);
        self.outer_place.set(None);
        for word in [
            &self.outer,
            &self.span,
            &self.allocs,
            &self.alloc_bytes,
            &self.busy,
        ] {
            word.store(0, Relaxed);
        }
    }
}
