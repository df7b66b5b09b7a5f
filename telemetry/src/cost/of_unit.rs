//! The costs of one unit.

use super::{Metric, Source};

/// What one unit cost, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnitCosts {
    values: [u64; Metric::ALL.len()],
    /// A bit for each [`Source`] that has told.
    known: u8,
}

const fn bit(source: Source) -> u8 {
    1 << source as u8
}

/// What is known of every unit.
const ALWAYS: u8 = bit(Source::Ended) | bit(Source::Added);

impl UnitCosts {
    /// Of a unit that cost nothing, of which nobody was asked.
    pub(crate) const fn none() -> Self {
        UnitCosts {
            values: [0; Metric::ALL.len()],
            known: ALWAYS,
        }
    }

    /// What is known: [`bits`](UnitCosts::known) of another one.
    #[inline]
    pub(crate) fn set_known(&mut self, bits: u8) {
        self.known = bits | ALWAYS;
    }

    /// As bits: six of them.
    #[inline]
    pub(crate) fn known(&self) -> u8 {
        self.known
    }

    #[inline]
    pub(crate) fn knows(&self, source: Source) -> bool {
        self.known & bit(source) != 0
    }

    /// Whether a source has told of the unit.
    #[inline]
    pub(crate) fn tell(&mut self, source: Source, known: bool) {
        match known {
            true => self.known |= bit(source),
            false => self.known &= !bit(source),
        }
    }

    /// The value of a metric; something or other if its source has not told.
    #[inline]
    pub(crate) fn value(&self, metric: Metric) -> u64 {
        self.values[metric as usize]
    }

    #[inline]
    pub(crate) fn set(&mut self, metric: Metric, value: u64) {
        self.values[metric as usize] = value;
    }

    #[inline]
    pub(crate) fn set_all<const N: usize>(&mut self, metrics: [Metric; N], values: [u64; N]) {
        for (metric, value) in metrics.into_iter().zip(values) {
            self.set(metric, value);
        }
    }

    /// `None` where it is unknown.
    #[inline]
    pub(crate) fn get(&self, metric: Metric) -> Option<u64> {
        self.knows(metric.source()).then(|| self.value(metric))
    }

    /// The same costs, changed one by one. What one of the two does not know, the result does not.
    pub(crate) fn zip(&self, other: &UnitCosts, change: impl Fn(u64, u64) -> u64) -> UnitCosts {
        UnitCosts {
            values: std::array::from_fn(|at| change(self.values[at], other.values[at])),
            known: self.known & other.known,
        }
    }
}

/// Of what is known.
impl PartialEq for UnitCosts {
    fn eq(&self, other: &Self) -> bool {
        Metric::ALL
            .iter()
            .all(|&metric| self.get(metric) == other.get(metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_told_is_unknown_and_not_zero() {
        let mut costs = UnitCosts::none();
        costs.set(Metric::Allocs, 5);
        assert_eq!(costs.get(Metric::Allocs), None);
        assert_eq!(costs.get(Metric::Wall), Some(0));
        costs.tell(Source::Tracked, true);
        assert_eq!(costs.get(Metric::Allocs), Some(5));
        let more = costs.zip(&costs, |a, b| a + b);
        assert_eq!(more.get(Metric::Allocs), Some(10));
        assert_eq!(
            costs.zip(&UnitCosts::none(), |a, _| a).get(Metric::Allocs),
            None
        );
    }
}
