//! From the thread that ends a unit to the aggregate: a ring of words per thread.
//!
//! One producer, the thread; one consumer at a time, whoever holds the aggregate's lock. A record
//! takes as many words as it needs: nine, five if the system was asked about the unit, and four for
//! each boundary that it crossed.

use crate::boundary::BoundaryId;
use crate::exemplars::Outcome;
use crate::system::{Io, SystemCosts};
use crate::units::{BOUNDARIES_PER_UNIT, Finished, FinishedBoundary, KindId};
use crate::word_ring::WordRing;

#[derive(Debug)]
pub(crate) struct Ring {
    words: WordRing,
}

const ERROR: u64 = 1 << 32;
const TRACKED: u64 = 1 << 33;
const TIMED: u64 = 1 << 34;
const SYSTEM: u64 = 1 << 35;
const IO: u64 = 1 << 36;
/// An [`Outcome`] as a number, in two bits.
const EXEMPLAR_SHIFT: u32 = 37;
const BOUNDARIES_SHIFT: u32 = 40;
const SYSTEM_WORDS: usize = 5;
const HEAD_WORDS: usize = 9;
const BOUNDARY_WORDS: usize = 4;
const MOST_WORDS: usize = HEAD_WORDS + SYSTEM_WORDS + BOUNDARY_WORDS * BOUNDARIES_PER_UNIT;

impl Ring {
    pub(crate) fn new() -> Self {
        Ring {
            words: WordRing::new(),
        }
    }

    /// Called by the producer. False if the ring is full; the record is then not in it.
    #[inline]
    pub(crate) fn push(&self, unit: &Finished) -> bool {
        self.words.push(MOST_WORDS, |words| {
            let flag = |set: bool, flag: u64| if set { flag } else { 0 };
            words.put(
                u64::from(unit.kind.0)
                    | flag(unit.error, ERROR)
                    | flag(unit.usage.is_some(), TRACKED)
                    | flag(unit.telemetry_ns.is_some(), TIMED)
                    | flag(unit.system.is_some(), SYSTEM)
                    | flag(unit.system.is_some_and(|system| system.io.is_some()), IO)
                    | (unit.exemplar as u64) << EXEMPLAR_SHIFT
                    | (unit.boundaries.len() as u64) << BOUNDARIES_SHIFT,
            );
            let (allocs, bytes, peak) = unit.usage.unwrap_or_default();
            for word in [
                unit.wall,
                unit.busy,
                unit.wakeups,
                unit.retries,
                allocs,
                bytes,
                peak,
                unit.telemetry_ns.unwrap_or_default(),
            ] {
                words.put(word);
            }
            if let Some(system) = unit.system {
                let io = system.io.unwrap_or_default();
                words.put(system.cpu);
                words.put(system.voluntary);
                words.put(system.involuntary);
                words.put(io.calls);
                words.put(io.bytes);
            }
            for boundary in unit.boundaries.iter() {
                words.put(u64::from(boundary.id.0));
                words.put(boundary.calls);
                words.put(boundary.sent);
                words.put(boundary.received);
            }
        })
    }

    /// Called by the producer: it is time to drain.
    pub(crate) fn is_half_full(&self) -> bool {
        self.words.is_half_full()
    }

    /// Called by the one consumer.
    pub(crate) fn drain(&self, mut each: impl FnMut(&Finished)) {
        // PERF: filled in again and again: a blank one is 400 bytes.
        let mut unit = Finished::blank();
        self.words.drain(|words| {
            let first = words.next();
            unit.kind = KindId(first as u32);
            unit.error = first & ERROR != 0;
            unit.wall = words.next();
            unit.busy = words.next();
            unit.wakeups = words.next();
            unit.retries = words.next();
            let usage = (words.next(), words.next(), words.next());
            unit.usage = (first & TRACKED != 0).then_some(usage);
            let telemetry_ns = words.next();
            unit.telemetry_ns = (first & TIMED != 0).then_some(telemetry_ns);
            unit.system = (first & SYSTEM != 0).then(|| {
                let [cpu, voluntary, involuntary, calls, bytes] =
                    std::array::from_fn(|_| words.next());
                SystemCosts {
                    cpu,
                    voluntary,
                    involuntary,
                    io: (first & IO != 0).then_some(Io { calls, bytes }),
                }
            });
            let outcome = Outcome::ALL.get((first >> EXEMPLAR_SHIFT & 3) as usize);
            unit.exemplar = outcome.copied().unwrap_or_default();
            unit.boundaries.clear();
            for _ in 0..first >> BOUNDARIES_SHIFT {
                unit.boundaries.push(FinishedBoundary {
                    id: BoundaryId(words.next() as u32),
                    calls: words.next(),
                    sent: words.next(),
                    received: words.next(),
                });
            }
            each(&unit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Finished;

    fn unit(n: u64) -> Finished {
        let mut unit = Finished {
            kind: KindId(n as u32 % 7),
            error: n.is_multiple_of(3),
            wall: n,
            busy: n / 2,
            wakeups: n % 5,
            retries: n % 2,
            usage: n.is_multiple_of(2).then_some((n, n * 64, n * 32)),
            telemetry_ns: n.is_multiple_of(5).then_some(n + 9),
            system: n.is_multiple_of(7).then_some(SystemCosts {
                cpu: n * 11,
                voluntary: n,
                involuntary: 1,
                io: n.is_multiple_of(2).then_some(Io {
                    calls: n,
                    bytes: n * 5,
                }),
            }),
            exemplar: Outcome::ALL[n as usize % Outcome::ALL.len()],
            ..Finished::blank()
        };
        for i in 0..n % (BOUNDARIES_PER_UNIT as u64 + 1) {
            unit.boundaries.push(FinishedBoundary {
                id: BoundaryId(i as u32),
                calls: n + i,
                sent: n * 2,
                received: n * 3,
            });
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
