//! What a unit does across a boundary: one table, with a row for each figure.
//!
//! From a row come its words in a unit that has ended, the histogram that its values go to, its field in records and its
//! name in budgets. Where it arises is said by [`Call`](crate::Call).

use super::{BoundaryId, Measure};
use std::ops::{Deref, DerefMut};

macro_rules! metrics {
    ($($metric:ident: $measure:ident, $name:literal, $is_always:literal, $text:literal;)*) => {
        /// A figure of what a unit does across one boundary, which has a distribution over the units of a kind.
        ///
        /// What each counts is in `docs/costs.md`, and in [`BoundaryMetric::text`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum BoundaryMetric {
            $(
                #[allow(missing_docs)] // `BoundaryMetric::text` says it
                $metric,
            )*
        }

        impl BoundaryMetric {
            /// All of them, in the order in which they are written.
            ///
            /// ```
            /// use telemetry::BoundaryMetric;
            ///
            /// for metric in BoundaryMetric::ALL {
            ///     println!("{} ({}): {}", metric.name(), metric.measure().as_str(), metric.text());
            /// }
            /// assert_eq!(BoundaryMetric::Time.name(), "time");
            /// ```
            pub const ALL: [BoundaryMetric; [$($name),*].len()] = [$(BoundaryMetric::$metric),*];

            /// Its name, in records.
            pub const fn name(self) -> &'static str {
                match self {
                    $(BoundaryMetric::$metric => $name,)*
                }
            }

            /// What it counts.
            pub const fn measure(self) -> Measure {
                match self {
                    $(BoundaryMetric::$metric => Measure::$measure,)*
                }
            }

            /// What it is, in a sentence without its end.
            pub const fn text(self) -> &'static str {
                match self {
                    $(BoundaryMetric::$metric => $text,)*
                }
            }

            /// Whether it is written also where no unit had any of it.
            pub(crate) const fn is_always_written(self) -> bool {
                match self {
                    $(BoundaryMetric::$metric => $is_always,)*
                }
            }
        }
    };
}

metrics! {
    Calls: Count, "calls", true, "Calls, of which each retry is one more";
    Sent: Bytes, "bytes_sent", true, "Bytes that went out";
    Received: Bytes, "bytes_received", true, "Bytes that came in";
    Time: Nanoseconds, "time", true, "From the begin of each call to its end; calls at the same time add up";
    Waited: Nanoseconds, "waited", false, "Of that, what calls are known to have waited for their turn";
    Retries: Count, "retries", false, "Calls that were tried again";
    Failures: Count, "failures", false, "Calls that failed, or ended in a panic";
    Wait: Nanoseconds, "wait", false, "The part of the unit's wall time in which it waited for this, and no thread worked for it";
}

/// What a unit did across one boundary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FinishedBoundary {
    pub(crate) id: BoundaryId,
    pub(crate) figures: [u64; BoundaryMetric::ALL.len()],
}

impl FinishedBoundary {
    /// Of one that was not crossed.
    pub(crate) const fn none(id: BoundaryId) -> Self {
        FinishedBoundary {
            id,
            figures: [0; BoundaryMetric::ALL.len()],
        }
    }

    #[inline]
    pub(crate) fn value(&self, metric: BoundaryMetric) -> u64 {
        self.figures[metric as usize]
    }

    #[inline]
    pub(crate) fn set(&mut self, metric: BoundaryMetric, value: u64) {
        self.figures[metric as usize] = value;
    }

    /// Adds what was done across another one, or later.
    pub(crate) fn add(&mut self, other: &FinishedBoundary) {
        for (sum, n) in self.figures.iter_mut().zip(other.figures) {
            *sum = sum.saturating_add(n);
        }
    }

    /// Leaves what was done since it was like the other one.
    pub(crate) fn subtract(&mut self, before: &FinishedBoundary) {
        for (now, n) in self.figures.iter_mut().zip(before.figures) {
            *now = now.saturating_sub(n);
        }
    }
}

/// Boundaries that a unit tells apart; further ones are counted together as `other`.
pub(crate) const BOUNDARIES_PER_UNIT: usize = 32;

/// The boundaries that a unit crossed: at most [`BOUNDARIES_PER_UNIT`], and `other`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Boundaries(Vec<FinishedBoundary>);

impl Boundaries {
    /// Forgets them and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push(&mut self, boundary: FinishedBoundary) {
        // Seldom: what is filled in again and again has room.
        if self.0.len() == self.0.capacity() {
            alloc_tracker::raw::for_a_tool(|| self.0.reserve(4));
        }
        self.0.push(boundary);
    }

    /// What was done across this one, if anything.
    pub(crate) fn of(&self, id: BoundaryId) -> Option<&FinishedBoundary> {
        self.iter().find(|crossed| crossed.id == id)
    }
}

impl DerefMut for Boundaries {
    fn deref_mut(&mut self) -> &mut [FinishedBoundary] {
        &mut self.0
    }
}

impl Deref for Boundaries {
    type Target = [FinishedBoundary];

    fn deref(&self) -> &[FinishedBoundary] {
        &self.0
    }
}
