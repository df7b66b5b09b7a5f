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
        assert_budget!(
            allocs <= 1,
            alloc_bytes <= 100,
            frees <= 9,
            live_bytes <= 0,
            {
                std::mem::forget(black_box(vec![1u8; 50]));
                drop(black_box(vec![1u8; 70]));
            }
        )
    });
    let words: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(words[0].join(" "), "alloc_tracker: budget exceeded");
    assert_eq!(
        words[1],
        ["allocs", "limit", "1", "actual", "2", "excess", "1"]
    );
    assert_eq!(
        words[2],
        [
            "alloc_bytes",
            "limit",
            "100",
            "actual",
            "120",
            "excess",
            "20"
        ]
    );
    assert_eq!(
        words[3],
        ["live_bytes", "limit", "0", "actual", "50", "excess", "50"]
    );
    assert_eq!(words.len(), 4, "kept limits are not listed");
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
