//! `stream!`, and `select!` and `join!` of both libraries, in a budget's block.

use at::assert_budget;
use futures::{FutureExt, Stream, StreamExt};
use std::future::{pending, ready, Future};
use std::hint::black_box;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::{pin, Pin};
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: at::AllocTracker = at::AllocTracker::system();

fn allocate(blocks: usize) -> usize {
    (0..blocks).map(|n| black_box(vec![0u8; n + 1]).len()).sum()
}

async fn step(blocks: usize) -> usize {
    allocate(blocks);
    let mut paused = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut paused, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
    blocks
}

/// Polls to the end, and allocates between the polls as other tasks do.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(value) => return value,
            Poll::Pending => drop(allocate(1000)),
        }
    }
}

fn message<F: Future>(work: F) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| block_on(work))) else {
        return String::from("held");
    };
    *panic.downcast::<String>().expect("a formatted message")
}

#[test]
fn a_stream_that_is_made_and_read_in_the_block_is_in_the_budget() {
    let text = message(async {
        assert_budget!(allocs <= 1, {
            let numbers = async_stream::stream! {
                yield step(1).await;
                for n in 2..4 {
                    let n = step(n).await;
                    yield n;
                }
            };
            let mut numbers = pin!(numbers);
            let mut sum = 0;
            while let Some(n) = numbers.next().await {
                sum += n;
            }
            step(sum).await
        })
    });
    assert!(text.contains("allocs: limit 1, actual 12"), "{text}");
}

#[test]
fn a_stream_that_is_read_later_costs_later() {
    fn numbers(n: usize) -> impl Stream<Item = usize> {
        assert_budget!(allocs <= 0, {
            async_stream::stream! {
                yield step(n).await;
            }
        })
    }
    let read =
        |limit| async move { assert_budget!(allocs <= limit, pin!(numbers(3)).next().await) };
    assert_eq!(block_on(read(3)), Some(3));
    assert!(message(read(2)).contains("allocs: limit 2, actual 3"));
    let boxed: Pin<Box<dyn Stream<Item = usize> + Send>> = Box::pin(numbers(2));
    assert_eq!(block_on(boxed.collect::<Vec<_>>()), [2]);
}

#[test]
fn a_stream_that_fails_is_in_the_budget() {
    let text = message(async {
        assert_budget!(allocs <= 0, {
            let numbers = async_stream::try_stream! {
                let n = step(2).await;
                yield "x".repeat(n - 2).parse::<usize>()?;
            };
            let mut numbers = pin!(numbers);
            let first: Option<Result<usize, std::num::ParseIntError>> = numbers.next().await;
            assert!(first.is_some_and(|first| first.is_err()));
        })
    });
    assert!(text.contains("allocs: limit 0, actual 2"), "{text}");
}

#[test]
fn what_futures_selects_and_joins_is_in_the_budget() {
    let text = message(async {
        assert_budget!(allocs <= 1, {
            let (a, b) = futures::join!(step(1), step(2));
            let c = futures::try_join!(async { Ok::<_, ()>(step(1).await) }, async { Ok(2) });
            let mut first = Box::pin(step(3).fuse());
            let selected = futures::select! {
                n = first => n,
                _ = pending::<()>().fuse() => 0,
            };
            a + b + c.map_or(0, |(c, d)| c + d) + selected
        })
    });
    assert!(text.contains("allocs: limit 1, actual 8"), "{text}");
    use futures::select;
    let text = message(async {
        assert_budget!(allocs <= 1, {
            let mut sum = 0;
            select! {
                n = step(3).boxed().fuse() => { let n = n + 1; sum += n }
                _ = ready(()).map(|()| ()).fuse() => {}
                complete => {}
            }
            step(sum).await
        })
    });
    assert!(text.contains("allocs: limit 1, actual 4"), "{text}");
}

#[test]
fn what_futures_selects_is_assigned_and_leaves_in_the_budget() {
    async fn selects(limit: u64, ends: usize) -> Option<usize> {
        let chosen;
        assert_budget!(allocs <= limit, {
            futures::select! {
                n = step(3).boxed().fuse() => chosen = n,
                _ = pending::<()>().fuse() => return None,
            }
            step(chosen).await;
        });
        let mut first = Box::pin(step(1).fuse());
        let mut second = Box::pin(step(2).fuse());
        let mut sum = 0;
        loop {
            assert_budget!(allocs <= limit, {
                futures::select_biased! {
                    n = first => sum += n,
                    n = second => {
                        sum += step(n).await;
                        if sum > ends {
                            return None;
                        }
                    }
                    complete => break,
                }
            });
        }
        Some(chosen + sum)
    }
    assert_eq!(block_on(selects(7, 9)), Some(6));
    assert_eq!(block_on(selects(7, 2)), None);
    assert!(message(selects(6, 9)).contains("allocs: limit 6, actual 7"));
}
