//! `#[budget]` on functions, methods, tests; sync and async.

use alloc_tracker::{AllocTracker, budget};
use std::fmt::Display;
use std::future::Future;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

const LIMIT: u64 = 1000;

fn bytes(n: usize) -> Vec<u8> {
    black_box(vec![1u8; n])
}

fn message<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else {
        return String::from("held");
    };
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

#[budget(allocs = 1, alloc_bytes = "1 KiB", peak_bytes = LIMIT + 24)]
fn plain(n: usize) -> Vec<u8> {
    bytes(n)
}

#[budget(alloc_bytes = 100)]
fn generic<T, const N: usize>(value: &T) -> String
where
    T: Display + ?Sized,
{
    let mut text = String::with_capacity(N);
    text.push_str(&value.to_string());
    text
}

#[budget(allocs = 0)]
fn early(n: usize) -> Result<usize, std::num::ParseIntError> {
    if n > 5 {
        return Ok(bytes(n).len());
    }
    let parsed: usize = "x".parse()?;
    Ok(parsed)
}

#[budget(live_bytes = 0)]
fn borrows<'a>(from: &'a mut [u8], scratch: &usize) -> &'a mut u8 {
    drop(bytes(*scratch));
    &mut from[0]
}

#[budget(allocs = 2)]
fn returns_impl(n: usize) -> impl Iterator<Item = usize> {
    let kept = bytes(n);
    (0..3).map(move |i| i + kept.len())
}

#[budget(allocs = 1)]
async fn future(n: usize) -> Result<usize, std::num::ParseIntError> {
    let a = bytes(n);
    std::future::ready(()).await;
    if n == 1 {
        return Ok(bytes(1).len());
    }
    let parsed: usize = if n == 2 { "x".parse()? } else { a.len() };
    Ok(parsed)
}

struct Shop {
    stock: Vec<u8>,
}

impl Shop {
    #[budget(allocs = 1)]
    fn by_reference(&self) -> Vec<u8> {
        self.stock.clone()
    }

    #[budget(allocs = 0)]
    pub(crate) fn by_mut(&mut self, n: u8) {
        self.stock.push(n);
    }

    #[budget(allocs = 0, frees = 1)]
    fn by_value(self) -> usize {
        self.stock.len()
    }

    #[budget(allocs = 1)]
    async fn in_future<F>(&mut self, f: F) -> &mut Vec<u8>
    where
        F: Fn() -> usize,
    {
        self.stock = bytes(f());
        &mut self.stock
    }
}

#[test]
fn what_keeps_within_its_budget_returns_its_value() {
    assert_eq!(plain(10).len(), 10);
    assert_eq!(generic::<_, 20>(&42), "42");
    assert_eq!(returns_impl(3).sum::<usize>(), 12);
    assert_eq!(*borrows(&mut [7], &100), 7);
    assert_eq!(block_on(future(3)), Ok(3));
    assert!(block_on(future(2)).is_err());
    let mut shop = Shop { stock: bytes(4) };
    assert_eq!(shop.by_reference().len(), 4);
    assert_eq!(block_on(shop.in_future(|| 6)).len(), 6);
    assert_eq!(shop.by_value(), 6);
}

#[test]
fn what_does_not_panics_after_its_body_also_where_it_returns_early() {
    assert!(message(|| plain(2000)).contains("alloc_bytes: limit 1024, actual 2000"));
    assert!(message(|| plain(1100)).contains("peak_bytes: limit 1024"));
    assert!(message(|| generic::<_, 200>("x")).contains("alloc_bytes: limit 100"));
    assert!(message(|| early(9)).contains("allocs: limit 0, actual 1"));
    assert!(message(|| early(1)).contains("held"));
    assert!(message(|| block_on(future(1))).contains("allocs: limit 1, actual 2"));
    let mut shop = Shop { stock: bytes(4) };
    let text = message(|| shop.by_mut(1));
    assert!(text.contains("allocs: limit 0"), "{text}");
    let second = text.lines().nth(1).unwrap();
    assert!(
        second.contains(file!().trim_start_matches("alloc-tracker/")),
        "{text}"
    );
    assert!(second.contains("by_mut"), "{text}");
}

#[test]
fn the_bodys_own_panic_wins() {
    #[budget(allocs = 0)]
    fn broken() {
        drop(bytes(10));
        if black_box(true) {
            std::panic::panic_any(String::from("mine"));
        }
    }
    assert_eq!(message(broken), "mine");
}

#[test]
#[budget(allocs = 1)]
fn below_test() {
    drop(bytes(10));
}

#[budget(allocs = 1)]
#[test]
fn above_test() -> Result<(), String> {
    drop(bytes(10));
    Ok(())
}

#[test]
#[should_panic(expected = "allocs: limit 0, actual 1")]
#[budget(allocs = 0)]
fn a_broken_test_fails() {
    drop(bytes(10));
}

// Two: `yield_now` makes a list of 64 bytes in the runtime, on the body's behalf.
#[budget(allocs = 2)]
#[tokio::test]
async fn above_tokio_test() {
    drop(bytes(10));
    tokio::task::yield_now().await;
}

// The runtime that `#[tokio::test]` builds allocates hundreds of blocks; they are not the body's.
#[tokio::test]
#[budget(allocs = 2)]
async fn below_tokio_test() -> Result<(), String> {
    drop(bytes(10));
    tokio::task::yield_now().await;
    Ok(())
}

#[tokio::test]
#[should_panic(expected = "allocs: limit 0, actual 1")]
#[budget(allocs = 0)]
async fn a_broken_tokio_test_fails() {
    drop(bytes(10));
}

#[alloc_tracker::budget(allocs = 0)]
fn begins_as_a_tokio_test_does() -> usize {
    let body = async { 1usize };
    drop(body);
    std::hint::black_box(vec![1u8; 1000]).len()
}

#[test]
fn a_body_that_begins_as_a_tokio_test_does_is_held_to_it() {
    assert!(std::panic::catch_unwind(begins_as_a_tokio_test_does).is_err());
}

/// Written as a runtime's attribute writes it, by hand.
#[budget(allocs = 0)]
fn a_body_of_its_own() -> usize {
    let body = async { "abc" };
    drop(std::hint::black_box(vec![0u8; 9]));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_or(0, |runtime| runtime.block_on(body).len())
}

#[test]
fn what_somebody_wrote_himself_is_no_runtimes() {
    let broken = std::panic::catch_unwind(a_body_of_its_own);
    assert!(broken.is_err());
}
