//! Rate limits: the generic cell rate algorithm (GCRA), in one atomic word.
//!
//! The word is the theoretical arrival time: when a source that sends at just the permitted rate
//! would send next. What comes too long before that is refused, and a refusal writes nothing: the
//! storms that a limit is for leave its cache line shared by all cores.

use crate::tool::sync::{AtomicU64, Relaxed};

/// A limit: one per interval, in nanoseconds, after a burst at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    interval: u64,
    tolerance: u64,
}

impl Rate {
    /// `None` if the rate is not above zero (and at most a billion), or the burst is zero.
    pub(crate) fn new(per_second: f64, burst: u32) -> Option<Self> {
        if !(per_second > 0.0 && per_second <= 1e9) || burst == 0 {
            return None;
        }
        // Rates below one in a century are one in a century.
        let interval = ((1e9 / per_second) as u64).clamp(1, 1 << 61);
        Some(Rate {
            interval,
            tolerance: interval.saturating_mul(u64::from(burst) - 1),
        })
    }

    /// Nanoseconds from one to the next.
    pub(crate) fn interval(self) -> u64 {
        self.interval
    }

    /// One per `seconds`, after `burst` at once.
    pub(crate) const fn every(seconds: u64, burst: u64) -> Self {
        Self::every_millis(seconds * 1000, burst)
    }

    /// One per `millis`, after `burst` at once.
    pub(crate) const fn every_millis(millis: u64, burst: u64) -> Self {
        let interval = millis * 1_000_000;
        Rate {
            interval,
            tolerance: interval * (burst - 1),
        }
    }
}

/// The state of one limit.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    arrival: AtomicU64,
}

impl Limiter {
    /// Whether one more is within the limit, at `now`; if so, it is counted.
    #[inline]
    pub(crate) fn allows(&self, rate: Rate, now: u64) -> bool {
        // Relaxed: the word stands for itself.
        let arrival = self.arrival.load(Relaxed);
        if arrival > now.saturating_add(rate.tolerance) {
            return false;
        }
        self.take(rate, now, arrival)
    }

    #[cold]
    fn take(&self, rate: Rate, now: u64, mut arrival: u64) -> bool {
        while arrival <= now.saturating_add(rate.tolerance) {
            let next = arrival.max(now).saturating_add(rate.interval);
            match (self.arrival).compare_exchange_weak(arrival, next, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(changed) => arrival = changed,
            }
        }
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A bucket of tokens, as in the books.
    struct Bucket {
        per_second: f64,
        burst: f64,
        tokens: f64,
        last: u64,
    }

    impl Bucket {
        fn allows(&mut self, now: u64) -> bool {
            let refill = (now - self.last) as f64 / 1e9 * self.per_second;
            self.tokens = (self.tokens + refill).min(self.burst);
            self.last = now;
            let allowed = self.tokens >= 1.0;
            self.tokens -= f64::from(u8::from(allowed));
            allowed
        }
    }

    #[test]
    fn agrees_with_a_bucket_of_tokens() {
        // Intervals are whole numbers of 1,024 ns, so that the bucket's arithmetic is exact.
        let mut random = 1u64;
        for (interval, burst) in [(1u64 << 20, 1), (1 << 20, 20), (1 << 12, 5), (1 << 30, 3)] {
            let per_second = 1e9 / interval as f64;
            let rate = Rate {
                interval,
                tolerance: interval * (burst - 1),
            };
            let limiter = Limiter::default();
            let mut now = 1024;
            let mut bucket = Bucket {
                per_second,
                burst: burst as f64,
                tokens: burst as f64,
                last: now,
            };
            for step in 0..200_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // Now a storm, now a pause.
                let pause = if random % 100 == 0 { 40 } else { 1 };
                now += random % interval * pause / 2 / 1024 * 1024;
                let expected = bucket.allows(now);
                // The bucket computes in floating point: a token that is due just now may be
                // missing by a rounding.
                let at_the_edge = (bucket.tokens.fract() - 1.0).abs() < 1e-6;
                let allowed = limiter.allows(rate, now);
                assert!(allowed == expected || at_the_edge, "step {step} at {now}");
                if allowed != expected {
                    bucket.tokens -= 1.0;
                }
            }
        }
    }

    #[test]
    fn many_threads_together_get_no_more_than_one() {
        let rate = Rate::new(1.0, 50).unwrap();
        let limiter = Limiter::default();
        let allowed: usize = std::thread::scope(|threads| {
            let work = || (0..10_000).filter(|_| limiter.allows(rate, 5)).count();
            let threads: Vec<_> = (0..4).map(|_| threads.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(allowed, 50);
    }

    #[test]
    fn nonsense_is_refused_and_extremes_are_not() {
        for (rate, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (2e9, 1), (1.0, 0)] {
            assert_eq!(Rate::new(rate, burst), None, "{rate} {burst}");
        }
        for (rate, burst) in [(1e9, u32::MAX), (f64::MIN_POSITIVE, u32::MAX), (1e-30, 1)] {
            let limiter = Limiter::default();
            let rate = Rate::new(rate, burst).unwrap();
            assert!(limiter.allows(rate, 1));
            assert!(limiter.allows(rate, u64::MAX));
        }
    }
}
