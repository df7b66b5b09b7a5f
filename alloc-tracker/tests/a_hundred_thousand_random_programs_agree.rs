//! Random programs that allocate, grow, shrink, free, nest, migrate between threads and panic, in
//! every scope and for their unit against an oracle under the tracker.
//!
//! A failure names the program's number; `PROGRAM=n` runs that one alone.
#![cfg(feature = "track")]

mod oracle;

use alloc_tracker::{AllocTracker, Scope, Unit, Usage};
use oracle::{Oracle, Tally};
use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;

#[global_allocator]
static GLOBAL: AllocTracker<Oracle> = AllocTracker::new(Oracle);

const PROGRAMS: u64 = 100_000;
const THREADS: usize = 3;
const MOST_BLOCKS: usize = 48;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

/// A program under way; it goes from thread to thread.
struct Program {
    number: u64,
    random: Random,
    unit: Unit,
    /// Addresses, so that they can be sent.
    blocks: Vec<(usize, Layout)>,
    /// What the oracle has counted for the unit.
    sum: Tally,
    steps_left: usize,
}

/// An open scope, and the oracle's account of it.
struct Open {
    scope: Scope,
    start: Tally,
    peak: i64,
}

impl Program {
    fn new(number: u64) -> Self {
        let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Program {
            steps_left: 1 + random.below(4),
            random,
            number,
            unit: Unit::new(),
            blocks: Vec::with_capacity(MOST_BLOCKS),
            sum: Tally::default(),
        }
    }

    /// One stretch on the calling thread, inside the unit.
    fn step(&mut self) {
        let mut open: Vec<Open> = Vec::with_capacity(16);
        let unit = self.unit.clone();
        let mut peak = 0;
        oracle::reset();
        let entered = unit.enter();
        for _ in 0..1 + self.random.below(16) {
            oracle::restart_peak();
            self.operation(&mut open);
            let reached = oracle::tally().peak;
            peak = peak.max(reached);
            for one in &mut open {
                one.peak = one.peak.max(reached - one.start.live());
            }
        }
        while let Some(last) = open.pop() {
            self.close(last);
        }
        drop(entered);
        let step = oracle::tally();
        self.sum.peak = self.sum.peak.max(self.sum.live() + peak);
        self.sum.allocs += step.allocs;
        self.sum.reallocs += step.reallocs;
        self.sum.frees += step.frees;
        self.sum.alloc_bytes += step.alloc_bytes;
        self.sum.freed_bytes += step.freed_bytes;
        self.agree(self.unit.usage(), self.sum);
        self.steps_left -= 1;
    }

    fn operation(&mut self, open: &mut Vec<Open>) {
        match self.random.below(12) {
            0..4 if self.blocks.len() < MOST_BLOCKS => {
                let align = 1 << self.random.below(9);
                let layout = Layout::from_size_align(1 + self.random.below(3000), align).unwrap();
                // SAFETY: the size is not zero.
                let block = unsafe {
                    match self.random.below(2) {
                        0 => std::alloc::alloc(layout),
                        _ => std::alloc::alloc_zeroed(layout),
                    }
                };
                self.blocks.push((block as usize, layout));
            }
            4..7 if !self.blocks.is_empty() => {
                let index = self.random.below(self.blocks.len());
                let (block, layout) = self.blocks[index];
                let size = 1 + self.random.below(5000);
                // SAFETY: the block is live with this layout; the new size is not zero.
                let moved = unsafe { std::alloc::realloc(block as *mut u8, layout, size) };
                let layout = Layout::from_size_align(size, layout.align()).unwrap();
                self.blocks[index] = (moved as usize, layout);
            }
            7..9 if !self.blocks.is_empty() => self.free(),
            9 if open.len() < 16 => open.push(Open {
                scope: Scope::enter(),
                start: oracle::tally(),
                peak: 0,
            }),
            10 if !open.is_empty() => {
                let index = self.random.below(open.len());
                let closing = open.remove(index);
                self.close(closing);
            }
            _ => self.panic(),
        }
    }

    /// A panic unwinds through two scopes and a re-entered unit that hold blocks.
    fn panic(&mut self) {
        let size = 1 + self.random.below(500);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _outer = Scope::enter();
            let _held = std::hint::black_box(vec![1u8; size]);
            let _again = self.unit.enter();
            let _inner = Scope::enter();
            let _more = std::hint::black_box(vec![1u8; size / 2 + 1]);
            resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
    }

    fn free(&mut self) {
        let index = self.random.below(self.blocks.len());
        let (block, layout) = self.blocks.swap_remove(index);
        // SAFETY: the block is live with this layout.
        unsafe { std::alloc::dealloc(block as *mut u8, layout) };
    }

    fn close(&self, open: Open) {
        let now = oracle::tally();
        let expected = Tally {
            allocs: now.allocs - open.start.allocs,
            reallocs: now.reallocs - open.start.reallocs,
            frees: now.frees - open.start.frees,
            alloc_bytes: now.alloc_bytes - open.start.alloc_bytes,
            freed_bytes: now.freed_bytes - open.start.freed_bytes,
            peak: open.peak,
        };
        self.agree(open.scope.finish(), expected);
    }

    fn agree(&self, usage: Usage, tally: Tally) {
        let counted = [
            usage.allocs,
            usage.reallocs,
            usage.frees,
            usage.alloc_bytes,
            usage.freed_bytes,
            usage.peak_bytes,
        ];
        let expected = [
            tally.allocs,
            tally.reallocs,
            tally.frees,
            tally.alloc_bytes,
            tally.freed_bytes,
            tally.peak.max(0) as u64,
        ];
        assert_eq!(counted, expected, "program {}", self.number);
    }
}

#[test]
fn programs() {
    assert!(alloc_tracker::is_installed());
    let one: Option<u64> = std::env::var("PROGRAM").ok().and_then(|n| n.parse().ok());
    let numbers = one.map_or(1..PROGRAMS + 1, |n| n..n + 1);
    let (finished, done) = mpsc::channel();
    std::thread::scope(|threads| {
        let queues: Vec<mpsc::Sender<Program>> = (0..THREADS)
            .map(|_| {
                let (queue, programs) = mpsc::channel::<Program>();
                let finished = finished.clone();
                threads.spawn(move || {
                    for mut program in programs {
                        program.step();
                        finished.send(program).unwrap();
                    }
                });
                queue
            })
            .collect();
        drop(finished);
        // As many programs under way as there are threads: they run beside each other.
        let mut waiting = numbers.map(Program::new);
        let mut under_way = 0;
        let start = |program: Program, at: usize| queues[at % THREADS].send(program).unwrap();
        for at in 0..2 * THREADS {
            if let Some(program) = waiting.next() {
                start(program, at);
                under_way += 1;
            }
        }
        while under_way > 0 {
            let Ok(mut program) = done.recv() else {
                panic!("a thread has failed; its message is above");
            };
            if program.steps_left > 0 {
                let at = program.random.below(THREADS);
                start(program, at);
                continue;
            }
            while !program.blocks.is_empty() {
                program.free();
            }
            under_way -= 1;
            if let Some(next) = waiting.next() {
                let at = program.random.below(THREADS);
                start(next, at);
                under_way += 1;
            }
        }
        drop(queues);
    });
}
