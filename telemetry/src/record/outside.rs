//! What the process did for no unit.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the process has done for no unit since telemetry was built: what tasks that nobody followed did, pools of threads,
/// the runtime, the program's start.
///
/// While nobody works, and if the ledger's `untold` is empty, [what units cost](crate::UnitSnapshot::outermost), ended and in progress, and this are what the
/// process has allocated, to the byte. What threads do while a snapshot is taken may be missing from all of them, or be in
/// this and in the process alone. A snapshot itself is of whoever takes it. What an [`alloc_tracker::Unit`] of the
/// program's does is not outside, and in no kind of unit either.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outside {
    /// Allocations and reallocations.
    pub allocs: u64,
    /// Bytes allocated, and by which reallocations grew.
    pub alloc_bytes: u64,
    /// What of it other layers did while they were told of a span or an event, in [`Lean`](crate::Lean): with another log
    /// level or exporter it would be something else.
    #[serde(default)]
    pub observability: Observability,
    /// What the process has allocated in all: allocations and reallocations.
    pub process_allocs: u64,
    /// And bytes.
    pub process_alloc_bytes: u64,
    /// Time on a processor; `None` if it is not known of the units, of which a sample is asked, or of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<OutsideCpu>,
    /// Where it happened: by the names of the threads that are there. Names past the sixteen with the most
    /// allocations are together under `other`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub threads: BTreeMap<String, OutsideOfThreads>,
}

/// What layers beside this one have allocated while they were told of a span or an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Observability {
    /// Allocations and reallocations.
    pub allocs: u64,
    /// Bytes allocated, and by which reallocations grew.
    pub alloc_bytes: u64,
}

impl Observability {
    /// So much.
    pub fn new(allocs: u64, alloc_bytes: u64) -> Self {
        Observability {
            allocs,
            alloc_bytes,
        }
    }
}

/// Time on a processor that no unit has: the process's, less that of telemetry's own threads and an estimate of the
/// units'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutsideCpu {
    /// Nanoseconds.
    pub ns: u64,
    /// The standard error, in nanoseconds: two times in three it is no further away than that.
    pub standard_error: u64,
    /// Of the process in all, in nanoseconds.
    pub process_ns: u64,
}

/// What threads of one name did for no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutsideOfThreads {
    /// How many there are.
    pub threads: u64,
    /// Allocations and reallocations.
    pub allocs: u64,
    /// Bytes allocated, and by which reallocations grew.
    pub alloc_bytes: u64,
}
