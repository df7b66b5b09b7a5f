//! How often values came, in buckets that are as wide as a share of the value.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A bucket of a [`Distribution`](crate::Distribution): how many values lie from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The lowest value in it.
    pub from: u64,
    /// The highest value in it.
    pub to: u64,
    /// How many values it has.
    pub count: u64,
}

/// Buckets that hold something.
///
/// With `bits` of them, a value below 2^`bits` has a bucket of its own; above, each power of two is 2^`bits` buckets
/// of the same width. So a bucket is at most one part in 2^`bits` of its lowest value wide.
///
/// ```text
///   number of a bucket    i < 2^bits: the value i
///                         else, with e = i >> bits and m = i mod 2^bits:
///                         from (2^bits + m) << (e - 1), and 1 << (e - 1) values
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Packed", try_from = "Packed")]
pub(crate) struct Buckets {
    bits: u8,
    /// Numbers of buckets in order, and their counts, which are above 0.
    counts: Vec<(u32, u64)>,
}

/// As it is written: each run of neighbouring buckets as the number of the first, and the counts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packed {
    bits: u8,
    runs: Vec<Vec<u64>>,
}

/// The finest there are: those of the histograms.
pub(crate) const FINEST: u8 = 7;

impl Buckets {
    pub(crate) fn new() -> Self {
        Buckets {
            bits: FINEST,
            counts: Vec::new(),
        }
    }

    /// Of values in order, and how often each came.
    pub(crate) fn of(values: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut buckets = Buckets::new();
        for (value, count) in values {
            buckets.push(number_of(value, FINEST), count);
        }
        buckets
    }

    /// Adds to the last bucket, or to a new one after it.
    fn push(&mut self, number: u32, count: u64) {
        match self.counts.last_mut() {
            Some((last, sum)) if *last == number => *sum = sum.saturating_add(count),
            _ if count > 0 => self.counts.push((number, count)),
            _ => {}
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Bucket> {
        let bits = self.bits;
        self.counts.iter().map(move |&(number, count)| {
            let (from, to) = range_of(number, bits);
            Bucket { from, to, count }
        })
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    /// The same values in this many bits, or as they are, if those are fewer.
    pub(crate) fn coarser(&self, bits: u8) -> Self {
        let mut coarser = Buckets {
            bits: self.bits.min(bits),
            counts: Vec::new(),
        };
        for bucket in self.iter() {
            // The buckets of fewer bits end where some of more do.
            coarser.push(number_of(bucket.from, coarser.bits), bucket.count);
        }
        coarser
    }

    /// The values of both, in the bits of the coarser one.
    pub(crate) fn merged(&self, other: &Buckets) -> Self {
        let bits = self.bits.min(other.bits);
        let (mine, theirs) = (self.coarser(bits), other.coarser(bits));
        let (mut mine, mut theirs) = (
            mine.counts.iter().peekable(),
            theirs.counts.iter().peekable(),
        );
        let mut merged = Buckets {
            bits,
            counts: Vec::new(),
        };
        loop {
            let next = match (mine.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => mine.next(),
                (Some(_), None) => mine.next(),
                _ => theirs.next(),
            };
            match next {
                Some(&(number, count)) => merged.push(number, count),
                None => return merged,
            }
        }
    }
}

#[inline]
pub(super) fn number_of(value: u64, bits: u8) -> u32 {
    let bits = u32::from(bits);
    let Some(exponent) = (value >> bits).checked_ilog2() else {
        return value as u32;
    };
    let mantissa = (value >> exponent) & ((1 << bits) - 1);
    (exponent + 1) << bits | mantissa as u32
}

/// The highest value in one of the finest buckets.
pub(super) fn highest_in(number: u32) -> u64 {
    range_of(number, FINEST).1
}

fn range_of(number: u32, bits: u8) -> (u64, u64) {
    let bits = u32::from(bits);
    match (number >> bits).checked_sub(1) {
        None => (number.into(), number.into()),
        Some(exponent) => {
            let mantissa = u64::from(number) & ((1 << bits) - 1);
            let from = (1 << bits | mantissa) << exponent;
            (from, from + ((1 << exponent) - 1))
        }
    }
}

impl From<Buckets> for Packed {
    fn from(buckets: Buckets) -> Self {
        let mut runs: Vec<Vec<u64>> = Vec::new();
        let mut next = None;
        for (number, count) in buckets.counts {
            match runs.last_mut().filter(|_| next == Some(number)) {
                Some(run) => run.push(count),
                None => runs.push(vec![number.into(), count]),
            }
            next = number.checked_add(1);
        }
        Packed {
            bits: buckets.bits,
            runs,
        }
    }
}

impl TryFrom<Packed> for Buckets {
    type Error = WrongBuckets;

    fn try_from(packed: Packed) -> Result<Self, WrongBuckets> {
        let bits = packed.bits;
        if bits > FINEST {
            return Err(WrongBuckets("`bits` is above 7"));
        }
        let last = number_of(u64::MAX, bits);
        let mut counts: Vec<(u32, u64)> = Vec::new();
        for run in packed.runs {
            let Some((&first, run)) = run.split_first() else {
                return Err(WrongBuckets("a run has no number"));
            };
            for (place, &count) in run.iter().enumerate() {
                let number = first.checked_add(place as u64);
                let number = number.and_then(|number| u32::try_from(number).ok());
                let known = number.filter(|number| *number <= last);
                let number = known.ok_or(WrongBuckets("there is no bucket of this number"))?;
                if counts.last().is_some_and(|(before, _)| *before >= number) {
                    return Err(WrongBuckets("the buckets are not in order"));
                }
                if count > 0 {
                    counts.push((number, count));
                }
            }
        }
        Ok(Buckets { bits, counts })
    }
}

/// Why a text is no [`Buckets`].
#[derive(Debug)]
pub(crate) struct WrongBuckets(&'static str);

impl fmt::Display for WrongBuckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_is_in_one_bucket_and_the_buckets_are_in_order() {
        for bits in 0..=FINEST {
            let mut next = 0;
            for number in 0..=number_of(u64::MAX, bits) {
                let (from, to) = range_of(number, bits);
                assert_eq!(from, next, "{number} of {bits}");
                assert_eq!(
                    (number_of(from, bits), number_of(to, bits)),
                    (number, number)
                );
                assert!(to - from <= from >> bits);
                next = to.wrapping_add(1);
            }
            assert_eq!(next, 0, "to the end");
        }
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = (0..=u64::MAX, 0..64u32).prop_map(|(value, shift)| value >> shift);
        prop::collection::vec(value, 0..200)
    }

    fn buckets(values: &[u64]) -> Buckets {
        let mut values = values.to_vec();
        values.sort_unstable();
        Buckets::of(values.into_iter().map(|value| (value, 1)))
    }

    proptest! {
        #[test]
        fn merging_is_as_if_all_had_been_together(a in values(), b in values(), bits in 0..=FINEST) {
            let all = buckets(&[a.clone(), b.clone()].concat());
            let (a, b) = (buckets(&a), buckets(&b));
            prop_assert_eq!(&a.merged(&b), &all);
            prop_assert_eq!(&a.coarser(bits).merged(&b), &all.coarser(bits));
            prop_assert_eq!(b.merged(&a), all);
        }

        #[test]
        fn what_is_written_is_read_again(values in values(), bits in 0..=FINEST) {
            let buckets = buckets(&values).coarser(bits);
            let text = serde_json::to_string(&buckets).unwrap();
            prop_assert_eq!(serde_json::from_str::<Buckets>(&text).unwrap(), buckets);
        }
    }

    #[test]
    fn what_is_no_buckets_is_refused() {
        for (text, why) in [
            (r#"{"bits":8,"runs":[]}"#, "above 7"),
            (r#"{"bits":3,"runs":[[]]}"#, "no number"),
            (r#"{"bits":3,"runs":[[5,1],[5,1]]}"#, "not in order"),
            (r#"{"bits":3,"runs":[[4294967296,1]]}"#, "no bucket"),
            (
                r#"{"bits":7,"runs":[[18446744073709551615,1,1]]}"#,
                "no bucket",
            ),
            (r#"{"bits":0,"runs":[[65,1]]}"#, "no bucket"),
            (r#"{"bits":3,"runs":[[5,-1]]}"#, "invalid"),
        ] {
            let error = serde_json::from_str::<Buckets>(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
