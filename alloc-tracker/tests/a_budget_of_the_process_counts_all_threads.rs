//! One test in a program of its own: nobody else allocates.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, Budget, assert_budget};
use std::future::Future;
use std::hint::black_box;
use std::panic::catch_unwind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn allocate(blocks: usize) {
    for _ in 0..blocks {
        drop(black_box(vec![1u8; 64]));
    }
}

fn in_a_thread(blocks: usize) {
    std::thread::spawn(move || allocate(blocks)).join().unwrap();
}

fn message(work: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(work).expect_err("the budget must break");
    *panic.downcast::<String>().expect("a formatted message")
}

/// The first figure of a line.
fn figure(text: &str, line: &str) -> u64 {
    let line = text.lines().find(|known| known.contains(line));
    let words = line.expect(text).split([' ', ',']);
    words.flat_map(str::parse).next().expect(text)
}

async fn allocates_in_a_thread(blocks: usize) {
    let mut thread = Some(move || in_a_thread(blocks));
    std::future::poll_fn(|cx| match thread.take() {
        None => Poll::Ready(()),
        Some(run) => {
            run();
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn its_budget_breaks_by_what_any_thread_does() {
    // What a thread takes to start and end is some dozen blocks.
    assert_budget!(process, allocs <= 200, live_blocks <= 100, {
        in_a_thread(3)
    });
    let text = message(|| {
        assert_budget!(process, allocs <= 200, {
            allocate(1);
            in_a_thread(1000);
        });
    });
    assert!(text.contains("allocs: limit 200, actual 10"), "{text}");
    assert!((1000..1050).contains(&figure(&text, "elsewhere")), "{text}");

    let text = message(|| {
        let mut awaits = pin!(async {
            assert_budget!(process, allocs <= 200, allocates_in_a_thread(1000).await)
        });
        let mut cx = Context::from_waker(Waker::noop());
        while awaits.as_mut().poll(&mut cx).is_pending() {}
    });
    assert!(text.contains("allocs: limit 200, actual 10"), "{text}");

    // A budget that is the thread's says what it was not.
    let (_, report) = Budget::new().allocs(200).report(|| allocate(3));
    assert_eq!((report.usage().allocs, report.outside().allocs), (3, 0));
    let (_, report) = Budget::new().allocs(200).report(|| in_a_thread(1000));
    assert!(report.result().is_ok(), "{report}");
    assert!((1000..1050).contains(&report.outside().allocs), "{report}");
    assert!(
        (1000..1050).contains(&figure(&report.to_string(), "outside of every unit")),
        "{report}"
    );
}
