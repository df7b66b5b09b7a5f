//! Awaits inside of a budget: what its own polls do counts, whatever the thread does between them.
#![cfg(feature = "track")]

use alloc_tracker::{
    AllocTracker, Budget, InUnit, Unit, assert_budget, assert_no_alloc, in_current_unit,
};
use std::future::Future;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// What happens meanwhile is looked at: one test after the other. What the harness itself allocates
/// beside them is some dozens of blocks.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn allocate(blocks: usize) {
    for _ in 0..blocks {
        drop(black_box(vec![1u8; 64]));
    }
}

fn message<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else {
        return String::from("held");
    };
    *panic.downcast::<String>().expect("a formatted message")
}

async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn step(blocks: usize) -> usize {
    allocate(blocks);
    pause().await;
    allocate(blocks);
    2 * blocks
}

/// Polls to the end, and allocates between the polls as other tasks do.
fn block_on_among_others<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match poll(future.as_mut()) {
            Poll::Ready(value) => return value,
            Poll::Pending => allocate(1000),
        }
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_others_do_on_the_thread_between_the_polls_is_not_counted() {
    let _alone = alone();
    let counted = block_on_among_others(async {
        let mut counted = assert_budget!(allocs <= 4, step(2).await);
        counted += assert_budget!(allocs <= 9, {
            allocate(1);
            let first = step(2).await;
            let second = if first > 1 { step(1).await } else { 0 };
            allocate(2);
            first + second
        });
        assert_no_alloc!({
            pause().await;
            pause().await;
        });
        counted
    });
    assert_eq!(counted, 10);
}

#[test]
fn what_the_polls_do_is_counted_wherever_they_happen() {
    let _alone = alone();
    let mut future =
        Box::pin(async { assert_budget!(allocs <= 2, { step(1).await + step(2).await }) });
    assert!(poll(future.as_mut()).is_pending());
    let text = std::thread::spawn(move || message(|| block_on_among_others(future)))
        .join()
        .unwrap();
    assert!(
        text.contains("allocs: limit 2, actual 6, excess 4"),
        "{text}"
    );
    let noted = text.lines().nth(1).unwrap();
    assert!(noted.ends_with(": 6 allocs, 384 B"), "{text}");
}

#[test]
fn return_question_mark_and_break_keep_their_meaning_over_awaits() {
    let _alone = alone();
    async fn returns(n: usize) -> usize {
        assert_budget!(allocs <= 2, {
            if step(1).await == n {
                return n;
            }
            pause().await;
        });
        0
    }
    async fn asks(n: Option<usize>) -> Option<usize> {
        let n = assert_budget!(allocs <= 2, { n? + step(1).await });
        Some(n)
    }
    async fn breaks(blocks: usize) -> usize {
        let mut rounds = 0;
        'rounds: loop {
            rounds += 1;
            assert_budget!(allocs <= 2, {
                if step(blocks).await != 2 {
                    break 'rounds;
                }
                if rounds < 3 {
                    continue 'rounds;
                }
                break;
            });
        }
        rounds
    }
    assert_eq!(block_on_among_others(returns(2)), 2);
    assert_eq!(block_on_among_others(returns(3)), 0);
    assert_eq!(block_on_among_others(asks(None)), None);
    assert_eq!(block_on_among_others(asks(Some(1))), Some(3));
    assert_eq!(block_on_among_others(breaks(1)), 3);
    let text = message(|| block_on_among_others(breaks(2)));
    assert!(text.contains("allocs: limit 2, actual 4"), "{text}");
}

#[test]
fn awaits_of_well_known_macros_are_the_tasks_too() {
    let _alone = alone();
    let (a, b) = block_on_among_others(async {
        assert_budget!(allocs <= 6, {
            allocate(2);
            tokio::join!(step(1), step(1))
        })
    });
    assert_eq!(a + b, 4);
    let text = message(|| {
        block_on_among_others(async { assert_budget!(allocs <= 3, tokio::join!(step(1), step(1))) })
    });
    assert!(text.contains("allocs: limit 3, actual 4"), "{text}");
}

#[test]
fn budgets_nest_over_awaits() {
    let _alone = alone();
    let text = message(|| {
        block_on_among_others(async {
            assert_budget!(allocs <= 5, {
                assert_budget!(allocs <= 2, step(1).await);
                assert_budget!(allocs <= 4, async { step(2).await });
            });
        });
    });
    assert!(text.contains("allocs: limit 5, actual 6"), "{text}");
}

#[test]
fn what_is_kept_over_awaits_is_the_tasks_own() {
    let _alone = alone();
    let kept = block_on_among_others(async {
        assert_budget!(live_bytes <= 64, peak_bytes <= 128, {
            let first = black_box(vec![1u8; 64]);
            pause().await;
            drop(black_box(vec![1u8; 64]));
            first
        })
    });
    assert_eq!(kept.len(), 64);
}

#[test]
fn what_is_spawned_with_one_word_is_in_the_budget() {
    let _alone = alone();
    let text = message(|| {
        block_on_among_others(async {
            assert_budget!(allocs <= 100, {
                pause().await;
                let thread = std::thread::spawn(in_current_unit(|| allocate(1000)));
                thread.join().unwrap();
            });
        });
    });
    assert!(text.contains("allocs: limit 100, actual 10"), "{text}");
}

#[test]
fn so_it_is_in_the_budget_of_a_block_that_does_not_await() {
    let _alone = alone();
    let spawns = || std::thread::spawn(in_current_unit(|| allocate(1000)));
    let text = message(|| assert_budget!(allocs <= 200, { spawns().join().unwrap() }));
    assert!(text.contains("allocs: limit 200, actual 10"), "{text}");
    let text = message(|| {
        assert_budget!(live_bytes <= 0, {
            let kept = in_current_unit(|| Vec::<u8>::with_capacity(5000));
            std::thread::spawn(kept).join().unwrap()
        })
    });
    assert!(text.contains("live_bytes: limit 0, actual 5000"), "{text}");

    #[cfg(feature = "macros")]
    {
        #[alloc_tracker::budget(allocs = 200)]
        fn function(spawns: impl FnOnce() -> std::thread::JoinHandle<()>) {
            spawns().join().unwrap();
        }
        let text = message(|| function(spawns));
        assert!(text.contains("allocs: limit 200, actual 10"), "{text}");
    }
}

#[test]
fn what_is_spawned_is_in_every_budget_around_it_and_in_the_unit() {
    let _alone = alone();
    let spawn_twice = || {
        let inner = || drop(std::thread::spawn(in_current_unit(|| allocate(500))).join());
        // It is handed on once more there.
        drop(std::thread::spawn(in_current_unit(inner)).join());
    };
    let unit = Unit::new();
    let inside = Unit::new();
    let budget = Budget::new().allocs(100);
    let ((report, deeper), outer) = unit.run(|| {
        let of_both = || {
            Budget::new().report(|| {
                let (_, report) = budget.report(spawn_twice);
                let deeper = || {
                    inside
                        .run(|| drop(std::thread::spawn(in_current_unit(|| allocate(500))).join()))
                };
                let (_, deeper) = budget.report(deeper);
                (report, deeper)
            })
        };
        assert!(Unit::current().is_some(), "a budget hides no unit");
        of_both()
    });
    for report in [&report, &deeper] {
        let allocs = report.usage().allocs;
        assert!((500..600).contains(&allocs), "{report}");
        assert!(report.result().is_err());
        // What starts a thread, and the harness.
        assert!(report.outside().allocs < 100, "{report}");
    }
    let both = report.usage().allocs + deeper.usage().allocs;
    assert!((both..both + 50).contains(&outer.usage().allocs), "{outer}");
    assert!((500..600).contains(&inside.usage().allocs));
    // What was handed on inside of the inner one is that one's alone.
    assert!((500..600).contains(&unit.usage().allocs));
}

#[test]
fn a_task_in_a_budget_is_still_its_units() {
    let _alone = alone();
    let unit = Unit::new();
    let task = async {
        assert_budget!(allocs <= 600, {
            pause().await;
            assert!(Unit::current().is_some(), "a budget hides no unit");
            drop(std::thread::spawn(in_current_unit(|| allocate(500))).join());
        });
    };
    block_on_among_others(task.in_unit(&unit));
    assert!(unit.usage().allocs >= 500, "{}", unit.usage());
    assert!(unit.usage().allocs < 600, "{}", unit.usage());
}

#[test]
fn a_cancelled_block_is_held_to_what_it_did() {
    let _alone = alone();
    let text = message(|| {
        let mut future = Box::pin(async {
            assert_budget!(allocs <= 1, {
                allocate(3);
                pause().await;
                allocate(1000);
            });
        });
        assert!(poll(future.as_mut()).is_pending());
        drop(future);
    });
    assert!(text.contains("allocs: limit 1, actual 3"), "{text}");
}

#[test]
fn an_await_that_is_hidden_and_moves_between_threads_is_found_out() {
    let _alone = alone();
    macro_rules! hidden {
        ($future:expr) => {
            $future.await
        };
    }
    let mut future = Box::pin(async {
        assert_budget!(allocs <= 1000, {
            std::future::ready(()).await;
            hidden!(pause());
        });
    });
    assert!(poll(future.as_mut()).is_pending());
    let elsewhere = std::thread::spawn(move || message(|| block_on_among_others(future)));
    let text = elsewhere.join().unwrap();
    assert!(text.contains("assert_budget!(.., async { .. })"), "{text}");
}

#[test]
fn a_broken_budget_says_what_was_allocated_meanwhile_for_nobody() {
    let _alone = alone();
    let said = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.contains("outside of every unit"))
            .expect(text);
        assert!(about_many(figure(line)), "{text}");
    };

    said(&message(|| {
        assert_budget!(allocs <= 0, {
            allocate(1);
            std::thread::spawn(|| allocate(MANY as usize))
                .join()
                .unwrap();
        });
    }));

    // What another task does between the polls.
    said(&message(|| {
        let mut future = pin!(async {
            assert_budget!(allocs <= 0, {
                allocate(1);
                pause().await;
            });
        });
        assert!(poll(future.as_mut()).is_pending());
        allocate(MANY as usize);
        poll(future.as_mut())
    }));
}

/// Far more than what nobody here can prevent: the harness's own threads, and the traces that other
/// tests print as they panic, take some thousand blocks in the same process.
const MANY: u64 = 100_000;

fn about_many(allocs: u64) -> bool {
    (MANY..MANY + MANY / 2).contains(&allocs)
}

fn figure(line: &str) -> u64 {
    line.split_whitespace()
        .find_map(|word| word.parse().ok())
        .expect("a figure")
}

#[test]
fn the_report_of_a_budget_that_holds_says_it_too() {
    let _alone = alone();
    let budget = Budget::new().allocs(200);
    let (value, report) = budget.report(|| {
        std::thread::scope(|threads| threads.spawn(|| allocate(MANY as usize)).join().unwrap());
        7
    });
    assert_eq!((value, report.result()), (7, Ok(())));
    assert!(about_many(report.outside().allocs), "{report}");
    assert!(report.outside().bytes >= 64 * MANY, "{report}");
    assert!(
        report.to_string().contains("budget held") && report.to_string().contains("meanwhile"),
        "{report}"
    );

    let (_, report) = budget.report(|| allocate(3));
    assert_eq!(report.usage().allocs, 3, "{report}");
    assert!(report.outside().allocs < MANY / 2, "{report}");

    let mut future = pin!(budget.report_future(step(2)));
    assert!(poll(future.as_mut()).is_pending());
    allocate(MANY as usize);
    let Poll::Ready((value, report)) = poll(future.as_mut()) else {
        panic!("its second poll is its last");
    };
    assert_eq!((value, report.usage().allocs), (4, 4));
    assert!(about_many(report.outside().allocs), "{report}");

    let (_, report) = Budget::new().allocs(1).report(|| allocate(3));
    assert!(
        report.result().is_err() && report.to_string().contains("budget exceeded"),
        "{report}"
    );
}

/// A thread that was at work before, as those of a pool, and keeps what it makes: it need not look for long.
#[test]
fn what_a_pools_thread_does_for_a_unit_is_not_said_to_be_for_nobody() {
    let _alone = alone();
    let unit = Unit::new();
    let met = Barrier::new(2);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            allocate(1);
            let mut kept = Vec::with_capacity(900);
            met.wait();
            met.wait();
            unit.run(|| kept.extend((0..900).map(|_| black_box(Box::new([1u8; 64])))));
            met.wait();
            drop(kept);
        });
        met.wait();
        let (_, report) = Budget::new().allocs(200).report(|| {
            met.wait();
            met.wait();
        });
        assert!(report.outside().allocs < 500, "{report}");
    });
    assert!(unit.usage().allocs >= 900);
}

#[test]
fn what_others_do_for_a_unit_is_not_said_to_be_for_nobody() {
    let _alone = alone();
    let unit = Unit::new();
    let (_, report) = Budget::new().allocs(200).report(|| {
        std::thread::scope(|threads| {
            let work = || {
                // From its next free on, a thread is seen to work for a unit.
                allocate(1);
                unit.run(|| allocate(1000));
            };
            threads.spawn(work).join().unwrap();
        });
    });
    assert!(unit.usage().allocs >= 1000);
    assert!(report.outside().allocs < 500, "{report}");
    let (_, report) = block_on_among_others(
        Budget::new()
            .allocs(200)
            .report_future(async { step(1).in_unit(&unit).await }),
    );
    assert_eq!(report.usage().allocs, 2, "{report}");
}

#[test]
fn a_budget_in_a_destructor_that_unwinds_is_still_checked() {
    struct Checks;
    impl Drop for Checks {
        fn drop(&mut self) {
            // Where it holds it is silent; broken it would be said on standard error, for a panic
            // here would abort.
            assert_budget!(allocs <= 1, allocate(1));
        }
    }
    let text = message(|| {
        let _checks = Checks;
        std::panic::panic_any(String::from("mine"));
    });
    assert_eq!(text, "mine");
}

#[test]
#[allow(clippy::needless_return)] // leaving is what is tested
fn a_broken_budget_in_a_destructor_that_unwinds_is_said_without_an_abort() {
    const CHILD: &str = "BREAK_A_BUDGET_WHILE_UNWINDING";
    struct Breaks;
    impl Drop for Breaks {
        fn drop(&mut self) {
            // Left early: the guard checks as it is dropped.
            let breaks = || {
                assert_budget!(allocs <= 1, {
                    allocate(2);
                    if black_box(true) {
                        return;
                    }
                })
            };
            breaks();
        }
    }
    if std::env::var_os(CHILD).is_some() {
        let _breaks = Breaks;
        std::panic::panic_any("mine");
    }
    let name = "a_broken_budget_in_a_destructor_that_unwinds_is_said_without_an_abort";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(
        child.status.code(),
        Some(101),
        "failed, not aborted: {said}"
    );
    assert!(said.contains("allocs: limit 1, actual 2"), "{said}");
}

#[test]
fn a_budget_in_what_is_excluded_holds_it_all_the_same() {
    let text = message(|| {
        alloc_tracker::excluded(|| assert_budget!(allocs <= 1, allocate(2)));
    });
    assert!(text.contains("allocs: limit 1, actual 2"), "{text}");
}

#[test]
fn zeros_that_nobody_counted_are_told_from_counted_ones() {
    assert_eq!(
        Budget::new()
            .allocs(0)
            .check(&alloc_tracker::Usage::default()),
        Ok(())
    );
}

#[test]
fn a_select_is_a_statement_without_a_semicolon_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sum = runtime.block_on(async {
        assert_budget!(allocs <= 9, {
            let mut n = 0;
            loop {
                tokio::select! {
                    x = std::future::ready(1) => { n += x }
                    () = std::future::pending() => {}
                }
                if n > 3 {
                    break n;
                }
            }
        })
    });
    assert_eq!(sum, 4);
}

#[test]
#[allow(clippy::needless_return)] // leaving is what is tested
fn what_a_select_awaits_and_its_arms_do_is_the_tasks_own_also_where_an_arm_leaves() {
    let _alone = alone();
    async fn leaves(blocks: usize) -> usize {
        let chosen;
        assert_budget!(allocs <= 7, {
            tokio::select! {
                n = step(1) => {
                    allocate(n);
                    chosen = n;
                }
                () = std::future::pending() => chosen = 0,
            }
            // It allocates once between its two polls, and the other is ready first.
            tokio::select! {
                biased;
                _ = step(1) => return 0,
                Some(2) = async { Some(blocks) } => {
                    allocate(2);
                    return chosen;
                }
                else => pause().await,
            }
            pause().await;
        });
        9
    }
    assert_eq!(block_on_among_others(leaves(2)), 2);
    assert_eq!(block_on_among_others(leaves(1)), 0);
    let text = message(|| {
        block_on_among_others(async {
            assert_budget!(allocs <= 7, {
                tokio::select! {
                    n = step(2) => {
                        pause().await;
                        allocate(2 * n);
                        return;
                    }
                    () = std::future::pending() => {}
                }
            });
        });
    });
    assert!(text.contains("allocs: limit 7, actual 12"), "{text}");
}

#[test]
fn what_is_joined_is_the_tasks_own_in_whatever_order_it_is_ready() {
    let _alone = alone();
    async fn steps(n: usize) -> Result<usize, usize> {
        for _ in 0..n {
            pause().await;
            allocate(1);
        }
        if n == 2 { Err(n) } else { Ok(n) }
    }
    let text = message(|| {
        block_on_among_others(async {
            assert_budget!(allocs <= 8, {
                let all = tokio::join!(steps(1), steps(3), std::future::ready(1), steps(0));
                assert_eq!(all, (Ok(1), Ok(3), 1, Ok(0)));
                let some = tokio::try_join!(steps(1), steps(3), steps(2));
                allocate(1);
                some.err()
            })
        })
    });
    assert!(text.contains("allocs: limit 8, actual 9"), "{text}");
}

/// As of `async_stream::stream!`: a future of its own, with the tokens as they are.
macro_rules! future {
    ($($work:tt)*) => {
        Box::pin(async move { $($work)* })
    };
}

/// What is not a future to the budget.
struct Kept(Pin<Box<dyn Future<Output = usize>>>);

#[test]
fn awaits_in_a_future_that_a_macro_makes_are_the_tasks_where_it_is_awaited() {
    let _alone = alone();
    let text = message(|| {
        block_on_among_others(async {
            assert_budget!(allocs <= 3, {
                let future = future! { step(1).await + step(1).await };
                pause().await;
                future.await
            })
        })
    });
    // The box and two steps of two.
    assert!(text.contains("allocs: limit 3, actual 5"), "{text}");
    let kept = block_on_among_others(async {
        assert_budget!(allocs <= 1, {
            pause().await;
            Kept(future! { step(9).await })
        })
    });
    assert_eq!(block_on_among_others(kept.0), 18);
}

#[test]
fn a_future_that_a_macro_makes_is_found_out_where_it_is_polled_by_hand() {
    let _alone = alone();
    let text = message(|| {
        block_on_among_others(async {
            assert_budget!(allocs <= 100, {
                let mut future = future! { step(1).await };
                assert!(poll(future.as_mut()).is_pending());
                // To the budget this is what other tasks do while the future is pending.
                allocate(1000);
                future.await
            })
        })
    });
    assert!(text.contains("assert_budget!(.., async { .. })"), "{text}");
}
