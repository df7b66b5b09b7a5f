//! The distribution of one cost over units: of an interval, which units are recorded into, and of
//! all time, which intervals are merged into.

mod buckets;
mod distribution;

pub use buckets::Bucket;
pub(crate) use buckets::Buckets;
use buckets::FINEST;
pub use distribution::{Distribution, MergeError};

/// What both kinds of distribution tell. Sum and maximum are exact, percentiles within 1 %.
pub(crate) trait Distributed: Clone {
    /// Without any value.
    fn empty() -> Self;

    /// Adds this many times the value 0.
    fn add_zeros(&mut self, times: u64);

    /// Adds what an interval had.
    fn merge(&mut self, interval: &Histogram);

    fn count(&self) -> u64;
    fn sum(&self) -> u64;
    fn max(&self) -> u64;
    fn quantile(&self, q: f64) -> u64;
    fn buckets(&self) -> Buckets;
}

/// Of an interval: a counter for each [bucket](buckets), from that of the smallest value that it was given to that of the
/// largest, in steps of half a KiB: 4 KiB for values from a microsecond to 100, 15 KiB from one nanosecond to a minute.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// They saturate: no interval has four billion units.
    counts: Vec<u32>,
    /// The bucket of the first of them.
    first: usize,
    /// Values of 0 that are in no counter: there are many where others are large.
    zeros: u64,
    /// All that are in `counts` and `zeros`.
    count: u64,
    sum: u128,
    max: u64,
    /// The last value, and how often in a row: not yet in the rest.
    ///
    /// PERF: units of a kind are alike. Most of their figures (wake-ups, retries, allocations) are
    /// those of the unit before, and counting that is one addition.
    last: u64,
    in_a_row: u64,
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&mut self, value: u64, times: u64) {
        if value != self.last {
            self.settle();
            self.last = value;
        }
        self.in_a_row += times;
    }

    /// Puts the values in a row to the others.
    #[inline]
    pub(crate) fn settle(&mut self) {
        let (value, times) = (self.last, std::mem::take(&mut self.in_a_row));
        if times == 0 {
            return;
        }
        self.add_to_bucket(buckets::number_of(value, FINEST), times);
        self.sum += u128::from(value) * u128::from(times);
        self.max = self.max.max(value);
    }

    #[inline]
    fn add_to_bucket(&mut self, bucket: u32, times: u64) {
        let bucket = bucket as usize;
        match self.counts.get_mut(bucket.wrapping_sub(self.first)) {
            Some(count) => *count = count.saturating_add(u32::try_from(times).unwrap_or(u32::MAX)),
            None => self.add_elsewhere(bucket, times),
        }
        self.count += times;
    }

    #[cold]
    fn add_elsewhere(&mut self, bucket: usize, times: u64) {
        if bucket == 0 {
            self.zeros += times;
            return;
        }
        self.grow(bucket);
        if let Some(count) = self.counts.get_mut(bucket - self.first) {
            *count = count.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
        }
    }

    /// By whole powers of two: values of about one size grow it once.
    fn grow(&mut self, bucket: usize) {
        const STEP: usize = 1 << FINEST;
        let from = bucket / STEP * STEP;
        if self.counts.is_empty() {
            self.first = from;
        }
        let before = self.first.saturating_sub(from);
        let len = (bucket + 1)
            .saturating_sub(self.first)
            .next_multiple_of(STEP);
        let len = before + len.max(self.counts.len());
        self.counts.reserve_exact(len - self.counts.len());
        if before > 0 {
            self.counts.splice(..0, std::iter::repeat_n(0, before));
            self.first = from;
        }
        self.counts.resize(len, 0);
    }

    /// Buckets that hold something, but for the values in a row: their highest value, and how many they have.
    fn recorded(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().zip(self.first..);
        let filled = counts.filter(|(count, _)| **count > 0);
        let filled =
            filled.map(|(count, bucket)| (buckets::highest_in(bucket as u32), u64::from(*count)));
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        zeros.into_iter().chain(filled)
    }

    /// Forgets the values and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.zeros = 0;
        self.count = 0;
        self.sum = 0;
        self.max = 0;
        self.in_a_row = 0;
    }
}

impl Distributed for Histogram {
    fn empty() -> Self {
        Histogram {
            counts: Vec::new(),
            first: 0,
            zeros: 0,
            count: 0,
            sum: 0,
            max: 0,
            last: 0,
            in_a_row: 0,
        }
    }

    fn add_zeros(&mut self, times: u64) {
        self.record(0, times);
    }

    fn merge(&mut self, interval: &Histogram) {
        self.add_to_bucket(0, interval.zeros);
        for (count, bucket) in interval.counts.iter().zip(interval.first..) {
            if *count > 0 {
                self.add_to_bucket(bucket as u32, u64::from(*count));
            }
        }
        self.sum += interval.sum;
        self.max = self.max.max(interval.max);
        self.record(interval.last, interval.in_a_row);
    }

    fn count(&self) -> u64 {
        self.count + self.in_a_row
    }

    fn sum(&self) -> u64 {
        let in_a_row = u128::from(self.last) * u128::from(self.in_a_row);
        u64::try_from(self.sum + in_a_row).unwrap_or(u64::MAX)
    }

    fn max(&self) -> u64 {
        if self.in_a_row > 0 {
            self.max.max(self.last)
        } else {
            self.max
        }
    }

    fn quantile(&self, q: f64) -> u64 {
        if self.in_a_row > 0 {
            let mut settled = self.clone();
            settled.settle();
            return settled.quantile(q);
        }
        quantile(self.recorded(), self.count, q).min(self.max)
    }

    fn buckets(&self) -> Buckets {
        if self.in_a_row > 0 {
            let mut settled = self.clone();
            settled.settle();
            return settled.buckets();
        }
        Buckets::of(self.recorded())
    }
}

/// The value at a share of all `count`, of values in order and how often each came.
fn quantile(values: impl Iterator<Item = (u64, u64)>, count: u64, q: f64) -> u64 {
    let rank = ((q * count as f64).ceil() as u64).max(1);
    let mut seen = 0;
    let mut values = values.skip_while(|(_, times)| {
        seen += times;
        seen < rank
    });
    values.next().map_or(0, |(value, _)| value)
}

/// Of all time: how often each value came, of those that did.
///
/// A value stands for all that the histogram of an interval cannot tell apart from it. A unit's cost
/// has some hundred such values, where a histogram with room for a minute has 3,800: this takes 16
/// bytes for each value that came, typically a tenth of the histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct TotalHistogram {
    /// Values in order, and their counts.
    values: Vec<(u64, u64)>,
    count: u64,
    sum: u128,
    max: u64,
}

impl TotalHistogram {
    fn add(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        match self
            .values
            .binary_search_by_key(&value, |(value, _)| *value)
        {
            Ok(at) => self.values[at].1 += times,
            Err(at) => self.values.insert(at, (value, times)),
        }
        self.count += times;
    }
}

impl Distributed for TotalHistogram {
    fn empty() -> Self {
        TotalHistogram::default()
    }

    fn add_zeros(&mut self, times: u64) {
        self.add(0, times);
    }

    fn merge(&mut self, interval: &Histogram) {
        for (value, times) in interval.recorded() {
            self.add(value, times);
        }
        let bucket = buckets::number_of(interval.last, FINEST);
        self.add(buckets::highest_in(bucket), interval.in_a_row);
        self.sum += u128::from(interval.last) * u128::from(interval.in_a_row) + interval.sum;
        self.max = self.max.max(interval.max());
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn sum(&self) -> u64 {
        u64::try_from(self.sum).unwrap_or(u64::MAX)
    }

    fn max(&self) -> u64 {
        self.max
    }

    fn quantile(&self, q: f64) -> u64 {
        quantile(self.values.iter().copied(), self.count, q).min(self.max)
    }

    fn buckets(&self) -> Buckets {
        Buckets::of(self.values.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_one_percent_and_the_maximum_is_exact() {
        let mut costs = Histogram::empty();
        for n in 0..100_000u64 {
            costs.record(n * 977, 1);
        }
        let mut total = TotalHistogram::empty();
        total.merge(&costs);
        for q in [0.5, 0.9, 0.99, 0.999] {
            let exact = (q * 100_000.0) * 977.0;
            for got in [costs.quantile(q) as f64, total.quantile(q) as f64] {
                let error = (got - exact).abs() / exact;
                assert!(error < 0.011, "{q}: {got} for {exact}");
            }
        }
        assert_eq!((costs.max(), total.max()), (99_999 * 977, 99_999 * 977));
    }

    #[test]
    fn intervals_merged_are_one_long_interval() {
        let mut random = 1u64;
        for spread in [2, 40, 1 << 20, 1 << 40] {
            let (mut whole, mut total) = (Histogram::empty(), TotalHistogram::empty());
            for _ in 0..20 {
                let mut interval = Histogram::empty();
                for _ in 0..500 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let (value, times) = (random % spread, 1 + random % 3);
                    whole.record(value, times);
                    interval.record(value, times);
                }
                total.merge(&interval);
            }
            let figures = |of: &dyn Fn(f64) -> u64| [0.5, 0.9, 0.99, 0.999, 1.0].map(of);
            assert_eq!(
                figures(&|q| whole.quantile(q)),
                figures(&|q| total.quantile(q)),
                "{spread}"
            );
            assert_eq!(
                (whole.count(), whole.sum(), whole.max()),
                (total.count(), total.sum(), total.max())
            );
        }
    }
}
