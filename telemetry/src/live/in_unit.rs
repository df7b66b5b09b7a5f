//! Which unit a span is in, as one word.

use std::fmt;

/// A unit in progress, by the place of its figures and how many units were there before: a late caller cannot
/// mistake the next unit for its own. The index in the lower 21 bits, the generation above, 59 bits in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitRef(pub(crate) u64);

const INDEX_BITS: u32 = 21;
/// Places that can be kept apart.
const PLACES: usize = 1 << INDEX_BITS;
/// Units that may be in progress at once: threads that do nothing may keep half as many places.
pub(super) const MOST_UNITS: usize = 1 << (INDEX_BITS - 1);

impl fmt::Display for UnitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl UnitRef {
    /// What [`UnitOfSpan`] has room for beside its flags.
    pub(super) const MASK: u64 = u64::MAX >> 5;

    pub(super) fn new(index: u32, generation: u64) -> Self {
        UnitRef((generation << INDEX_BITS | u64::from(index)) & UnitRef::MASK)
    }

    pub(super) fn index(self) -> u32 {
        (self.0 & (PLACES as u64 - 1)) as u32
    }
}

/// What is known of a span: its unit, whether the unit is its own, and whether that is inside another unit.
///
/// PERF: one word. As a struct with flags it was copied by loads that overlap the stores just before,
/// for which a processor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitOfSpan(pub(crate) u64);

const ROOT: u64 = 1;
const TIMED: u64 = 2;
const INNER: u64 = 4;
const TRACED: u64 = 8;
pub(super) const UNIT_SHIFT: u32 = 4;

impl UnitOfSpan {
    /// Of a span that is in no unit. No unit is at its place.
    pub(crate) const NONE: UnitOfSpan = UnitOfSpan(u64::MAX);

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self == UnitOfSpan::NONE
    }

    /// Of a unit's own span.
    pub(crate) fn of_root(unit: UnitRef, timed: bool) -> Self {
        let timed = if timed { TIMED } else { 0 };
        UnitOfSpan(unit.0 << UNIT_SHIFT | timed | ROOT)
    }

    /// The same, of a unit inside another one.
    pub(crate) fn inside_another(self) -> Self {
        UnitOfSpan(self.0 | INNER)
    }

    /// The same, of a unit of which it is to be noted where it is in a trace.
    #[inline]
    pub(crate) fn traced(self, traced: bool) -> Self {
        UnitOfSpan(self.0 | if traced { TRACED } else { 0 })
    }

    /// Whether that is to be noted.
    #[inline]
    pub(crate) fn is_traced(self) -> bool {
        self.0 & TRACED != 0
    }

    /// Whether the unit is inside another one.
    #[inline]
    pub(crate) fn is_inner(self) -> bool {
        self.0 & INNER != 0
    }

    /// Of a span inside this one.
    #[inline]
    pub(crate) fn of_child(self) -> Self {
        UnitOfSpan(self.0 & !ROOT)
    }

    #[inline]
    pub(crate) fn unit(self) -> UnitRef {
        UnitRef(self.0 >> UNIT_SHIFT)
    }

    #[inline]
    pub(crate) fn is_root(self) -> bool {
        self.0 & ROOT != 0
    }

    /// Whether more is to be noted of the unit than of most.
    ///
    /// PERF: asked once for all.
    #[inline]
    pub(crate) fn is_special(self) -> bool {
        self.0 & (TIMED | TRACED) != 0
    }

    /// What telemetry itself takes for the unit is timed.
    #[inline]
    pub(crate) fn timed(self) -> bool {
        self.0 & TIMED != 0
    }
}
