//! From the thread that ends a unit to the aggregate: a ring of words per thread.
//!
//! One producer, the thread; one consumer at a time, whoever holds the aggregate's lock. A record
//! takes as many words as it needs: two, one for each metric that is known of every unit, more if the
//! system was asked about it or others have its costs as well, and for each boundary that it crossed one and those of its
//! figures that are not 0.

use crate::cost::{
    BoundaryId, BoundaryMetric, Finished, FinishedBoundary, InsideCosts, KindId, Metric, Outcome,
    Source,
};
use crate::tool::word_ring::WordRing;

#[derive(Debug)]
pub(crate) struct Ring {
    words: WordRing,
}

const ERROR: u64 = 1 << 32;
const TIMED: u64 = 1 << 33;
/// What is known of its costs, in six bits.
const KNOWN_SHIFT: u32 = 34;
const KNOWN_BITS: u8 = 63;
/// An [`Outcome`] as a number, in two bits.
const EXEMPLAR_SHIFT: u32 = 40;
/// What few units have: costs that other units have as well, and boundaries.
const MORE_SHIFT: u32 = 42;
const INSIDE: u64 = 1 << MORE_SHIFT;
const BOUNDARIES_SHIFT: u32 = MORE_SHIFT + 1;
/// Of a boundary: its number in the lower half, above it a bit for each figure that follows.
const FIGURES_SHIFT: u32 = 32;
const BOUNDARY_WORDS: usize = 1 + BoundaryMetric::ALL.len();
/// The first one, and what telemetry itself took.
const OTHER_WORDS: usize = 2;
/// Of a unit that crossed no boundary.
const MOST_WORDS: usize = OTHER_WORDS + Metric::ALL.len() + InsideCosts::WORDS;

impl Ring {
    pub(crate) fn new() -> Self {
        Ring {
            words: WordRing::new(),
        }
    }

    /// Called by the producer. False if the ring is full; the record is then not in it.
    #[inline]
    pub(crate) fn push(&self, unit: &Finished) -> bool {
        let most = MOST_WORDS + BOUNDARY_WORDS * unit.boundaries.len();
        self.words.push(most, |words| {
            let flag = |set: bool, flag: u64| if set { flag } else { 0 };
            let costs = &unit.costs;
            let first = u64::from(unit.kind.0)
                | flag(unit.error, ERROR)
                | flag(unit.telemetry_ns.is_some(), TIMED)
                | u64::from(costs.known()) << KNOWN_SHIFT
                | flag(unit.inside.is_some(), INSIDE)
                | (unit.exemplar as u64) << EXEMPLAR_SHIFT
                | (unit.boundaries.len() as u64) << BOUNDARIES_SHIFT;
            words.put([first, unit.telemetry_ns.unwrap_or_default()]);
            words.put(Source::TOLD.map(|metric| costs.value(metric)));
            // PERF: of one unit in 64.
            if costs.knows(Source::Asked) {
                words.put(Source::ASKED.map(|metric| costs.value(metric)));
                words.put(Source::ASKED_FOR_IO.map(|metric| costs.value(metric)));
            }
            if first >> MORE_SHIFT == 0 {
                return;
            }
            if let Some(inside) = unit.inside {
                words.put(inside.as_words());
            }
            for boundary in unit.boundaries.iter() {
                let FinishedBoundary { id, figures } = boundary;
                let is_there = |(at, &n): (usize, &u64)| u64::from(n > 0) << at;
                let there: u64 = figures.iter().enumerate().map(is_there).sum();
                words.put([u64::from(id.0) | there << FIGURES_SHIFT]);
                figures
                    .iter()
                    .filter(|&&n| n > 0)
                    .for_each(|&n| words.put([n]));
            }
        })
    }

    /// Called by the producer: it is time to drain.
    pub(crate) fn is_half_full(&self) -> bool {
        self.words.is_half_full()
    }

    /// Called by the one consumer.
    pub(crate) fn drain(&self, mut each: impl FnMut(&Finished)) {
        // PERF: filled in again and again: one is 400 bytes and more.
        let mut unit = Finished::empty();
        self.words.drain(|words| {
            let [first, telemetry_ns] = words.next();
            unit.kind = KindId(first as u32);
            unit.error = first & ERROR != 0;
            unit.telemetry_ns = (first & TIMED != 0).then_some(telemetry_ns);
            let costs = &mut unit.costs;
            costs.set_known((first >> KNOWN_SHIFT) as u8 & KNOWN_BITS);
            costs.set_all(Source::TOLD, words.next());
            if costs.knows(Source::Asked) {
                costs.set_all(Source::ASKED, words.next());
                costs.set_all(Source::ASKED_FOR_IO, words.next());
            }
            let outcome = Outcome::ALL.get((first >> EXEMPLAR_SHIFT & 3) as usize);
            unit.exemplar = outcome.copied().unwrap_or_default();
            unit.inside = None;
            unit.boundaries.clear();
            if first & INSIDE != 0 {
                unit.inside = Some(InsideCosts::from_words(words.next()));
            }
            for _ in 0..first >> BOUNDARIES_SHIFT {
                let [word] = words.next();
                let mut boundary = FinishedBoundary::none(BoundaryId(word as u32));
                for metric in BoundaryMetric::ALL {
                    if word >> FIGURES_SHIFT >> metric as u32 & 1 != 0 {
                        let [value] = words.next();
                        boundary.set(metric, value);
                    }
                }
                unit.boundaries.push(boundary);
            }
            each(&unit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::BOUNDARIES_PER_UNIT;

    fn unit(n: u64) -> Finished {
        let mut unit = Finished {
            kind: KindId(n as u32 % 7),
            error: n % 3 == 0,
            telemetry_ns: (n % 5 == 0).then_some(n + 9),
            exemplar: Outcome::ALL[n as usize % Outcome::ALL.len()],
            ..Finished::empty()
        };
        unit.costs.tell(Source::Tracked, n % 2 == 0);
        unit.costs.tell(Source::Asked, n % 7 == 0);
        (unit.costs).tell(Source::AskedForIo, n % 14 == 0);
        (unit.costs).tell(Source::Woken, n % 11 == 0);
        for (at, metric) in Metric::ALL.into_iter().enumerate() {
            unit.costs.set(metric, n * (at as u64 + 1));
        }
        unit.inside = (n % 3 == 1).then(|| InsideCosts {
            units: n % 2,
            allocs: n,
            alloc_bytes: n * 5,
            busy: n * 7,
        });
        for i in 0..n % (BOUNDARIES_PER_UNIT as u64 + 2) {
            let mut boundary = FinishedBoundary::none(BoundaryId(i as u32));
            for metric in BoundaryMetric::ALL {
                boundary.set(metric, (n + i) * (metric as u64 + 2) % 3 * n);
            }
            unit.boundaries.push(boundary);
        }
        unit
    }

    #[test]
    fn a_full_ring_refuses_and_what_it_took_comes_out_in_order() {
        let ring = Ring::new();
        let (mut pushed, mut seen) = (0, 0);
        for round in 0..50 {
            while ring.push(&unit(pushed)) {
                pushed += 1;
            }
            assert!(ring.is_half_full(), "round {round}");
            ring.drain(|got| {
                assert_eq!(*got, unit(seen));
                seen += 1;
            });
            assert_eq!(seen, pushed);
        }
    }

    #[test]
    fn a_producer_and_a_consumer_agree() {
        let ring = Ring::new();
        const UNITS: u64 = 200_000;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 0..UNITS {
                    while !ring.push(&unit(n)) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut seen = 0;
            while seen < UNITS {
                ring.drain(|got| {
                    assert_eq!(*got, unit(seen));
                    seen += 1;
                });
                std::thread::yield_now();
            }
            assert_eq!(seen, UNITS);
        });
    }
}
