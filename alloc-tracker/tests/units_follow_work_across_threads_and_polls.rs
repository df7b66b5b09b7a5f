//! Units: nesting, migration between threads, cancellation, propagation.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, InUnit, Scope, Unit, Usage, in_current_unit, measure};
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn bytes(n: usize) -> Vec<u8> {
    black_box(vec![1u8; n])
}

/// Pending once, then ready.
#[derive(Default)]
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

fn poll_on_a_new_thread<F: Future + Send + 'static>(
    mut future: Pin<Box<F>>,
) -> Option<Pin<Box<F>>> {
    std::thread::spawn(move || {
        let _noise = bytes(12_345); // outside the unit
        let mut cx = Context::from_waker(Waker::noop());
        match future.as_mut().poll(&mut cx) {
            Poll::Pending => Some(future),
            Poll::Ready(_) => None,
        }
    })
    .join()
    .unwrap()
}

#[test]
fn a_future_moved_between_workers_has_exact_figures_and_peak() {
    let unit = Unit::new();
    let future = async {
        let first = bytes(1000);
        YieldOnce::default().await;
        let second = bytes(500); // the peak: 1500, reached on the second thread
        drop(first);
        YieldOnce::default().await;
        drop(second);
        drop(bytes(100));
    };
    let mut future = Some(Box::pin(future.in_unit(&unit)));
    let mut polls = 0;
    while let Some(f) = future.take() {
        future = poll_on_a_new_thread(f);
        polls += 1;
    }
    assert_eq!(polls, 3);
    let usage = unit.usage();
    assert_eq!((usage.allocs, usage.frees), (3, 3));
    assert_eq!((usage.alloc_bytes, usage.freed_bytes), (1600, 1600));
    assert_eq!(usage.peak_bytes, 1500);
}

#[test]
fn a_dropped_future_frees_inside_its_unit() {
    let unit = Unit::new();
    let mut future = Box::pin(
        async {
            let _held = bytes(4000);
            YieldOnce::default().await;
        }
        .in_unit(&unit),
    );
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(unit.usage().live_bytes(), 4000);
    drop(future);
    assert_eq!(unit.usage().live_bytes(), 0);
}

#[test]
fn the_same_unit_entered_twice_counts_once_and_an_inner_unit_is_in_the_outer() {
    let (a, b) = (Unit::new(), Unit::new());
    let in_a = a.enter();
    drop(bytes(10));
    {
        let _in_b = b.enter();
        drop(bytes(20));
        let _again_a = a.enter();
        drop(bytes(30));
    }
    drop(bytes(40));
    assert_eq!(a.usage().alloc_bytes, 100, "with the open segment");
    drop(in_a);
    assert_eq!((a.usage().allocs, a.usage().alloc_bytes), (4, 100));
    assert_eq!((b.usage().allocs, b.usage().alloc_bytes), (2, 50));
    assert_eq!(a.usage().peak_bytes, 40);
}

#[test]
fn guards_dropped_out_of_order_keep_every_figure_and_the_current_unit() {
    let (a, b) = (Unit::new(), Unit::new());
    let in_a = a.enter();
    drop(bytes(100));
    let in_b = b.enter();
    drop(bytes(50));
    drop(in_a);
    drop(bytes(7));
    assert_eq!(a.usage().alloc_bytes, 150);
    assert_eq!(a.usage().peak_bytes, 100);
    assert_eq!(Unit::current().unwrap().usage().alloc_bytes, 57);
    drop(in_b);
    assert!(Unit::current().is_none());
    assert_eq!((b.usage().alloc_bytes, b.usage().peak_bytes), (57, 50));
}

#[test]
fn a_unit_entered_twice_and_left_in_the_wrong_order_counts_to_the_end() {
    let unit = Unit::new();
    let first = unit.enter();
    drop(bytes(10));
    let second = unit.enter();
    drop(first);
    drop(bytes(5));
    assert_eq!(unit.usage().alloc_bytes, 15);
    drop(second);
    drop(bytes(100));
    assert_eq!((unit.usage().allocs, unit.usage().alloc_bytes), (2, 15));
}

#[test]
fn measurements_nested_deeper_than_the_peaks_are_kept_stay_exact_but_for_those() {
    fn nest(depth: usize) -> (Usage, u64) {
        let held = bytes(10);
        let (inner, usage) = measure(|| if depth == 0 { 0 } else { nest(depth - 1).1 });
        drop(held);
        assert_eq!(usage.alloc_bytes, inner);
        assert!(usage.peak_bytes >= inner, "an upper bound at worst");
        (usage, inner + 10)
    }
    let (outermost, sum) = nest(300);
    assert_eq!((outermost.alloc_bytes, sum), (3000, 3010));
    assert_eq!(outermost.peak_bytes, 3000, "the outer 64 are exact");
    let ((), usage) = measure(|| drop(black_box(vec![1u8; 7])));
    assert_eq!(usage.peak_bytes, 7, "and the stack is clean again");
}

#[test]
fn forgotten_guards_do_no_harm() {
    for _ in 0..200 {
        let unit = Unit::new();
        std::mem::forget(unit.enter());
        assert!(Unit::current().is_some());
        drop(unit);
        // Its memory may be another unit's by now; the stale entry must not say so.
        let other = Unit::new();
        assert!(Unit::current().is_none());
        other.run(|| drop(bytes(8)));
        assert_eq!(other.usage().alloc_bytes, 8);
    }
    let ((), usage) = measure(|| drop(bytes(16)));
    assert_eq!((usage.alloc_bytes, usage.peak_bytes), (16, 16));
}

#[test]
fn an_account_goes_from_unit_to_unit_and_takes_nothing_from_who_has_a_handle() {
    use alloc_tracker::raw::Account;
    let account = Account::new();
    for size in [8, 16] {
        let segment = account.open();
        drop(bytes(size));
        segment.close();
        assert_eq!(account.exchange().alloc_bytes, size as u64);
    }
    let segment = account.open();
    let kept = Unit::current().expect("it has a handle");
    segment.close();
    assert_eq!(account.exchange().alloc_bytes, 0);
    // The cell is still this one's, and the account's next unit has another.
    kept.run(|| drop(bytes(32)));
    let segment = account.open();
    drop(bytes(64));
    segment.close();
    assert_eq!(kept.usage().alloc_bytes, 32);
    assert_eq!(account.exchange().alloc_bytes, 64);
}

#[test]
fn spawned_work_follows_with_one_word() {
    let unit = Unit::new();
    unit.run(|| {
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(in_current_unit(|| {
                    for _ in 0..1000 {
                        drop(bytes(10));
                    }
                }));
            }
            threads.spawn(|| drop(bytes(1 << 20))); // not handed the unit
        });
    });
    let usage = unit.usage();
    // The workers' loops are exact; spawning costs the unit's own thread a few blocks too.
    assert!(usage.allocs >= 4000 && usage.allocs < 4100, "{usage}");
    assert!(usage.alloc_bytes < 1 << 20, "{usage}");
}

#[test]
fn threads_that_share_a_unit_at_once_lose_nothing() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 2000;
    let unit = Unit::new();
    let start = Arc::new(std::sync::Barrier::new(THREADS as usize));
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (unit, start) = (unit.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for _ in 0..ROUNDS {
                    unit.run(|| drop(bytes(3)));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let usage = unit.usage();
    assert_eq!(usage.allocs, THREADS * ROUNDS);
    assert_eq!(usage.frees, THREADS * ROUNDS);
    assert_eq!(usage.alloc_bytes, 3 * THREADS * ROUNDS);
    assert_eq!(usage.live_bytes(), 0);
}

#[test]
fn new_units_and_segments_allocate_nothing_through_the_tracker() {
    drop(Unit::new());
    let ((), usage) = measure(|| {
        let units: [Unit; 8] = std::array::from_fn(|_| Unit::new());
        for unit in &units {
            let _entered = unit.enter();
            let _scope = Scope::enter();
            drop(Unit::current());
        }
    });
    assert_eq!(usage, Usage::default());
}

#[test]
fn units_come_and_go_on_many_threads() {
    let workers: Vec<_> = (0..8)
        .map(|n| {
            std::thread::spawn(move || {
                for round in 0..5_000usize {
                    let units: Vec<Unit> = (0..1 + round % 5).map(|_| Unit::new()).collect();
                    for (i, unit) in units.iter().enumerate() {
                        let size = n * 100 + i + 1;
                        unit.run(|| drop(bytes(size)));
                        assert_eq!(unit.usage().alloc_bytes, size as u64);
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
fn a_closure_that_is_never_called_is_dropped_inside_its_unit() {
    let unit = Unit::new();
    let closure = unit.run(|| {
        let held = bytes(100);
        in_current_unit(move || drop(held))
    });
    drop(closure);
    assert_eq!((unit.usage().frees, unit.usage().live_bytes()), (1, 0));
}

#[test]
fn segments_that_overlap_do_not_add_up_to_a_peak_that_never_was() {
    let unit = Unit::new();
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..20_000 {
                    unit.run(|| {
                        for _ in 0..30 {
                            drop(bytes(100));
                        }
                    });
                }
            });
        }
    });
    // Ended segments hold nothing, so a segment's own peak is all there can be.
    assert_eq!(unit.usage().peak_bytes, 100);
}
