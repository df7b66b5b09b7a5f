//! From the thread that ends a unit to the aggregate: a ring of words per thread.
//!
//! One producer, the thread; one consumer at a time, whoever holds the aggregate's lock. A record
//! takes as many words as it needs: nine, five if the system was asked about the unit, and four for
//! each boundary that it crossed.

use crate::boundary::BoundaryId;
use crate::exemplars::Outcome;
use crate::system::{Io, SystemCosts};
use crate::units::{BOUNDARIES_PER_UNIT, Finished, FinishedBoundary, KindId};
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Words in a ring, a power of two: 32 KiB, some 400 units.
const WORDS: usize = 4096;

#[derive(Debug)]
pub(crate) struct Ring {
    /// PERF: an array, so that a remainder needs no check of the bounds.
    words: Box<[AtomicU64; WORDS]>,
    /// Words produced; only the producer writes it.
    head: AtomicUsize,
    /// Words consumed; only the consumer writes it.
    tail: AtomicUsize,
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
            words: Box::new([const { AtomicU64::new(0) }; WORDS]),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    /// Called by the producer. False if the ring is full; the record is then not in it.
    pub(crate) fn push(&self, unit: &Finished) -> bool {
        let head = self.head.load(Relaxed);
        // Acquire: the consumer has read the words that are about to be overwritten.
        let used = head.wrapping_sub(self.tail.load(Acquire));
        if used + MOST_WORDS > WORDS {
            return false;
        }
        let mut at = head;
        let mut put = |word| {
            self.words[at % WORDS].store(word, Relaxed);
            at = at.wrapping_add(1);
        };
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        put(u64::from(unit.kind.0)
            | flag(unit.error, ERROR)
            | flag(unit.usage.is_some(), TRACKED)
            | flag(unit.telemetry_ns.is_some(), TIMED)
            | flag(unit.system.is_some(), SYSTEM)
            | flag(unit.system.is_some_and(|system| system.io.is_some()), IO)
            | (unit.exemplar as u64) << EXEMPLAR_SHIFT
            | (unit.boundaries.len() as u64) << BOUNDARIES_SHIFT);
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
            put(word);
        }
        if let Some(system) = unit.system {
            let io = system.io.unwrap_or_default();
            put(system.cpu);
            put(system.voluntary);
            put(system.involuntary);
            put(io.calls);
            put(io.bytes);
        }
        for boundary in unit.boundaries.iter() {
            put(u64::from(boundary.id.0));
            put(boundary.calls);
            put(boundary.sent);
            put(boundary.received);
        }
        // Release the words to the consumer.
        self.head.store(at, Release);
        true
    }

    /// Called by the producer: it is time to drain.
    pub(crate) fn is_half_full(&self) -> bool {
        let used = self
            .head
            .load(Relaxed)
            .wrapping_sub(self.tail.load(Relaxed));
        used > WORDS / 2
    }

    /// Called by the one consumer.
    pub(crate) fn drain(&self, mut each: impl FnMut(&Finished)) {
        // Acquire the words that the producer released.
        let head = self.head.load(Acquire);
        let mut at = self.tail.load(Relaxed);
        // PERF: filled in again and again: a blank one is 400 bytes.
        let mut unit = Finished::blank();
        while at != head {
            let mut next = || {
                let word = self.words[at % WORDS].load(Relaxed);
                at = at.wrapping_add(1);
                word
            };
            let first = next();
            unit.kind = KindId(first as u32);
            unit.error = first & ERROR != 0;
            unit.wall = next();
            unit.busy = next();
            unit.wakeups = next();
            unit.retries = next();
            let usage = (next(), next(), next());
            unit.usage = (first & TRACKED != 0).then_some(usage);
            let telemetry_ns = next();
            unit.telemetry_ns = (first & TIMED != 0).then_some(telemetry_ns);
            unit.system = (first & SYSTEM != 0).then(|| {
                let [cpu, voluntary, involuntary, calls, bytes] = std::array::from_fn(|_| next());
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
                    id: BoundaryId(next() as u32),
                    calls: next(),
                    sent: next(),
                    received: next(),
                });
            }
            each(&unit);
        }
        // Release: the words were read before the producer overwrites them.
        self.tail.store(at, Release);
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
