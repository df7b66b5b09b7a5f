//! The distribution of one cost over units.

use hdrhistogram::{Counter, Histogram};

/// A histogram that keeps sum and maximum exactly, and percentiles within 1 %.
///
/// It has two significant digits and grows with the largest value it was given: 4 KiB for values
/// to 1,000, 30 KiB for a minute in nanoseconds; half of that with `u32` counters, which are enough
/// for an interval.
#[derive(Clone, Debug)]
pub(crate) struct Costs<C: Counter> {
    histogram: Histogram<C>,
    sum: u128,
    max: u64,
    /// The last value, and how often in a row: not yet in the rest.
    ///
    /// PERF: units of a kind are alike. Most of their figures (wake-ups, retries, allocations) are
    /// those of the unit before, and counting that is one addition.
    last: u64,
    in_a_row: u64,
}

impl<C: Counter> Costs<C> {
    pub(crate) fn new() -> Self {
        Costs {
            histogram: empty_histogram(),
            sum: 0,
            max: 0,
            last: 0,
            in_a_row: 0,
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, value: u64, times: u64) {
        if value != self.last {
            self.settle();
            self.last = value;
        }
        self.in_a_row += times;
    }

    /// Puts the values in a row to the others.
    fn settle(&mut self) {
        let (value, times) = (self.last, std::mem::take(&mut self.in_a_row));
        if times == 0 {
            return;
        }
        self.record_n(value, times);
        self.sum += u128::from(value) * u128::from(times);
        self.max = self.max.max(value);
    }

    fn record_n(&mut self, value: u64, times: u64) {
        // Narrow counters saturate, as they do when they add.
        let most = || C::from_u64(u64::from(u32::MAX));
        if let Some(times) = C::from_u64(times).or_else(most) {
            // It resizes itself to any value, so this cannot fail; if it did, count and sum would
            // still be told apart in the snapshot.
            let _ = self.histogram.record_n(value, times);
        }
    }

    /// What is merged into is settled, and so may be read.
    pub(crate) fn merge<D: Counter>(&mut self, other: &Costs<D>) {
        for step in other.histogram.iter_recorded() {
            self.record_n(step.value_iterated_to(), step.count_at_value().as_u64());
        }
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.record(other.last, other.in_a_row);
        self.settle();
    }

    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
        self.sum = 0;
        self.max = 0;
        self.in_a_row = 0;
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len() + self.in_a_row
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
        self.histogram.value_at_quantile(q).min(self.max)
    }
}

fn empty_histogram<C: Counter>() -> Histogram<C> {
    match Histogram::new(2) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("two significant digits are within 0..=5"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_one_percent_and_the_maximum_is_exact() {
        let mut costs = Costs::<u64>::new();
        for n in 0..100_000u64 {
            costs.record(n * 977, 1);
        }
        for q in [0.5, 0.9, 0.99, 0.999] {
            let exact = (q * 100_000.0) * 977.0;
            let got = costs.quantile(q) as f64;
            assert!(
                (got - exact).abs() / exact < 0.011,
                "{q}: {got} for {exact}"
            );
        }
        assert_eq!(costs.max(), 99_999 * 977);
    }
}
