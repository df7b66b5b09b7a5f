//! How a cost is distributed over units, as data.

use super::Histogram;
use super::buckets::{Bucket, Buckets};
use crate::cost::Measure;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt;

/// How a cost is distributed over units. `max` and `sum` are exact; percentiles are within 1 %, for they are
/// of the buckets of a histogram.
///
/// Those of a snapshot have all buckets. In records they are coarser, as [`resolution`](Distribution::resolution)
/// says, so that a record stays small; their percentiles are of the finest all the same.
///
/// ```
/// use telemetry::Telemetry;
/// use tracing_subscriber::prelude::*;
///
/// let (layer, telemetry) = Telemetry::builder().build()?;
/// let guard = tracing_subscriber::registry().with(layer).set_default();
/// for _ in 0..100 {
///     tracing::info_span!("order").in_scope(|| {});
/// }
/// # drop(guard);
/// let snapshot = telemetry.snapshot();
/// let wakeups = snapshot.unit("order").and_then(|unit| unit.metric("wakeups")).ok_or("none")?;
/// assert_eq!((wakeups.quantile(0.99), wakeups.count_above(0), wakeups.count_above(1)), (1, 100, 0));
///
/// let mut both = wakeups.clone();
/// both.merge(wakeups)?;
/// assert_eq!((both.count, both.sum, both.p50), (200, 200, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Distribution {
    /// What is counted.
    pub unit: Measure,
    /// Half the units cost at most this.
    pub p50: u64,
    /// 90 % of the units cost at most this.
    pub p90: u64,
    /// 99 % of the units cost at most this.
    pub p99: u64,
    /// 99.9 % of the units cost at most this.
    pub p999: u64,
    /// The most that one unit cost.
    pub max: u64,
    /// What all units cost together.
    pub sum: u64,
    /// How many units there were. Of a metric that is taken of a sample: how many the sample stands
    /// for.
    pub count: u64,
    /// How many units were looked at, for a metric that is taken of a sample: `p50` to `p999`, `sum`
    /// and `count` are estimates then, weighted by the probability, and `max` is that of the sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<u64>,
    /// The standard error of `sum`, in its unit, for a metric that is taken of a sample: two times in three the
    /// sum over all units is no further away than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<u64>,
    /// `None` in records that have no room for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buckets: Option<Buckets>,
}

impl Distribution {
    /// How these values are distributed, in the finest buckets there are.
    ///
    /// ```
    /// use telemetry::{Distribution, Measure};
    ///
    /// let bytes = Distribution::of_values(Measure::Bytes, 1..=1000);
    /// assert_eq!((bytes.count, bytes.sum, bytes.max), (1000, 500_500, 1000));
    /// assert!((500..=504).contains(&bytes.p50));
    /// ```
    ///
    /// # Cost
    ///
    /// Some 10 ns a value, and up to 30 KiB while it runs.
    pub fn of_values(unit: Measure, values: impl IntoIterator<Item = u64>) -> Self {
        let mut histogram = Histogram::empty();
        for value in values {
            histogram.record(value, 1);
        }
        Distribution::of(&histogram, unit)
    }

    pub(crate) fn of(costs: &Histogram, unit: Measure) -> Self {
        Distribution {
            unit,
            p50: costs.quantile(0.5),
            p90: costs.quantile(0.9),
            p99: costs.quantile(0.99),
            p999: costs.quantile(0.999),
            max: costs.max(),
            sum: costs.sum(),
            count: costs.count(),
            sampled: None,
            standard_error: None,
            buckets: Some(costs.buckets()),
        }
    }

    /// Each unit that was looked at stands for this many.
    pub(crate) fn of_sample(self, weight: u64) -> Self {
        if weight <= 1 {
            return self;
        }
        // Each unit is looked at with the probability 1 / weight, independently of the others: the variance of
        // the sum's estimate is estimated by the sum of the squares, times weight * (weight - 1).
        let squares: f64 = self
            .buckets()
            .map(|bucket| {
                let middle = (bucket.from as f64 + bucket.to as f64) / 2.0;
                (bucket.count / weight) as f64 * middle * middle
            })
            .sum();
        let weight_as_f64 = weight as f64;
        let error = (squares * weight_as_f64 * (weight_as_f64 - 1.0)).sqrt();
        Distribution {
            sampled: Some(self.count / weight),
            standard_error: Some(error.ceil() as u64),
            ..self
        }
    }

    /// Shares of the units, and what those cost at most.
    fn percentiles(&self) -> [(f64, u64); 4] {
        [
            (0.5, self.p50),
            (0.9, self.p90),
            (0.99, self.p99),
            (0.999, self.p999),
        ]
    }

    pub(crate) fn set_bits(&mut self, bits: Option<u8>) {
        self.buckets = match (bits, &self.buckets) {
            (Some(bits), Some(buckets)) => Some(buckets.coarser(bits)),
            _ => None,
        };
    }

    /// The buckets that hold something, the lowest first. None in a record that had no room for them.
    ///
    /// ```
    /// use telemetry::{Distribution, Measure};
    ///
    /// let bytes = Distribution::of_values(Measure::Bytes, 1..=1000);
    /// for bucket in bytes.buckets() {
    ///     println!("{} to {}: {}", bucket.from, bucket.to, bucket.count);
    /// }
    /// assert_eq!(bytes.buckets().map(|bucket| bucket.count).sum::<u64>(), 1000);
    /// assert_eq!(bytes.resolution(), Some(1.0 / 128.0));
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.buckets.iter().flat_map(Buckets::iter)
    }

    /// How wide a bucket is at most, as a share of its lowest value: 1/128 in a snapshot, more in a record.
    /// `None` if there are no buckets.
    pub fn resolution(&self) -> Option<f64> {
        let buckets = self.buckets.as_ref()?;
        Some(1.0 / f64::from(1u32 << buckets.bits()))
    }

    /// What this share of the units costs at most: 0.99 for 99 % of them. As exact as the
    /// [`resolution`](Distribution::resolution), and never above `max`. Without buckets, the next known percentile.
    /// A share below 0 is taken for 0, one above 1 and no number for 1.
    pub fn quantile(&self, share: f64) -> u64 {
        let share = if share.is_nan() {
            1.0
        } else {
            share.clamp(0.0, 1.0)
        };
        if self.buckets.is_none() {
            let next = self
                .percentiles()
                .into_iter()
                .find(|(known, _)| share <= *known);
            return next.map_or(self.max, |(_, value)| value);
        }
        let rank = ((share * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0u64;
        let at_rank = self.buckets().find(|bucket| {
            seen = seen.saturating_add(bucket.count);
            seen >= rank
        });
        at_rank.map_or(self.max, |bucket| bucket.to.min(self.max))
    }

    /// How many units cost more than `limit`. Those of the bucket that the limit is in do not count, so it may
    /// be too low by as many, and is never too high. Without buckets all that is known for sure is whether there
    /// is one: 1 or 0.
    pub fn count_above(&self, limit: u64) -> u64 {
        if self.buckets.is_none() {
            return u64::from(self.max > limit);
        }
        let above = self.buckets().filter(|bucket| bucket.from > limit);
        above.fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// Adds what another one has: of another interval, or another process. The result has the buckets of the
    /// coarser of both, and percentiles from them; none, if one of the two has none, and then its percentiles are
    /// the higher ones of both.
    ///
    /// # Errors
    ///
    /// If the two do not count the same, or what they count is unknown. Nothing is changed then.
    pub fn merge(&mut self, other: &Distribution) -> Result<(), MergeError> {
        if self.unit != other.unit || self.unit == Measure::Unknown {
            return Err(MergeError {
                mine: self.unit,
                theirs: other.unit,
            });
        }
        let buckets = (self.buckets.as_ref()).zip(other.buckets.as_ref());
        self.buckets = buckets.map(|(mine, theirs)| mine.merged(theirs));
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
        self.standard_error = match (self.standard_error, other.standard_error) {
            // Errors that have nothing to do with each other.
            (Some(mine), Some(theirs)) => Some((mine as f64).hypot(theirs as f64).ceil() as u64),
            (mine, theirs) => mine.or(theirs),
        };
        self.sampled = match (self.sampled, other.sampled) {
            (None, None) => None,
            // Of what was looked at as a whole, all.
            (mine, theirs) => {
                let all = self.count - other.count;
                Some(
                    mine.unwrap_or(all)
                        .saturating_add(theirs.unwrap_or(other.count)),
                )
            }
        };
        let places = [
            (0.5, &mut self.p50, other.p50),
            (0.9, &mut self.p90, other.p90),
            (0.99, &mut self.p99, other.p99),
            (0.999, &mut self.p999, other.p999),
        ];
        if self.buckets.is_none() {
            places
                .into_iter()
                .for_each(|(_, mine, theirs)| *mine = (*mine).max(theirs));
            return Ok(());
        }
        (self.p50, self.p90, self.p99, self.p999) = (
            self.quantile(0.5),
            self.quantile(0.9),
            self.quantile(0.99),
            self.quantile(0.999),
        );
        Ok(())
    }
}

/// Two distributions that do not count the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeError {
    mine: Measure,
    theirs: Measure,
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MergeError { mine, theirs } = self;
        write!(
            f,
            "a distribution that counts \"{theirs}\" cannot be added to one of \"{mine}\""
        )
    }
}

impl Error for MergeError {}
