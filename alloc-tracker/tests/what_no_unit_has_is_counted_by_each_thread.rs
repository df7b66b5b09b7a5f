//! One test in a program of its own: nobody else allocates.
#![cfg(all(feature = "track", target_os = "linux"))]

use alloc_tracker::{AllocTracker, Budget, Scope, Unit, Usage, outside_usage, process_usage};
use std::cell::RefCell;
use std::hint::black_box;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// xorshift
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// What the model says was done for units: allocations, their bytes, frees, theirs.
type Model = [u64; 4];

fn figures(usage: Usage) -> Model {
    [
        usage.allocs,
        usage.alloc_bytes,
        usage.frees,
        usage.freed_bytes,
    ]
}

fn less(a: Model, b: Model) -> Model {
    std::array::from_fn(|n| a[n] - b[n])
}

/// Random steps: units are entered and left in any order, blocks come and go. What is done while any unit is entered is
/// for units, and nothing else is.
fn random_work(seed: u64, units: &[Unit]) -> Model {
    let mut random = Random(seed | 1);
    let mut model = Model::default();
    let mut entered = Vec::with_capacity(16);
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(64);
    let mut scopes: Vec<Scope> = Vec::with_capacity(4);
    for _ in 0..2000 {
        let is_inside = !entered.is_empty();
        match random.below(9) {
            0 | 1 if entered.len() < 16 => entered.push(units[random.below(units.len())].enter()),
            2 | 3 if is_inside => drop(entered.swap_remove(random.below(entered.len()))),
            4 | 5 if blocks.len() < 64 => {
                let size = 1 + random.below(1000);
                blocks.push(black_box(vec![1; size]));
                if is_inside {
                    model[0] += 1;
                    model[1] += size as u64;
                }
            }
            6 if !blocks.is_empty() => {
                let block = blocks.swap_remove(random.below(blocks.len()));
                let size = block.len() as u64;
                drop(block);
                if is_inside {
                    model[2] += 1;
                    model[3] += size;
                }
            }
            // What is excluded is in the process, and no unit has it.
            7 => match random.below(2) {
                0 => alloc_tracker::excluded(|| drop(black_box(vec![1u8; 50]))),
                // A tool's is not in the process either.
                _ => alloc_tracker::raw::for_a_tool(|| drop(black_box(vec![1u8; 5000]))),
            },
            8 if scopes.len() < 4 => scopes.push(Scope::enter()),
            8 => scopes.clear(),
            _ => {}
        }
        // A budget is no unit, whatever it is made of.
        if random.below(50) == 0 {
            let (_, report) = Budget::new()
                .allocs(9)
                .report(|| drop(black_box(vec![1u8; 8])));
            assert!(report.result().is_ok());
            if !entered.is_empty() {
                // Not by how it is reported, which is excluded.
                model[0] += 1;
                model[1] += 8;
                model[2] += 1;
                model[3] += 8;
            }
        }
    }
    entered.clear();
    model
}

thread_local! {
    /// Allocates as the thread ends, when it is counted elsewhere.
    static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

struct AtTheEnd(Unit);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.run(|| drop(black_box(vec![1u8; 77])));
        drop(black_box(vec![1u8; 7]));
    }
}

#[test]
fn what_units_do_and_what_is_outside_is_what_the_process_does() {
    let units: Vec<Unit> = (0..5).map(|_| Unit::new()).collect();
    let by_threads = |threads: u64| {
        let (before, process) = (figures(outside_usage()), figures(process_usage()));
        let mut inside = Model::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|n| {
                    let units = &units;
                    scope.spawn(move || {
                        LAST.with(|last| *last.borrow_mut() = Some(AtTheEnd(units[0].clone())));
                        random_work(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 77, units)
                    })
                })
                .collect();
            for thread in threads {
                let model = thread.join().unwrap();
                inside = std::array::from_fn(|n| inside[n] + model[n]);
            }
        });
        inside = std::array::from_fn(|n| inside[n] + threads * [1, 77, 1, 77][n]);
        let process = less(figures(process_usage()), process);
        let outside = less(figures(outside_usage()), before);
        assert_eq!(less(process, inside), outside, "{threads} threads");
    };
    by_threads(1);
    by_threads(7);
    let (before, process) = (figures(outside_usage()), figures(process_usage()));
    let inside = random_work(5, &units);
    let process = less(figures(process_usage()), process);
    assert_eq!(
        less(process, inside),
        less(figures(outside_usage()), before)
    );

    // In an entry that goes on: what it has allocated so far is the unit's.
    let unit = Unit::new();
    let before = outside_usage();
    let entered = unit.enter();
    let block = black_box(vec![1u8; 1 << 20]);
    assert_eq!(figures(outside_usage() - before), [0; 4]);
    alloc_tracker::raw::for_a_tool(|| drop(black_box(vec![1u8; 4 << 20])));
    assert_eq!(figures(outside_usage() - before), [0; 4]);
    // Another thread's is outside, and in no entry of this one.
    let elsewhere = std::thread::spawn(|| drop(black_box(vec![1u8; 3 << 20])));
    elsewhere.join().unwrap();
    let other = outside_usage() - before;
    assert!(
        (3 << 20..(3 << 20) + 4000).contains(&other.alloc_bytes),
        "{other}"
    );
    let before = outside_usage();
    drop(entered);
    assert_eq!(figures(outside_usage() - before), [0; 4]);
    drop(block);
    assert_eq!(figures(outside_usage() - before), [0, 0, 1, 1 << 20]);
    by_thread();
}

/// Of each thread by itself, by the number that the system has for it.
fn by_thread() {
    let (to_main, from_thread) = std::sync::mpsc::channel();
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let unit = Unit::new();
        unit.run(|| drop(black_box(vec![1u8; 1 << 20])));
        (0..1000).for_each(|_| drop(black_box(vec![1u8; 1000])));
        // SAFETY: it takes nothing, and cannot fail.
        let number = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
        to_main.send(number).unwrap();
        waits.recv().unwrap();
    });
    let number = from_thread.recv().unwrap();
    let threads = alloc_tracker::raw::outside_by_thread();
    let of_thread = threads.iter().find(|(thread, _)| *thread == number);
    let (_, usage) = of_thread.expect("it is there");
    assert!((1000..1100).contains(&usage.allocs), "{usage}");
    assert!(
        (1_000_000..1_010_000).contains(&usage.alloc_bytes),
        "{usage}"
    );
    go_on.send(()).unwrap();
    thread.join().unwrap();
    let threads = alloc_tracker::raw::outside_by_thread();
    assert!(threads.iter().all(|(thread, _)| *thread != number));
}
