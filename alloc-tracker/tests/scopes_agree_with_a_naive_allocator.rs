//! Every figure of a scope against an oracle under the tracker that counts the same calls.
#![cfg(feature = "track")]

mod oracle;

use alloc_tracker::{AllocTracker, Scope, Usage, measure};
use oracle::{Oracle, Tally};
use proptest::prelude::*;
use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

#[global_allocator]
static GLOBAL: AllocTracker<Oracle> = AllocTracker::new(Oracle);

fn agree(usage: Usage, tally: Tally) {
    assert_eq!(
        (usage.allocs, usage.reallocs, usage.frees),
        (tally.allocs, tally.reallocs, tally.frees)
    );
    assert_eq!(
        (usage.alloc_bytes, usage.freed_bytes),
        (tally.alloc_bytes, tally.freed_bytes)
    );
    assert_eq!(usage.live_bytes(), tally.live());
    assert_eq!(
        usage.live_blocks(),
        tally.allocs as i64 - tally.reallocs as i64 - tally.frees as i64
    );
    assert_eq!(usage.peak_bytes as i64, tally.peak);
}

/// Runs `work` under both and compares; returns what both counted.
fn both(work: impl FnOnce()) -> Usage {
    // The first answer probes, which the oracle would see.
    assert!(alloc_tracker::is_installed());
    oracle::reset();
    let scope = Scope::enter();
    work();
    let usage = scope.finish();
    agree(usage, oracle::tally());
    usage
}

trait Speak {
    fn speak(&self) -> usize;
}
impl Speak for [u8; 40] {
    fn speak(&self) -> usize {
        self.len()
    }
}

#[test]
fn a_box_is_one_block_of_its_size() {
    let usage = both(|| drop(black_box(Box::new([7u64; 8]))));
    assert_eq!((usage.allocs, usage.frees), (1, 1));
    assert_eq!((usage.alloc_bytes, usage.peak_bytes), (64, 64));
}

#[test]
fn a_vector_that_grows_moves_its_bytes_by_the_difference() {
    let usage = both(|| {
        let mut v: Vec<u8> = Vec::with_capacity(16);
        v.extend_from_slice(black_box(&[1; 16]));
        v.reserve_exact(48);
        v.reserve_exact(112);
        black_box(&v);
        v.truncate(3);
        v.shrink_to_fit();
        black_box(&v);
    });
    assert_eq!((usage.allocs, usage.reallocs, usage.frees), (4, 3, 1));
    assert_eq!((usage.alloc_bytes, usage.freed_bytes), (128, 128));
    assert_eq!(usage.peak_bytes, 128);
}

#[test]
fn collections_and_trait_objects_agree() {
    let usage = both(|| {
        let mut text = String::new();
        for word in ["a", "string", "that", "grows", "word by word"] {
            text.push_str(black_box(word));
        }
        let tree: BTreeMap<u32, String> = (0..200).map(|n| (n, n.to_string())).collect();
        let table: HashMap<String, u32> = (0..200).map(|n| (n.to_string(), n)).collect();
        let shared: Arc<dyn Speak> = Arc::new([0u8; 40]);
        let other = Arc::clone(&shared);
        assert_eq!(shared.speak() + other.speak(), 80);
        black_box((&text, &tree, &table));
    });
    assert!(usage.allocs > 400);
    assert_eq!(usage.live_bytes(), 0);
}

#[test]
fn zeroed_and_over_aligned_blocks_count_what_was_asked_for() {
    let usage = both(|| {
        black_box(vec![0u8; 8 << 20]);
        let layout = Layout::from_size_align(100, 4096).unwrap();
        // SAFETY: the size is not zero; freed with the same layout.
        unsafe {
            let block = black_box(std::alloc::alloc(layout));
            std::alloc::dealloc(block, layout);
        }
    });
    assert_eq!(usage.allocs, 2);
    assert_eq!(usage.alloc_bytes, (8 << 20) + 100);
}

#[test]
fn freeing_foreign_memory_gives_negative_live_figures() {
    let foreign = std::thread::spawn(|| vec![1u8; 1000]).join().unwrap();
    assert!(alloc_tracker::is_installed());
    oracle::reset();
    let scope = Scope::enter();
    drop(foreign);
    let usage = scope.finish();
    agree(usage, oracle::tally());
    assert_eq!((usage.live_bytes(), usage.live_blocks()), (-1000, -1));
    assert_eq!(usage.peak_bytes, 0);
}

#[test]
fn a_panic_that_unwinds_through_scopes_leaves_the_outer_one_exact() {
    std::panic::set_hook(Box::new(|_| {}));
    let usage = both(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _outer = Scope::enter();
            let _held = vec![1u8; 300];
            let _inner = Scope::enter();
            let _more = vec![1u8; 500];
            std::panic::panic_any(7u8);
        }));
        assert!(caught.is_err());
    });
    let _ = std::panic::take_hook();
    assert!(usage.peak_bytes >= 800);
    // The stack of scopes is clean again: the next figures are exact too.
    both(|| drop(black_box(vec![1u8; 10])));
}

#[test]
fn what_other_threads_do_is_not_in_a_scope() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let worker = std::thread::spawn(move || {
        while receiver.recv().is_ok() {
            black_box(vec![1u8; 4096]);
        }
    });
    let ((), usage) = measure(|| {
        for _ in 0..100 {
            std::thread::yield_now();
        }
    });
    assert_eq!(usage, Usage::default());
    drop(sender);
    worker.join().unwrap();
}

#[test]
fn the_first_scope_of_a_thread_and_the_probe_charge_nothing() {
    std::thread::spawn(|| {
        let ((), usage) = measure(|| {
            let ((), inner) = measure(|| assert!(alloc_tracker::is_installed()));
            assert_eq!(inner, Usage::default());
        });
        assert_eq!(usage, Usage::default());
    })
    .join()
    .unwrap();
}

#[test]
fn excluded_work_is_nobodys_cost_but_the_processs() {
    let before = alloc_tracker::process_usage();
    let (kept, usage) = measure(|| alloc_tracker::excluded(|| black_box(vec![1u8; 70_000])));
    assert_eq!(usage, Usage::default());
    let after = alloc_tracker::process_usage();
    assert!(after.alloc_bytes - before.alloc_bytes >= 70_000);
    drop(kept);
}

#[test]
fn excluded_work_leaves_counts_and_peaks_of_open_scopes_exact() {
    let outer = Scope::enter();
    let first = black_box(vec![1u8; 1000]);
    let inner = Scope::enter();
    let kept = alloc_tracker::excluded(|| {
        drop(black_box(vec![1u8; 90_000]));
        let ((), nested) = measure(|| alloc_tracker::excluded(|| drop(black_box(vec![1u8; 5]))));
        assert_eq!(nested, Usage::default());
        black_box(vec![1u8; 40_000])
    });
    drop(black_box(vec![1u8; 300]));
    let inner = inner.finish();
    assert_eq!((inner.allocs, inner.frees), (1, 1));
    assert_eq!((inner.alloc_bytes, inner.peak_bytes), (300, 300));
    drop(first);
    let outer_usage = outer.usage();
    assert_eq!(outer_usage, outer.finish());
    assert_eq!((outer_usage.allocs, outer_usage.frees), (2, 2));
    assert_eq!(
        (outer_usage.alloc_bytes, outer_usage.peak_bytes),
        (1300, 1300)
    );
    assert_eq!(outer_usage.live_bytes(), 0);
    drop(kept);
}

/// One step of a random program.
#[derive(Clone, Debug)]
enum Op {
    Alloc(usize),
    Zeroed(usize),
    Aligned(usize, u32),
    Resize(usize, usize),
    Free(usize),
    Foreign(usize),
    /// A block that is made and freed, and charged to nobody.
    Excluded(usize),
    Enter,
    /// Ends the open scope with this number (modulo), not always the innermost.
    Leave(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..5000usize).prop_map(Op::Alloc),
        1 => (1..100_000usize).prop_map(Op::Zeroed),
        1 => (1..5000usize, 0..13u32).prop_map(|(n, a)| Op::Aligned(n, a)),
        3 => (any::<usize>(), 1..9000usize).prop_map(|(i, n)| Op::Resize(i, n)),
        4 => any::<usize>().prop_map(Op::Free),
        1 => (1..5000usize).prop_map(Op::Foreign),
        1 => (1..9000usize).prop_map(Op::Excluded),
        2 => Just(Op::Enter),
        2 => prop_oneof![Just(usize::MAX), any::<usize>()].prop_map(Op::Leave),
    ]
}

/// An open scope and the oracle's account of the same time.
struct Open {
    scope: Scope,
    start: Tally,
    peak: i64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree_in_every_scope(ops in proptest::collection::vec(op(), 1..120)) {
        // Foreign blocks are made first, on another thread, so that their frees are foreign.
        let foreign = std::thread::spawn({
            let sizes: Vec<usize> = ops.iter().filter_map(|o| match o { Op::Foreign(n) => Some(*n), _ => None }).collect();
            move || sizes.into_iter().map(|n| vec![1u8; n]).collect::<Vec<_>>()
        }).join().unwrap();
        let mut foreign = foreign;
        let mut hidden = Tally::default();
        let mut blocks: Vec<(usize, Layout)> = Vec::with_capacity(ops.len());
        let mut scopes: Vec<Open> = Vec::with_capacity(ops.len() + 1);
        let mut ended: Vec<(Usage, Tally)> = Vec::with_capacity(2 * ops.len() + 2);
        assert!(alloc_tracker::is_installed());
        oracle::reset();
        scopes.push(Open { scope: Scope::enter(), start: seen(hidden), peak: 0 });
        for op in ops {
            match op {
                Op::Alloc(n) => {
                    let layout = Layout::from_size_align(n, 8).unwrap();
                    // SAFETY: not zero-sized.
                    blocks.push((unsafe { std::alloc::alloc(layout) } as usize, layout));
                }
                Op::Zeroed(n) => {
                    let layout = Layout::from_size_align(n, 1).unwrap();
                    // SAFETY: not zero-sized.
                    blocks.push((unsafe { std::alloc::alloc_zeroed(layout) } as usize, layout));
                }
                Op::Aligned(n, a) => {
                    let layout = Layout::from_size_align(n, 1 << a).unwrap();
                    // SAFETY: not zero-sized.
                    blocks.push((unsafe { std::alloc::alloc(layout) } as usize, layout));
                }
                Op::Resize(i, n) if !blocks.is_empty() => {
                    let i = i % blocks.len();
                    let (block, layout) = blocks[i];
                    // SAFETY: the block is live with this layout, the new size is not zero.
                    let moved = unsafe { std::alloc::realloc(block as *mut u8, layout, n) };
                    blocks[i] = (moved as usize, Layout::from_size_align(n, layout.align()).unwrap());
                }
                Op::Free(i) if !blocks.is_empty() => {
                    let (block, layout) = blocks.swap_remove(i % blocks.len());
                    // SAFETY: the block is live with this layout.
                    unsafe { std::alloc::dealloc(block as *mut u8, layout) };
                }
                Op::Foreign(_) => drop(foreign.pop()),
                Op::Excluded(n) => {
                    let before = oracle::tally();
                    alloc_tracker::excluded(|| drop(black_box(vec![1u8; n])));
                    hidden = plus(hidden, minus(oracle::tally(), before));
                }
                Op::Enter => scopes.push(Open { scope: Scope::enter(), start: seen(hidden), peak: 0 }),
                Op::Leave(i) if !scopes.is_empty() => {
                    let i = if i == usize::MAX { scopes.len() - 1 } else { i % scopes.len() };
                    let open = scopes.remove(i);
                    ended.push((open.scope.usage(), account(hidden, open.start, open.peak)));
                    ended.push((open.scope.finish(), account(hidden, open.start, open.peak)));
                }
                _ => {}
            }
            // The naive way to a peak: look after every step.
            let live = seen(hidden).live();
            for open in &mut scopes {
                open.peak = open.peak.max(live - open.start.live());
            }
        }
        for open in scopes {
            ended.push((open.scope.finish(), account(hidden, open.start, open.peak)));
        }
        for (block, layout) in blocks {
            // SAFETY: the block is live with this layout.
            unsafe { std::alloc::dealloc(block as *mut u8, layout) };
        }
        for (usage, tally) in ended {
            agree(usage, tally);
        }
    }
}

/// What the oracle saw, but for what was excluded.
fn seen(hidden: Tally) -> Tally {
    minus(oracle::tally(), hidden)
}

fn account(hidden: Tally, start: Tally, peak: i64) -> Tally {
    Tally {
        peak,
        ..minus(seen(hidden), start)
    }
}

fn minus(a: Tally, b: Tally) -> Tally {
    Tally {
        allocs: a.allocs - b.allocs,
        reallocs: a.reallocs - b.reallocs,
        frees: a.frees - b.frees,
        alloc_bytes: a.alloc_bytes - b.alloc_bytes,
        freed_bytes: a.freed_bytes - b.freed_bytes,
        peak: 0,
    }
}

fn plus(a: Tally, b: Tally) -> Tally {
    Tally {
        allocs: a.allocs + b.allocs,
        reallocs: a.reallocs + b.reallocs,
        frees: a.frees + b.frees,
        alloc_bytes: a.alloc_bytes + b.alloc_bytes,
        freed_bytes: a.freed_bytes + b.freed_bytes,
        peak: 0,
    }
}

#[test]
fn scopes_that_end_in_the_order_in_which_they_began_go_on_forever() {
    // Never more than two are open, but each ends while a later one is.
    let mut open = Scope::enter();
    for n in 0..1000 {
        let next = Scope::enter();
        let usage = std::mem::replace(&mut open, next).finish();
        assert_eq!((usage.allocs, usage.peak_bytes), (0, 0), "{n}");
    }
}
