//! The four figures of a heap profile.

use std::fmt;

/// What of a heap profile is asked for.
///
/// ```
/// use alloc_tracker::profiler::Figure;
///
/// assert_eq!(Figure::InuseSpace.name(), "inuse_space");
/// assert_eq!(Figure::InuseSpace.unit(), "bytes");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Blocks allocated, whether freed or not; a reallocation is one more.
    AllocObjects,
    /// Bytes allocated, whether freed or not; of a reallocation, those by which the block grew.
    AllocSpace,
    /// Blocks in use.
    InuseObjects,
    /// Bytes in use.
    InuseSpace,
}

impl Figure {
    /// All of them, in the order of the pprof format.
    pub const ALL: [Figure; 4] = [
        Figure::AllocObjects,
        Figure::AllocSpace,
        Figure::InuseObjects,
        Figure::InuseSpace,
    ];

    /// The name that the pprof format has for it.
    pub fn name(self) -> &'static str {
        match self {
            Figure::AllocObjects => "alloc_objects",
            Figure::AllocSpace => "alloc_space",
            Figure::InuseObjects => "inuse_objects",
            Figure::InuseSpace => "inuse_space",
        }
    }

    /// `count` or `bytes`.
    pub fn unit(self) -> &'static str {
        match self {
            Figure::AllocObjects | Figure::InuseObjects => "count",
            Figure::AllocSpace | Figure::InuseSpace => "bytes",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unbiased estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimated {
    /// The estimate.
    pub value: f64,
    /// Its standard error: the truth is within twice as much in 95 of 100 cases, if a few dozen samples
    /// or more are behind it.
    pub standard_error: f64,
}

impl Estimated {
    pub(super) fn new(value: f64, variance: f64) -> Self {
        Estimated {
            value,
            standard_error: variance.sqrt(),
        }
    }
}

/// What a profile says of the process as a whole; the counterparts of the fields of
/// [`Usage`](crate::Usage).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// Allocations, reallocations included.
    pub allocs: Estimated,
    /// Bytes allocated; of a reallocation, those by which the block grew.
    pub alloc_bytes: Estimated,
    /// Blocks in use.
    pub inuse_objects: Estimated,
    /// Bytes in use.
    pub inuse_bytes: Estimated,
}

/// The four figures of one stack and unit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures([f64; 4]);

impl Figures {
    pub(super) fn of_allocated(objects: f64, bytes: f64) -> Self {
        Figures([objects, bytes, 0.0, 0.0])
    }

    pub(super) fn add_in_use(&mut self, objects: f64, bytes: f64) {
        self.0[2] += objects;
        self.0[3] += bytes;
    }

    pub(super) fn get(&self, figure: Figure) -> f64 {
        self.0[figure as usize]
    }

    /// As whole numbers, as formats have them.
    pub(super) fn rounded(&self) -> [i64; 4] {
        self.0.map(|figure| figure.round() as i64)
    }

    pub(super) fn minus(&self, other: &Figures) -> Figures {
        Figures(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }

    pub(super) fn is_zero(&self) -> bool {
        self.rounded() == [0; 4]
    }
}
