//! `Unit::retained`: what a unit allocated and nobody has freed, exactly, whoever frees.
#![cfg(feature = "track")]

use alloc_tracker::{
    AllocTracker, Budget, InUnit, Unit, assert_budget, excluded, in_current_unit, measure,
};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{
    AtomicBool, AtomicPtr,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Refuses to resize while told so, and gives a block of [`REUSED`] bytes out again at once.
struct Stubborn;

static REFUSES: AtomicBool = AtomicBool::new(false);

const REUSED: usize = 333_333;
static KEPT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

// SAFETY: `System`, but for calls that are refused, as any call may be.
unsafe impl GlobalAlloc for Stubborn {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() == REUSED {
            let kept = KEPT.swap(std::ptr::null_mut(), AcqRel);
            if !kept.is_null() {
                return kept;
            }
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, mut block: *mut u8, layout: Layout) {
        if layout.size() == REUSED {
            block = KEPT.swap(block, AcqRel);
            if block.is_null() {
                return;
            }
        }
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if REFUSES.load(Relaxed) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: AllocTracker<Stubborn> = AllocTracker::new(Stubborn);

/// One test at a time: what another one leaves in the table while nobody follows is part of one.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes(n: usize) -> Vec<u8> {
    black_box(vec![1u8; n])
}

fn retained(unit: &Unit) -> (u64, u64) {
    let retained = unit.retained().expect("a following unit");
    (retained.blocks, retained.bytes)
}

fn on_another_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| threads.spawn(work).join().unwrap())
}

#[test]
fn a_block_is_retained_until_anybody_frees_it() {
    let _alone = alone();
    let unit = Unit::following();
    let (a, b) = unit.run(|| (bytes(100), bytes(20)));
    assert_eq!(retained(&unit), (2, 120));
    on_another_thread(move || drop(a));
    assert_eq!(retained(&unit), (1, 20));
    // Nor does it matter that the free is somebody else's in `Usage`.
    assert_eq!(unit.usage().live_bytes(), 120);
    drop(b);
    assert_eq!(retained(&unit), (0, 0));
}

#[test]
fn what_others_allocated_does_not_make_up_for_what_is_kept() {
    let _alone = alone();
    let theirs = bytes(1000);
    let unit = Unit::following();
    let kept = unit.run(move || {
        drop(theirs);
        bytes(10)
    });
    assert_eq!(unit.usage().live_bytes(), 10 - 1000);
    assert_eq!(retained(&unit), (1, 10));
    drop(kept);
}

#[test]
fn only_a_following_unit_says_what_it_retains() {
    let _alone = alone();
    assert_eq!(Unit::new().retained(), None);
    let unit = Unit::following();
    assert_eq!(
        unit.clone().retained().unwrap().to_string(),
        "0 blocks, 0 B retained"
    );
}

#[test]
fn a_budget_on_what_is_kept_holds_when_another_thread_clears_the_cache() {
    let _alone = alone();
    static CACHE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    CACHE.lock().unwrap().reserve(8);
    let clear = || on_another_thread(|| CACHE.lock().unwrap().clear());
    let work = || {
        CACHE.lock().unwrap().push(bytes(64));
        // The other thread's own allocations are its own; it only frees ours.
        clear();
    };
    let budget = Budget::new().live_bytes(0).live_blocks(0);
    budget.run(work);
    assert_budget!(live_bytes <= 0, { work() });

    // And is broken by a block that stays there.
    let broken = std::panic::catch_unwind(|| {
        assert_budget!(live_bytes <= 0, live_blocks <= 0, {
            CACHE.lock().unwrap().push(bytes(64));
        });
    });
    let message = *broken.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("live_bytes: limit 0, actual 64, excess 64"),
        "{message}"
    );
    assert!(
        message.contains("live_blocks: limit 0, actual 1"),
        "{message}"
    );
    clear();
}

#[test]
fn a_futures_budget_on_what_is_kept_follows_its_blocks() {
    let _alone = alone();
    let future = async {
        assert_budget!(live_bytes <= 0, async {
            let block = bytes(77);
            on_another_thread(move || drop(block));
        });
    };
    let mut cx = Context::from_waker(Waker::noop());
    let poll = std::pin::pin!(future).as_mut().poll(&mut cx);
    assert!(matches!(poll, Poll::Ready(())));
}

#[test]
fn a_budget_keeps_its_following_to_itself() {
    let _alone = alone();
    let unit = Unit::new();
    unit.run(|| {
        Budget::new().live_bytes(0).run(|| {
            let current = Unit::current().expect("the unit outside");
            current.run(|| drop(bytes(5)));
        });
        assert!(Unit::current().is_some());
    });
    assert!(Unit::current().is_none());
    assert!(unit.usage().alloc_bytes >= 5);
}

#[test]
fn a_resized_block_stays_its_units() {
    let _alone = alone();
    let unit = Unit::following();
    let mut block = unit.run(|| bytes(100));
    block.reserve_exact(900); // outside of the unit
    assert_eq!(retained(&unit), (1, 1000));
    let mut block = on_another_thread(move || {
        block.truncate(10);
        block.shrink_to_fit();
        block
    });
    assert_eq!(retained(&unit), (1, 10));

    // Of another's block, the growth is the unit's.
    let mut theirs = bytes(50);
    unit.run(|| theirs.reserve_exact(50));
    assert_eq!(retained(&unit), (1, 60));
    drop(theirs);
    assert_eq!(retained(&unit), (1, 10));

    REFUSES.store(true, Relaxed);
    assert!(block.try_reserve_exact(1000).is_err());
    REFUSES.store(false, Relaxed);
    assert_eq!(retained(&unit), (1, 10));
    drop(block);
    assert_eq!(retained(&unit), (0, 0));
}

#[test]
fn a_unit_has_what_the_units_inside_it_retain() {
    let _alone = alone();
    let outer = Unit::following();
    let inner = outer.run(Unit::following);
    let block = outer.run(|| inner.run(|| bytes(8)));
    assert_eq!((retained(&inner), retained(&outer)), ((1, 8), (1, 8)));
    // The outer one lives on as long as the inner one may have something to give back.
    let again = outer.clone();
    drop(outer);
    drop(inner);
    // Nobody can say any more when the block is freed.
    assert_eq!(again.retained(), None);
    drop(block);
    let tidy = Unit::following();
    tidy.run(|| Unit::following().run(|| drop(bytes(8))));
    assert_eq!(retained(&tidy), (0, 0));
}

fn breaks(budget: Budget, work: impl FnOnce()) -> bool {
    let work = std::panic::AssertUnwindSafe(work);
    std::panic::catch_unwind(|| budget.run(work)).is_err()
}

#[test]
fn a_budget_is_not_passed_because_another_unit_has_the_block() {
    let _alone = alone();
    let kept = Mutex::new(Vec::new());
    let keep = |block: Vec<u8>| kept.lock().unwrap().push(block);
    let nothing = Budget::new().live_bytes(0);

    // Growth of a block that is in the books of a budget outside.
    Budget::new().live_bytes(1 << 30).run(|| {
        let mut grown = bytes(10);
        assert!(breaks(nothing, || grown.reserve_exact(100_000)));
    });
    // Growth of a block whose unit has ended.
    let mut cache = Unit::following().run(|| bytes(10));
    assert!(breaks(nothing, || cache.reserve_exact(100_000)));
    let unit = Unit::following();
    unit.run(|| cache.reserve_exact(300_000));
    assert!(retained(&unit).1 >= 199_000, "{:?}", unit.retained());
    // A following unit that was made outside.
    let outside = Unit::following();
    assert!(breaks(nothing, || outside.run(|| keep(bytes(100_000)))));
    // A budget inside of what is charged to nobody.
    assert!(excluded(|| breaks(nothing, || keep(bytes(100_000)))));
}

#[test]
fn a_budget_inside_another_leaves_the_outer_one_as_it_was() {
    let _alone = alone();
    let (give, take) = mpsc::channel::<Vec<u8>>();
    let (done, wait) = mpsc::channel::<()>();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            for block in take {
                drop(block);
                done.send(()).unwrap();
            }
        });
        let session = || Budget::new().live_bytes(1024).run(|| bytes(600));
        let hand_over = || {
            give.send(session()).unwrap();
            wait.recv().unwrap();
        };
        hand_over(); // what the channel sets up
        let usage = measure(hand_over).1;
        // The inner budget ended while its block was in use: the outer one cannot tell, and goes
        // by what this thread allocated and freed.
        let kept = usage.live_bytes();
        Budget::new().live_bytes(kept).run(hand_over);
        drop(give);
    });
}

#[test]
fn a_forgotten_guard_of_an_ended_unit_takes_no_blocks() {
    let _alone = alone();
    let outer = Unit::following();
    let entered = outer.enter();
    let inner = Unit::following();
    std::mem::forget(inner.enter());
    drop(inner);
    let block = bytes(50);
    drop(entered);
    assert_eq!(retained(&outer), (1, 50));
    drop(block);
}

#[test]
fn a_long_chain_of_units_ends_without_recursion() {
    let _alone = alone();
    let mut unit = Unit::following();
    for _ in 0..100_000 {
        unit = unit.run(Unit::following);
    }
    drop(unit);
}

#[test]
fn spawned_work_retains_for_its_unit() {
    let _alone = alone();
    let unit = Unit::following();
    let blocks = unit.run(|| {
        let workers: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(in_current_unit(|| bytes(1000))))
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(retained(&unit).1 >= 4000);
    let mut cx = Context::from_waker(Waker::noop());
    let future = async { bytes(500) }.in_unit(&unit);
    let Poll::Ready(more) = std::pin::pin!(future).as_mut().poll(&mut cx) else {
        panic!("ready at once")
    };
    assert!(retained(&unit).1 >= 4500);
    on_another_thread(move || drop((blocks, more)));
    assert!(retained(&unit).1 < 500, "{:?}", unit.retained());
}

#[test]
fn a_forgotten_block_does_not_haunt_its_address() {
    let _alone = alone();
    // Freed while nobody follows: the table still has it, and the address comes back.
    let reused = || black_box(Vec::<u8>::with_capacity(REUSED));
    let first = Unit::following();
    let block = first.run(reused);
    let address = block.as_ptr();
    drop(first);
    drop(block);
    let second = Unit::following();
    let block = second.run(reused);
    assert_eq!(block.as_ptr(), address);
    assert_eq!(retained(&second), (1, REUSED as u64));
    drop(block);
    assert_eq!(retained(&second), (0, 0));
}

#[test]
fn many_blocks_have_room() {
    let _alone = alone();
    let unit = Unit::following();
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(100_000);
    unit.run(|| blocks.extend((0..100_000).map(|_| bytes(1))));
    assert_eq!(retained(&unit), (100_000, 100_000));
    let ((), usage) = measure(|| blocks.truncate(10));
    assert_eq!((usage.frees, retained(&unit)), (99_990, (10, 10)));
    drop(blocks);
    assert_eq!(retained(&unit), (0, 0));
}

#[test]
fn what_is_excluded_is_nobodys() {
    let _alone = alone();
    let unit = Unit::following();
    let block = unit.run(|| excluded(|| bytes(9)));
    assert_eq!(retained(&unit), (0, 0));
    drop(block);
}

/// One step of a program that three threads perform, each on its turn.
#[derive(Clone, Debug)]
enum Step {
    /// Allocates for the units that are open, innermost last.
    Alloc(usize),
    Free(usize),
    Resize(usize, usize),
    Open(usize),
    Close,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        4 => (1usize..5000).prop_map(Step::Alloc),
        3 => any::<usize>().prop_map(Step::Free),
        2 => (any::<usize>(), 1usize..5000).prop_map(|(which, size)| Step::Resize(which, size)),
        2 => (0usize..3).prop_map(Step::Open),
        2 => Just(Step::Close),
    ];
    (0usize..3, step)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_on_three_threads_agree_with_a_list_of_blocks(
        program in prop::collection::vec(step(), 1..120)
    ) {
        let _alone = alone();
        let units: Vec<Unit> = (0..3).map(|_| Unit::following()).collect();
        // The blocks that are left outlive the comparison.
        let (_blocks, figures) = run(&program, &units);
        for (unit, expected) in units.iter().zip(figures) {
            let retained = unit.retained().map(|r| (r.blocks, r.bytes));
            prop_assert_eq!(retained, expected);
        }
    }
}

/// A block as the naive list has it.
struct Listed {
    block: Vec<u8>,
    /// The unit that holds it, or only `held` bytes of it if it is not `whole`.
    holder: Option<usize>,
    held: i64,
    whole: bool,
}

/// Runs the program and returns what a naive list says that each unit retains.
fn run(program: &[(usize, Step)], units: &[Unit]) -> (Vec<Listed>, Vec<Option<(u64, u64)>>) {
    type Job<'a> = Box<dyn FnOnce() + Send + 'a>;
    let blocks: Mutex<Vec<Listed>> = Mutex::new(Vec::with_capacity(4096));
    // Units that were around another one, which took a block.
    let missed: Mutex<Vec<usize>> = Mutex::new(Vec::with_capacity(4096));
    let mut open: Vec<Vec<usize>> = vec![Vec::new(); 3];
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let (send, jobs) = mpsc::channel::<Job>();
                let (done, finished) = mpsc::channel::<()>();
                threads.spawn(move || {
                    for job in jobs {
                        job();
                        done.send(()).unwrap();
                    }
                });
                (send, finished)
            })
            .collect();
        for (thread, step) in program {
            let stack = &mut open[*thread];
            match step {
                Step::Open(unit) => stack.push(*unit),
                Step::Close => {
                    stack.pop();
                }
                _ => {}
            }
            let inside = stack.clone();
            let (blocks, missed) = (&blocks, &missed);
            let job: Job = Box::new(move || {
                let entered: Vec<_> = inside.iter().map(|&unit| units[unit].enter()).collect();
                let took = perform(step, inside.last().copied(), blocks);
                drop(entered);
                if let Some(took) = took {
                    let others = inside.iter().filter(|&&unit| unit != took);
                    missed.lock().unwrap().extend(others);
                }
            });
            workers[*thread].0.send(job).unwrap();
            workers[*thread].1.recv().unwrap();
        }
    });
    let blocks = blocks.into_inner().unwrap();
    let figures = (0..units.len())
        .map(|unit| {
            let mine = || blocks.iter().filter(|block| block.holder == Some(unit));
            let whole = mine().filter(|block| block.whole).count();
            let bytes: i64 = mine().map(|block| block.held).sum();
            let known = !missed.lock().unwrap().contains(&unit);
            known.then_some((whole as u64, bytes as u64))
        })
        .collect();
    (blocks, figures)
}

/// Returns the unit in whose books a block, or its growth, went.
fn perform(step: &Step, unit: Option<usize>, blocks: &Mutex<Vec<Listed>>) -> Option<usize> {
    let mut blocks = blocks.lock().unwrap();
    let count = blocks.len().max(1);
    match *step {
        Step::Alloc(size) => {
            let block = bytes(size);
            blocks.push(Listed {
                block,
                holder: unit,
                held: size as i64,
                whole: true,
            });
            unit
        }
        Step::Free(which) if !blocks.is_empty() => {
            blocks.swap_remove(which % count);
            None
        }
        Step::Resize(which, size) if !blocks.is_empty() => {
            let listed = &mut blocks[which % count];
            let old = listed.block.capacity();
            listed.block.clear();
            if size > old {
                listed.block.reserve_exact(size);
            } else {
                listed.block.shrink_to(size);
            }
            let grown = listed.block.capacity() as i64 - old as i64;
            if listed.holder.is_some() {
                listed.held = (listed.held + grown).max(0);
            } else if grown > 0 && unit.is_some() {
                (listed.holder, listed.held, listed.whole) = (unit, grown, false);
            }
            listed.holder.filter(|_| grown > 0)
        }
        _ => None,
    }
}
