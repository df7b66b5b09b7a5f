//! The allocator beside System, in one run.
//!
//! `cargo bench --bench allocator`

mod support;

use alloc_tracker::{AllocTracker, InUnit, Scope, Unit};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use support::{Case, compare, compare_instructions, counted, document, header};

/// The tracker, or System alone, chosen at run time: so real work, which allocates through the
/// global allocator, runs both ways in one process. The choice costs both sides the same branch.
struct Either;

static TRACK: AtomicBool = AtomicBool::new(true);
static TRACKED: AllocTracker = AllocTracker::system();

// SAFETY: both alternatives are `System` in the end, so a block may even change sides.
unsafe impl GlobalAlloc for Either {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if TRACK.load(Relaxed) {
            // SAFETY: the caller's contract.
            unsafe { TRACKED.alloc(layout) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { System.alloc(layout) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if TRACK.load(Relaxed) {
            // SAFETY: the caller's contract.
            unsafe { TRACKED.alloc_zeroed(layout) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { System.alloc_zeroed(layout) }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if TRACK.load(Relaxed) {
            // SAFETY: the caller's contract.
            unsafe { TRACKED.dealloc(block, layout) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if TRACK.load(Relaxed) {
            // SAFETY: the caller's contract.
            unsafe { TRACKED.realloc(block, layout, size) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { System.realloc(block, layout, size) }
        }
    }
}

#[global_allocator]
static GLOBAL: Either = Either;

// The shape of the functions that rustc generates around a global allocator: not inlined, size
// and alignment unknown.
macro_rules! shims {
    ($module:ident, $allocator:expr) => {
        mod $module {
            use super::*;

            #[inline(never)]
            pub(super) fn alloc(size: usize, align: usize) -> *mut u8 {
                // SAFETY: called with a valid size and alignment.
                let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
                // SAFETY: called with a size above zero.
                unsafe { $allocator.alloc(layout) }
            }

            #[inline(never)]
            pub(super) fn dealloc(block: *mut u8, size: usize, align: usize) {
                // SAFETY: called with a valid size and alignment.
                let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
                // SAFETY: called with a block of `alloc` and its layout.
                unsafe { $allocator.dealloc(block, layout) }
            }

            /// As where the compiler inlines the allocator into the code that allocates.
            pub(super) fn inlined_pair(times: u64) {
                let layout = Layout::new::<[u64; 8]>();
                for _ in 0..times {
                    // SAFETY: the size is above zero; freed with the same layout.
                    unsafe {
                        let block = black_box($allocator.alloc(layout));
                        $allocator.dealloc(block, layout);
                    }
                }
            }

            pub(super) fn pair(times: u64) {
                for _ in 0..times {
                    let block = black_box(alloc(black_box(64), 8));
                    dealloc(block, black_box(64), 8);
                }
            }
        }
    };
}

shims!(bare, System);
shims!(tracked, TRACKED);

fn scope_with_a_pair(times: u64) {
    for _ in 0..times {
        let scope = Scope::enter();
        tracked::pair(1);
        black_box(&scope.finish());
    }
}

fn unit_with_a_pair(times: u64) {
    let unit = Unit::new();
    for _ in 0..times {
        let _entered = unit.enter();
        tracked::pair(1);
    }
}

/// Pairs in a scope whose live bytes are at their peak with each.
fn pairs_at_the_peak(times: u64) {
    let scope = Scope::enter();
    tracked::pair(times);
    black_box(&scope.finish());
}

/// Pairs in a scope that had far more live bytes once.
fn pairs_below_the_peak(times: u64) {
    let scope = Scope::enter();
    let layout = Layout::new::<[u64; 1 << 16]>();
    // SAFETY: the size is above zero; freed with the same layout.
    unsafe { TRACKED.dealloc(black_box(TRACKED.alloc(layout)), layout) };
    tracked::pair(times);
    black_box(&scope.finish());
}

/// A loop over nothing, for what follows.
fn nothing(times: u64) {
    for n in 0..times {
        black_box(n);
    }
}

fn scope_alone(times: u64) {
    for n in 0..times {
        let scope = Scope::enter();
        black_box(n);
        black_box(&scope.finish());
    }
}

fn unit_alone(times: u64) {
    let unit = Unit::new();
    for n in 0..times {
        let _entered = unit.enter();
        black_box(n);
    }
}

/// Never ready.
struct Endless;

impl Future for Endless {
    type Output = ();
    #[inline(never)]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        black_box(Poll::Pending)
    }
}

fn poll_often(future: impl Future<Output = ()>, times: u64) {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        let _ = black_box(future.as_mut().poll(&mut cx));
    }
}

fn poll_bare(times: u64) {
    poll_often(Endless, times);
}

fn poll_in_unit(times: u64) {
    poll_often(Endless.in_unit(&Unit::new()), times);
}

fn on_all_cores(pair: fn(u64)) -> impl FnMut(u64) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    move |times| {
        std::thread::scope(|threads| {
            for _ in 0..cores {
                threads.spawn(|| pair(times));
            }
        });
    }
}

fn grow(allocator: &impl GlobalAlloc) {
    const MIB: usize = 1 << 20;
    let mut size = MIB;
    // SAFETY: sizes are above zero, each block is resized and freed with its own layout.
    unsafe {
        let layout = |size| Layout::from_size_align_unchecked(size, 8);
        let mut block = allocator.alloc(layout(size));
        block.write_bytes(1, size);
        while size < 64 * MIB {
            block = black_box(allocator.realloc(block, layout(size), size * 2));
            size *= 2;
        }
        allocator.dealloc(block, layout(size));
    }
}

fn zeroed(allocator: &impl GlobalAlloc) {
    // SAFETY: the size is above zero, freed with the same layout.
    unsafe {
        let layout = Layout::from_size_align_unchecked(8 << 20, 8);
        let block = black_box(allocator.alloc_zeroed(layout));
        assert_eq!(*block.add(5 << 20), 0);
        allocator.dealloc(block, layout);
    }
}

fn main() {
    const CASES: &[Case] = &[
        ("pair_bare", |n| counted(bare::pair, n)),
        ("pair_tracked", |n| counted(tracked::pair, n)),
        ("pair_bare_inlined", |n| counted(bare::inlined_pair, n)),
        ("pair_tracked_inlined", |n| {
            counted(tracked::inlined_pair, n)
        }),
        ("pair_at_the_peak", |n| counted(pairs_at_the_peak, n)),
        ("pair_below_the_peak", |n| counted(pairs_below_the_peak, n)),
        ("scope", |n| counted(scope_with_a_pair, n)),
        ("unit", |n| counted(unit_with_a_pair, n)),
        ("nothing", |n| counted(nothing, n)),
        ("scope_alone", |n| counted(scope_alone, n)),
        ("unit_alone", |n| counted(unit_alone, n)),
        ("poll_bare", |n| counted(poll_bare, n)),
        ("poll_in_unit", |n| counted(poll_in_unit, n)),
    ];
    if support::ran_as_case(CASES) {
        return;
    }

    header(
        "Instructions per repetition (callgrind)",
        "System",
        "tracked",
    );
    let pair = compare_instructions("alloc + free, 64 bytes", "pair_bare", "pair_tracked");
    if cfg!(not(feature = "track")) {
        // Over ten thousand pairs; a single instruction more per pair would be 1.0.
        assert!(
            pair.is_none_or(|more| more.abs() < 0.01),
            "off must mean off: {pair:?}"
        );
    }
    compare_instructions(
        "the same, inlined into the caller",
        "pair_bare_inlined",
        "pair_tracked_inlined",
    );
    compare_instructions(
        "in a scope, at the peak of its live bytes",
        "pair_bare",
        "pair_at_the_peak",
    );
    compare_instructions(
        "in a scope, far below its peak",
        "pair_bare",
        "pair_below_the_peak",
    );
    compare_instructions(
        "Scope::enter + finish, round a tracked pair",
        "pair_tracked",
        "scope",
    );
    compare_instructions(
        "Unit::enter + leave, round a tracked pair",
        "pair_tracked",
        "unit",
    );

    compare_instructions(
        "Scope::enter + finish, round nothing",
        "nothing",
        "scope_alone",
    );
    compare_instructions(
        "Unit::enter + leave, round nothing",
        "nothing",
        "unit_alone",
    );
    compare_instructions("a poll of future.in_unit(..)", "poll_bare", "poll_in_unit");

    header("Time per repetition, in turn", "System", "tracked");
    compare(
        "alloc + free, 64 bytes, one thread",
        &mut bare::pair,
        &mut tracked::pair,
    );
    compare(
        "alloc + free, 64 bytes, every core",
        &mut on_all_cores(bare::pair),
        &mut on_all_cores(tracked::pair),
    );
    let grow_on = |n, f: &dyn Fn()| (0..n).for_each(|_| f());
    compare(
        "realloc 1 -> 64 MiB by doubling",
        &mut |n| grow_on(n, &|| grow(&System)),
        &mut |n| grow_on(n, &|| grow(&TRACKED)),
    );
    compare(
        "alloc_zeroed 8 MiB",
        &mut |n| grow_on(n, &|| zeroed(&System)),
        &mut |n| grow_on(n, &|| zeroed(&TRACKED)),
    );
    let text = document();
    let parse = |track: bool, n: u64| {
        TRACK.store(track, Relaxed);
        for _ in 0..n {
            let value: serde_json::Value =
                serde_json::from_str(black_box(&text)).expect("valid JSON");
            black_box(value);
        }
    };
    let name = format!("parse {:.1} KB of JSON", text.len() as f64 / 1e3);
    compare(&name, &mut |n| parse(false, n), &mut |n| parse(true, n));
    TRACK.store(true, Relaxed);

    header("Measuring, in turn", "without", "measured");
    compare("Scope::enter + finish", &mut nothing, &mut scope_alone);
    compare("Unit::enter + leave", &mut nothing, &mut unit_alone);
    compare(
        "a poll of future.in_unit(..)",
        &mut poll_bare,
        &mut poll_in_unit,
    );
    compare(
        "Scope::enter + finish, round a pair",
        &mut tracked::pair,
        &mut scope_with_a_pair,
    );
    compare(
        "Unit::enter + leave, round a pair",
        &mut tracked::pair,
        &mut unit_with_a_pair,
    );
}
