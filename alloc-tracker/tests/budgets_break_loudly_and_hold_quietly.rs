//! Budgets and their messages.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, Budget, Metric, assert_budget, assert_no_alloc, measure};
use std::future::Future;
use std::hint::black_box;
use std::panic::catch_unwind;
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn message(work: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(work).expect_err("the budget must break");
    *panic.downcast::<String>().expect("a formatted message")
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
    }
}

#[test]
fn a_kept_budget_returns_the_blocks_value() {
    let v = assert_budget!(allocs <= 1, alloc_bytes <= 4 * 1024, peak_bytes <= 64, {
        black_box(vec![1u8; 64])
    });
    assert_eq!(v.len(), 64);
    assert_eq!(
        assert_no_alloc!({ v.iter().map(|&b| u32::from(b)).sum::<u32>() }),
        64
    );
}

#[test]
fn a_broken_budget_names_every_metric_with_limit_actual_and_excess() {
    let text = message(|| {
        let kept: Vec<u8>;
        assert_budget!(
            allocs <= 1,
            alloc_bytes <= 100,
            frees <= 9,
            live_bytes <= 0,
            {
                kept = black_box(vec![1u8; 50]);
                drop(black_box(vec![1u8; 70]));
            }
        );
        drop(kept);
    });
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "alloc_tracker: budget exceeded: allocs: limit 1, actual 2, excess 1; \
         alloc_bytes: limit 100, actual 120, excess 20; live_bytes: limit 0, actual 50, excess 50",
        "kept limits are not listed"
    );
}

#[inline(never)]
fn many_small() -> usize {
    (0..20).map(|n| black_box(vec![n; 2]).len()).sum()
}
const MANY_SMALL: u32 = line!() - 2;

#[inline(never)]
fn one_large() -> usize {
    let text = black_box(vec![b'x'; 5000]);
    text.len()
}
const ONE_LARGE: u32 = line!() - 3;

fn at(line: u32) -> String {
    format!(
        "  at {}:{line} ",
        file!().trim_start_matches("alloc-tracker/")
    )
}

#[test]
fn the_line_that_allocated_most_is_in_the_second_line_of_the_message() {
    let both = || (many_small(), one_large());
    let by_count = message(|| {
        assert_no_alloc!({ both() });
    });
    // The other tests of this file run at the same time.
    let of_others = |line: &&str| line.contains("outside of every unit");
    let lines: Vec<&str> = by_count.lines().filter(|line| !of_others(line)).collect();
    assert!(lines[1].starts_with(&at(MANY_SMALL)), "{by_count}");
    assert!(
        lines[1].contains("many_small") && lines[1].ends_with(": 20 allocs, 160 B"),
        "{by_count}"
    );
    assert!(lines[2].starts_with(&at(ONE_LARGE)), "{by_count}");
    assert_eq!(lines.len(), 3, "{by_count}");

    let by_bytes = message(|| {
        assert_budget!(alloc_bytes <= 100, { both() });
    });
    let lines: Vec<&str> = by_bytes.lines().collect();
    assert!(lines[1].starts_with(&at(ONE_LARGE)), "{by_bytes}");
    assert!(lines[1].ends_with(": 1 alloc, 5000 B"), "{by_bytes}");

    let by_run = message(|| {
        Budget::new().allocs(1).run(both);
    });
    assert!(
        by_run.lines().nth(1).unwrap().starts_with(&at(MANY_SMALL)),
        "{by_run}"
    );

    let in_future = message(|| {
        block_on(async { assert_budget!(peak_bytes <= 1, async { both() }) });
    });
    assert!(
        in_future
            .lines()
            .nth(1)
            .unwrap()
            .starts_with(&at(ONE_LARGE)),
        "{in_future}"
    );
}

#[test]
fn what_is_grown_and_shrunk_is_noted_where_it_is_done() {
    let text = message(|| {
        assert_budget!(reallocs <= 1, {
            let mut v: Vec<u8> = Vec::with_capacity(10);
            v.push(1);
            v.reserve_exact(1000);
            black_box(&v);
            v.shrink_to_fit();
            black_box(&v);
        });
    });
    let lines = text.lines();
    assert_eq!(
        lines
            .filter(|line| !line.contains("outside of every unit"))
            .count(),
        1 + 3,
        "one line for each call: {text}"
    );
}

#[test]
fn nested_budgets_note_their_own_and_the_outer_all() {
    // What a panic prints, with RUST_BACKTRACE=1 a hundred thousand allocations, is in the budget
    // around it.
    std::panic::set_hook(Box::new(|_| {}));
    let text = message(|| {
        assert_budget!(allocs <= 20, {
            let inner = std::panic::catch_unwind(|| assert_no_alloc!({ one_large() }));
            let inner = *inner.unwrap_err().downcast::<String>().unwrap();
            assert!(inner.contains("one_large"), "{inner}");
            drop(inner);
            many_small()
        });
    });
    drop(std::panic::take_hook());
    assert!(
        text.contains("one_large") && text.contains("many_small"),
        "{text}"
    );
}

#[test]
fn leaving_the_block_early_ends_and_checks_it() {
    fn with_return() -> usize {
        assert_budget!(allocs <= 0, {
            let bytes = black_box(vec![1u8; 10]);
            if black_box(true) {
                return bytes.len();
            }
        });
        0
    }
    fn with_question_mark() -> Option<usize> {
        assert_no_alloc!({
            drop(black_box(vec![1u8; 10]));
            black_box(None::<usize>)?;
        });
        Some(0)
    }
    fn with_break() {
        loop {
            assert_no_alloc!({
                drop(black_box(vec![1u8; 10]));
                if black_box(true) {
                    break;
                }
            })
        }
    }
    for text in [
        message(|| {
            black_box(with_return());
        }),
        message(|| {
            black_box(with_question_mark());
        }),
        message(with_break),
    ] {
        assert!(text.contains("allocs: limit 0, actual 1"), "{text}");
    }
}

#[test]
fn the_work_may_be_any_expression() {
    let n = 3;
    assert_eq!(assert_no_alloc!(n + 1), 4);
    assert_eq!(assert_budget!(allocs <= 1, one_large(),), 5000);
    assert_eq!(assert_budget!(allocs <= 0, if n > 2 { 1 } else { 2 }), 1);
    assert_budget!(live_bytes <= 0, many_small());
}

#[test]
fn what_is_counted_and_not_seen_at_a_call_site_is_said() {
    let text = message(|| {
        block_on(async {
            assert_budget!(alloc_bytes <= 100, async {
                let other = std::thread::spawn(alloc_tracker::in_current_unit(one_large));
                other.join().unwrap();
            });
        });
    });
    let last = text.lines().last().unwrap();
    assert!(
        last.contains("elsewhere") && last.ends_with(" 5000 B"),
        "{text}"
    );
}

#[test]
fn a_broken_budget_leaves_nothing_behind_in_the_budget_around_it() {
    let ((), usage) = measure(|| {
        let budget = Budget::new().allocs(0);
        let (_, inner) = measure(one_large);
        drop(budget.check(&inner));
        drop(std::panic::catch_unwind(move || budget.run(one_large)));
    });
    // It once left fewer bytes than none: its message was allocated for nobody, and freed here.
    // (What is left is the panic's output, which the test harness keeps.)
    assert!(
        usage.live_bytes() >= 0 && usage.live_blocks() >= 0,
        "{usage}"
    );
}

#[test]
fn a_body_that_allocates_millions_of_times_ends() {
    let text = message(|| {
        assert_budget!(allocs <= 1, {
            for _ in 0..2_000_000 {
                black_box(Box::new(1u8));
            }
        });
    });
    assert!(text.contains("actual 2000000"), "{text}");
    // Not every stack was walked, but those that were stand for the others.
    let line = text.lines().nth(1).unwrap();
    let noted = line.rsplit(": ").next().unwrap().split(' ').next().unwrap();
    let noted: u64 = noted.parse().unwrap();
    assert!((1_990_000..=2_000_000).contains(&noted), "{text}");
}

#[test]
fn the_body_ends_before_the_panic_and_its_own_panic_wins() {
    let text = message(|| {
        assert_no_alloc!({
            drop(black_box(vec![1u8; 10]));
            if black_box(true) {
                std::panic::panic_any(String::from("the body's own"));
            }
        })
    });
    assert_eq!(text, "the body's own");
}

#[test]
fn budgets_work_in_async_code() {
    async fn work(n: usize) -> usize {
        black_box(vec![1u8; n]).len()
    }
    let future = async {
        let a = assert_budget!(allocs <= 1, { work(10).await });
        let b = assert_budget!(allocs <= 1, live_bytes <= 0, async { work(20).await });
        let n = 30;
        let c = assert_budget!(alloc_bytes <= 30, async move { work(n).await });
        a + b + c
    };
    assert_eq!(block_on(future), 60);
    let text = message(|| {
        block_on(async {
            let _: usize = assert_no_alloc!(async { work(5).await });
        });
    });
    assert!(text.contains("allocs"), "{text}");
}

#[test]
fn the_async_form_can_be_sent_to_another_thread() {
    fn send<F: Future + Send>(f: F) -> F {
        f
    }
    let future = send(async { assert_budget!(allocs <= 0, async { std::future::ready(3).await }) });
    assert_eq!(block_on(future), 3);
}

#[test]
fn check_tells_what_was_exceeded() {
    let (_, usage) = measure(|| drop(black_box(vec![1u8; 10])));
    assert_eq!(Budget::new().allocs(1).live_bytes(0).check(&usage), Ok(()));
    let error = Budget::new()
        .allocs(0)
        .reallocs(0)
        .peak_bytes(4)
        .check(&usage)
        .unwrap_err();
    let metrics: Vec<Metric> = error.excesses().iter().map(|e| e.metric).collect();
    assert_eq!(metrics, [Metric::Allocs, Metric::PeakBytes]);
    assert_eq!(
        (error.excesses()[1].limit, error.excesses()[1].actual),
        (4, 10)
    );
}

#[test]
fn of_two_limits_on_one_figure_both_hold() {
    let broken = std::panic::catch_unwind(|| {
        assert_budget!(allocs <= 0, allocs <= 5, { drop(black_box(vec![1u8; 8])) })
    });
    assert!(broken.is_err());
}

#[test]
fn a_loop_does_not_hide_its_largest_line_from_the_estimate() {
    let broken = std::panic::catch_unwind(|| {
        assert_budget!(allocs <= 10, {
            for _ in 0..20_000 {
                for _ in 0..7 {
                    drop(black_box(vec![1u8; 8])); // seven in eight
                }
                drop(black_box(vec![1u8; 9]));
            }
        })
    });
    let message = *broken.unwrap_err().downcast::<String>().unwrap();
    let first = message.lines().nth(1).unwrap();
    let figures: Vec<u64> = first
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    // 140,000 of 160,000.
    assert!((120_000..160_000).contains(&figures[0]), "{message}");
    assert!(message.ends_with("lines are estimates)"), "{message}");
}

#[test]
fn a_budget_after_many_allocations_still_says_where() {
    let broken = std::panic::catch_unwind(|| {
        assert_budget!(allocs <= 1_000_000, {
            for _ in 0..10_000 {
                drop(black_box(vec![1u8; 3]));
            }
            assert_budget!(allocs <= 0, { drop(black_box(vec![1u8; 1_000_000])) })
        })
    });
    let message = *broken.unwrap_err().downcast::<String>().unwrap();
    let first = message.lines().nth(1).unwrap();
    assert!(first.contains("1 alloc, 1000000 B"), "{message}");
}

#[test]
fn a_budget_that_breaks_in_a_destructor_during_a_panic_is_said_and_ends_nothing() {
    struct Breaks;
    impl Drop for Breaks {
        fn drop(&mut self) {
            assert_budget!(allocs <= 0, {
                drop(std::hint::black_box(vec![0u8; 9]));
            });
            let _: u32 = Budget::new().allocs(0).run(|| {
                drop(std::hint::black_box(vec![0u8; 9]));
                7
            });
        }
    }
    let caught = std::panic::catch_unwind(|| {
        let _breaks = Breaks;
        std::panic::panic_any("first");
    });
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "first");
}

#[test]
#[allow(clippy::needless_return)] // leaving is what is tested
fn a_broken_budget_panics_at_the_place_of_its_macro_however_the_block_ends() {
    static AT: std::sync::Mutex<Vec<(bool, u32)>> = std::sync::Mutex::new(Vec::new());
    fn at(work: fn()) -> u32 {
        assert!(catch_unwind(work).is_err());
        let (here, line) = AT.lock().unwrap().pop().unwrap();
        assert!(here);
        line
    }
    // In a process of its own: other tests set the hook, too.
    const CHILD: &str = "BREAK_BUDGETS_AT_LINES";
    if std::env::var_os(CHILD).is_none() {
        let name = "a_broken_budget_panics_at_the_place_of_its_macro_however_the_block_ends";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().unwrap();
        AT.lock().unwrap().push((at.file() == file!(), at.line()));
    }));
    let line = line!();
    #[rustfmt::skip] // each has its line
    let lines = [
        at(|| assert_no_alloc!(drop(black_box(vec![1u8; 9])))),
        at(|| assert_no_alloc!({ drop(black_box(vec![1u8; 9])); })),
        at(|| assert_no_alloc!({ drop(black_box(vec![1u8; 9])); if black_box(true) { return } })),
        at(|| block_on(async { assert_no_alloc!({ async {}.await; drop(black_box(vec![1u8; 9])); }) })),
        at(|| block_on(async { assert_no_alloc!({ drop(black_box(vec![1u8; 9])); async {}.await; if black_box(true) { return } }) })),
    ];
    assert_eq!(lines, [3, 4, 5, 6, 7].map(|n| line + n));
}
