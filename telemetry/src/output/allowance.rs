//! How much may be written: this many records and bytes a second, and what of it is left.

/// Limits of the whole output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OutputLimit {
    pub(crate) records_per_second: f64,
    pub(crate) bytes_per_second: f64,
}

/// Records, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Amount {
    records: f64,
    bytes: f64,
}

impl Amount {
    fn times(self, factor: f64) -> Self {
        self.with(self, |a, _| a * factor)
    }

    fn with(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Amount {
            records: f(self.records, other.records),
            bytes: f(self.bytes, other.bytes),
        }
    }

    fn is_above(self, other: Self) -> bool {
        self.records > other.records && self.bytes > other.bytes
    }
}

/// The share of the limit that single events and exemplars have whatever summaries take.
const GUARANTEED: f64 = 0.25;

/// What may still be written: a bucket for records and one for bytes.
#[derive(Debug)]
pub(super) struct Allowance {
    a_second: Amount,
    /// The most that the buckets hold.
    most: Amount,
    left: Amount,
    filled_at: u64,
    /// What came in with the last refill.
    came: Amount,
    /// What was left when single records began to be written.
    shared: Amount,
}

impl Allowance {
    /// Buckets that hold what is allowed in this many seconds, at least one; full.
    pub(super) fn new(limit: OutputLimit, seconds: f64, now: u64) -> Self {
        let a_second = Amount {
            records: limit.records_per_second,
            bytes: limit.bytes_per_second,
        };
        let most = a_second.times(seconds.clamp(1.0, 3600.0));
        Allowance {
            a_second,
            most,
            left: most,
            filled_at: now,
            came: Amount::default(),
            shared: most,
        }
    }

    pub(super) fn refill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.filled_at) as f64 / 1e9;
        self.filled_at = now;
        self.came = self.a_second.times(elapsed).with(self.most, f64::min);
        self.left = (self.left.with(self.came, |a, b| a + b)).with(self.most, f64::min);
    }

    /// Takes a record of this many bytes whether it is allowed or not: what follows has less.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.left.records -= 1.0;
        self.left.bytes -= bytes as f64;
    }

    /// How many bytes are allowed in the time between two flushes.
    pub(super) fn bytes_of_an_interval(&self) -> f64 {
        self.most.bytes
    }

    /// What is left from here on is for single records, and some is, whatever was charged.
    pub(super) fn share_out(&mut self) {
        let guaranteed = self.came.times(GUARANTEED);
        self.left = self.left.with(guaranteed, f64::max);
        self.shared = self.left;
    }

    /// Takes it, if more than this share of what is shared out is left.
    pub(super) fn take(&mut self, bytes: u64, leave: f64) -> bool {
        let allowed = self.left.is_above(self.shared.times(leave));
        if allowed {
            self.charge(bytes);
        }
        allowed
    }

    /// How many records of this many bytes may be written in a time, if nothing else is.
    pub(super) fn records_in(&self, seconds: f64, bytes_each: f64) -> f64 {
        let by_bytes = self.a_second.bytes / bytes_each.max(1.0);
        self.a_second.records.min(by_bytes) * seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> OutputLimit {
        OutputLimit {
            records_per_second: 10.0,
            bytes_per_second: 1000.0,
        }
    }

    fn taken(allowance: &mut Allowance, bytes: u64, leave: f64) -> usize {
        (0..100).filter(|_| allowance.take(bytes, leave)).count()
    }

    #[test]
    fn both_buckets_limit_and_refill_and_a_share_is_left() {
        let mut allowance = Allowance::new(limit(), 2.0, 0);
        allowance.share_out();
        assert_eq!(taken(&mut allowance, 10, 0.5), 10);
        assert_eq!(taken(&mut allowance, 10, 0.0), 10);
        allowance.refill(1_000_000_000);
        allowance.share_out();
        assert_eq!(
            taken(&mut allowance, 500, 0.0),
            4,
            "2,000 bytes are all it holds"
        );
        allowance.refill(60_000_000_000);
        allowance.share_out();
        assert_eq!(taken(&mut allowance, 1, 0.0), 20, "no more than it holds");
    }

    #[test]
    fn whatever_summaries_take_a_quarter_is_left() {
        let mut allowance = Allowance::new(limit(), 2.0, 0);
        for second in 1..10 {
            allowance.refill(second * 1_000_000_000);
            (0..100).for_each(|_| allowance.charge(100));
            allowance.share_out();
            assert_eq!(taken(&mut allowance, 10, 0.0), 3, "2.5 of 10 a second");
        }
    }
}
