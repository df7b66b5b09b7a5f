//! How much may be written: so many records and bytes a second, and what of it is left.

/// Limits of the whole output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OutputLimit {
    pub(crate) records_per_second: f64,
    pub(crate) bytes_per_second: f64,
}

/// What may still be written: a bucket for records and one for bytes.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: OutputLimit,
    /// What the buckets hold at the most: as much as is allowed in this time.
    seconds: f64,
    records: f64,
    bytes: f64,
    filled_at: u64,
}

impl Allowance {
    /// Buckets that hold what is allowed in so many seconds, at least one; full.
    pub(super) fn new(limit: OutputLimit, seconds: f64, now: u64) -> Self {
        let seconds = seconds.clamp(1.0, 3600.0);
        Allowance {
            limit,
            seconds,
            records: limit.records_per_second * seconds,
            bytes: limit.bytes_per_second * seconds,
            filled_at: now,
        }
    }

    pub(super) fn refill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.filled_at) as f64 / 1e9;
        self.filled_at = now;
        let fill = |left: f64, rate: f64| (left + rate * elapsed).min(rate * self.seconds);
        self.records = fill(self.records, self.limit.records_per_second);
        self.bytes = fill(self.bytes, self.limit.bytes_per_second);
    }

    /// Takes a record of so many bytes whether it is allowed or not: what follows has less.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.records -= 1.0;
        self.bytes -= bytes as f64;
    }

    /// Takes it, if it leaves this share of the buckets for others.
    pub(super) fn take(&mut self, bytes: u64, leave: f64) -> bool {
        let records_left = leave * self.limit.records_per_second * self.seconds;
        let bytes_left = leave * self.limit.bytes_per_second * self.seconds;
        let allowed = self.records - 1.0 >= records_left && self.bytes - bytes as f64 >= bytes_left;
        if allowed {
            self.charge(bytes);
        }
        allowed
    }

    /// How many records of so many bytes may be written in a time, if nothing else is.
    pub(super) fn records_in(&self, seconds: f64, bytes_each: f64) -> f64 {
        let by_bytes = self.limit.bytes_per_second / bytes_each.max(1.0);
        self.limit.records_per_second.min(by_bytes) * seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_buckets_limit_and_refill_and_a_share_is_left() {
        let limit = OutputLimit {
            records_per_second: 10.0,
            bytes_per_second: 1000.0,
        };
        let mut allowance = Allowance::new(limit, 2.0, 0);
        let taken = |allowance: &mut Allowance, bytes, leave| {
            (0..100).filter(|_| allowance.take(bytes, leave)).count()
        };
        assert_eq!(taken(&mut allowance, 10, 0.5), 10);
        assert_eq!(taken(&mut allowance, 10, 0.0), 10);
        allowance.refill(1_000_000_000);
        assert_eq!(
            taken(&mut allowance, 500, 0.0),
            4,
            "2,000 bytes are all it holds"
        );
        allowance.charge(5000);
        allowance.refill(2_000_000_000);
        assert_eq!(taken(&mut allowance, 1, 0.0), 0, "it is in debt");
        allowance.refill(60_000_000_000);
        assert_eq!(taken(&mut allowance, 1, 0.0), 20, "no more than it holds");
    }
}
