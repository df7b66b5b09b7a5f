//! A unit that has ended, as data.

use super::{Boundaries, InsideCosts, UnitCosts};

/// A kind's number. 0 is `other`, where the units go whose kind found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KindId(pub(crate) u32);

impl KindId {
    pub(crate) const OTHER: KindId = KindId(0);
}

/// A unit that has ended.
#[derive(Clone, Debug, PartialEq)]
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
