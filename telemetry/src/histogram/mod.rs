//! The distribution of one cost over units: of an interval, which units are recorded into, or of all time, which
//! intervals are merged into.

mod buckets;
mod distribution;

pub use buckets::Bucket;
pub(crate) use buckets::Buckets;
use buckets::FINEST;
pub use distribution::{Distribution, MergeError};

/// A counter for each [bucket](buckets), from that of the smallest value that it was given to that of the
/// largest: a quarter of a KiB for each power of two, 2 KiB for values from a microsecond to 100, 8 KiB from one
/// nanosecond to a minute. Sum and maximum are exact, percentiles within 1 %.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// What one of them has is in `spilled` when it is full, and it begins anew.
    counts: Vec<u16>,
    /// The bucket of the first of them.
    first: usize,
    /// Values of 0 that are in no counter: there are many where others are large.
    zeros: u64,
    /// What counters had when they were full, in the order of their buckets.
    spilled: Vec<Spilled>,
    /// All that are in `counts`, `zeros` and `spilled`.
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
        let count = self
            .counts
            .get_mut((bucket as usize).wrapping_sub(self.first));
        match count.map(|count| (u64::from(*count) + times, count)) {
            Some((sum, count)) if sum < FULL => *count = sum as u16,
            _ => self.add_elsewhere(bucket, times),
        }
        self.count += times;
    }

    #[cold]
    fn add_elsewhere(&mut self, bucket: u32, times: u64) {
        if bucket == 0 {
            self.zeros += times;
            return;
        }
        let at = bucket as usize;
        if !(self.first..self.first + self.counts.len()).contains(&at) {
            self.grow(at);
        }
        let Some(count) = self.counts.get_mut(at - self.first) else {
            return;
        };
        let sum = u64::from(*count) + times;
        if sum < FULL {
            *count = sum as u16;
            return;
        }
        *count = 0;
        match (self.spilled).binary_search_by_key(&bucket, |known| known.bucket()) {
            Ok(known) => self.spilled[known].add(sum),
            Err(new) => self.spilled.insert(new, Spilled::new(bucket, sum)),
        }
    }

    /// Buckets that hold something, but for zeros and the values in a row, and how many they have.
    fn filled(&self) -> impl Iterator<Item = (u32, u64)> {
        let mut spilled = self.spilled.iter().peekable();
        let counts = self.counts.iter().zip(self.first as u32..);
        counts.filter_map(move |(count, bucket)| {
            let before = spilled.next_if(|spilled| spilled.bucket() == bucket);
            let times = u64::from(*count) + before.map_or(0, |before| before.times());
            (times > 0).then_some((bucket, times))
        })
    }

    /// By a quarter of a power of two: values of about one size grow it once or twice.
    fn grow(&mut self, bucket: usize) {
        const STEP: usize = 1 << (FINEST - 2);
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
        let filled = self.filled();
        let filled = filled.map(|(bucket, count)| (buckets::highest_in(bucket), count));
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        zeros.into_iter().chain(filled)
    }

    /// Forgets the values and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.spilled.clear();
        self.zeros = 0;
        self.count = 0;
        self.sum = 0;
        self.max = 0;
        self.in_a_row = 0;
    }
}

impl Histogram {
    /// Without any value.
    pub(crate) fn empty() -> Self {
        Histogram::default()
    }

    /// Adds this many times the value 0.
    pub(crate) fn add_zeros(&mut self, times: u64) {
        self.record(0, times);
    }

    /// Adds what an interval had.
    pub(crate) fn merge(&mut self, interval: &Histogram) {
        self.add_to_bucket(0, interval.zeros);
        for (bucket, count) in interval.filled() {
            self.add_to_bucket(bucket, count);
        }
        self.sum += interval.sum;
        self.max = self.max.max(interval.max);
        self.record(interval.last, interval.in_a_row);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count + self.in_a_row
    }

    pub(crate) fn sum(&self) -> u64 {
        let in_a_row = u128::from(self.last) * u128::from(self.in_a_row);
        u64::try_from(self.sum + in_a_row).unwrap_or(u64::MAX)
    }

    pub(crate) fn max(&self) -> u64 {
        if self.in_a_row > 0 {
            self.max.max(self.last)
        } else {
            self.max
        }
    }

    pub(crate) fn quantile(&self, q: f64) -> u64 {
        if self.in_a_row > 0 {
            let mut settled = self.clone();
            settled.settle();
            return settled.quantile(q);
        }
        quantile(self.recorded(), self.count, q).min(self.max)
    }

    pub(crate) fn buckets(&self) -> Buckets {
        if self.in_a_row > 0 {
            let mut settled = self.clone();
            settled.settle();
            return settled.buckets();
        }
        Buckets::of(self.recorded())
    }
}

/// A bucket, and how often a value in it came before its counter began anew: up to 280 million million times, and no more
/// often. In one word: of all time, many counters were full.
#[derive(Clone, Copy, Debug)]
struct Spilled(u64);

impl Spilled {
    const TIMES_BITS: u32 = 48;
    const MOST: u64 = (1 << Spilled::TIMES_BITS) - 1;

    fn new(bucket: u32, times: u64) -> Self {
        Spilled(u64::from(bucket) << Spilled::TIMES_BITS | times.min(Spilled::MOST))
    }

    fn bucket(self) -> u32 {
        (self.0 >> Spilled::TIMES_BITS) as u32
    }

    fn times(self) -> u64 {
        self.0 & Spilled::MOST
    }

    fn add(&mut self, times: u64) {
        *self = Spilled::new(self.bucket(), self.times().saturating_add(times));
    }
}

/// More than a counter takes.
const FULL: u64 = u16::MAX as u64;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_one_percent_and_the_maximum_is_exact() {
        let mut costs = Histogram::empty();
        for n in 0..100_000u64 {
            costs.record(n * 977, 1);
        }
        let mut total = Histogram::empty();
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
    fn a_counter_that_is_full_loses_nothing() {
        let mut costs = Histogram::empty();
        let times = [FULL - 1, 1, 1, 3 * FULL, 1];
        for (n, times) in times.into_iter().enumerate() {
            costs.record(7_000, times);
            costs.record(3_000_000 + n as u64 % 2, FULL);
            costs.record(0, 100_000);
        }
        let of_small: u64 = times.into_iter().sum();
        let total = of_small + 5 * FULL + 500_000;
        let mut all_time = Histogram::empty();
        all_time.merge(&costs);
        let mut again = Histogram::empty();
        again.merge(&costs);
        again.merge(&costs);
        assert_eq!((costs.count(), again.count()), (total, 2 * total));
        let counts = |of: &dyn Fn(f64) -> u64| {
            // The last zero, the first and the last of the small ones, and the first large one.
            let ranks = [500_000, 500_001, 500_000 + of_small, 500_001 + of_small];
            ranks.map(|rank| of(rank as f64 / total as f64))
        };
        let expected = counts(&|q| all_time.quantile(q));
        assert_eq!((expected[0], expected[1] / 100), (0, 70));
        assert_eq!(expected[1], expected[2]);
        assert!(expected[3] >= 3_000_000);
        assert_eq!(counts(&|q| costs.quantile(q)), expected);
        assert_eq!(counts(&|q| again.quantile(q)), expected);
        costs.clear();
        assert_eq!((costs.count(), costs.quantile(0.5)), (0, 0));
    }

    #[test]
    fn intervals_merged_are_one_long_interval() {
        let mut random = 1u64;
        for spread in [2, 40, 1 << 20, 1 << 40] {
            let (mut whole, mut total) = (Histogram::empty(), Histogram::empty());
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
