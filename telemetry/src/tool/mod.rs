//! What knows no word of units and records: time, rates, memory that is taken and given back, text, and which threads
//! are telemetry's own.

pub(crate) mod calendar;
pub(crate) mod clock;
pub(crate) mod human;
#[cfg(all(feature = "signal", target_os = "linux"))]
pub(crate) mod listening;
pub(crate) mod names;
pub(crate) mod panics;
pub(crate) mod pool;
pub(crate) mod rate;
pub(crate) mod silence;
pub(crate) mod static_ref;
pub(crate) mod sync;
pub(crate) mod word_ring;
pub(crate) mod words;
