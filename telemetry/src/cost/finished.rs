//! A unit that has ended, as data.

use super::{BoundaryId, InsideCosts, UnitCosts};
use std::ops::Deref;

/// A kind's number. 0 is `other`, where the units go whose kind found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KindId(pub(crate) u32);

impl KindId {
    pub(crate) const OTHER: KindId = KindId(0);
}

/// Boundary cells of a unit. The last is for what the others have no room for.
pub(crate) const BOUNDARIES_PER_UNIT: usize = 8;

/// A unit that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finished {
    pub(crate) kind: KindId,
    pub(crate) error: bool,
    pub(crate) costs: UnitCosts,
    /// What telemetry itself took, if that was timed.
    pub(crate) telemetry_ns: Option<u64>,
    pub(crate) boundaries: Boundaries,
    /// What of it other units have as well, if any have.
    pub(crate) inside: Option<InsideCosts>,
    /// Whether it was kept in detail.
    pub(crate) exemplar: Outcome,
}

impl Finished {
    /// To be filled in.
    pub(crate) fn empty() -> Self {
        Finished {
            kind: KindId::OTHER,
            error: false,
            costs: UnitCosts::none(),
            telemetry_ns: None,
            boundaries: Boundaries::default(),
            inside: None,
            exemplar: Outcome::default(),
        }
    }
}

/// The boundaries that a unit crossed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Boundaries {
    len: usize,
    crossed: [FinishedBoundary; BOUNDARIES_PER_UNIT],
}

impl Boundaries {
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Past the most that a unit tells apart, it is ignored; nobody hands in more.
    pub(crate) fn push(&mut self, boundary: FinishedBoundary) {
        if let Some(place) = self.crossed.get_mut(self.len) {
            *place = boundary;
            self.len += 1;
        }
    }
}

impl Deref for Boundaries {
    type Target = [FinishedBoundary];

    fn deref(&self) -> &[FinishedBoundary] {
        &self.crossed[..self.len]
    }
}

impl PartialEq for Boundaries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FinishedBoundary {
    pub(crate) id: BoundaryId,
    pub(crate) calls: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Default for FinishedBoundary {
    fn default() -> Self {
        FinishedBoundary {
            id: BoundaryId::OTHER,
            calls: 0,
            sent: 0,
            received: 0,
        }
    }
}

/// What became of a unit as an exemplar, by the thread that ended it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was no reason to keep it, or nobody to write it for.
    #[default]
    NotChosen,
    RateLimited,
    /// It was handed to the background thread, which counts it.
    Queued,
    QueueFull,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 4] = [
        Outcome::NotChosen,
        Outcome::RateLimited,
        Outcome::Queued,
        Outcome::QueueFull,
    ];
}
