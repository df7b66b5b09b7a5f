//! `#[async_trait]`, `#[rstest]`, `#[instrument]`, `#[tokio::test]`, above and below, in a package that has the
//! dependency under another name.

use at::{assert_budget, budget};
use rstest::{fixture, rstest};
use std::future::Future;
use std::hint::black_box;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;

#[global_allocator]
static GLOBAL: at::AllocTracker = at::AllocTracker::system();

fn allocate(blocks: usize) -> usize {
    (0..blocks).map(|n| black_box(vec![0u8; n + 1]).len()).sum()
}

fn message<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else {
        return String::from("held");
    };
    *panic.downcast::<String>().expect("a formatted message")
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

#[async_trait::async_trait]
trait Store {
    async fn load(&self, blocks: usize) -> usize;

    #[budget(allocs = 1)]
    async fn provided(&mut self, blocks: usize) -> Result<usize, std::num::ParseIntError> {
        tokio::task::yield_now().await;
        let n: usize = "1".parse()?;
        Ok(n * self.load(blocks).await)
    }
}

struct Db;

#[async_trait::async_trait]
impl Store for Db {
    #[budget(allocs = 1)]
    async fn load(&self, blocks: usize) -> usize {
        allocate(blocks)
    }
}

#[async_trait::async_trait(?Send)]
trait Local {
    async fn load<'a>(&'a self, from: &'a [u8]) -> Option<Box<dyn std::fmt::Display + 'a>>;
}

#[async_trait::async_trait(?Send)]
impl Local for Db {
    #[budget(allocs = 1)]
    async fn load<'a>(&'a self, from: &'a [u8]) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(*from.first()?))
    }
}

#[test]
fn under_async_trait_a_future_is_held_to_its_end() {
    assert_eq!(block_on(Store::load(&Db, 1)), 1);
    let text = message(|| block_on(Store::load(&Db, 1000)));
    assert!(text.contains("allocs: limit 1, actual 1000"), "{text}");
    // The list of `yield_now` and the box of the other method's future.
    let text = message(|| block_on(Db.provided(1)));
    assert!(text.contains("allocs: limit 1, actual 3"), "{text}");
    assert!(block_on(Local::load(&Db, &[1])).is_some());
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

trait Service {
    fn call(&self, blocks: usize) -> Pin<Box<dyn Future<Output = usize> + Send + '_>>;
}

impl Service for Db {
    #[budget(allocs = 1)]
    fn call(&self, blocks: usize) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        let future: Boxed<'_, usize> = Box::pin(async move { allocate(blocks) });
        future
    }
}

#[test]
fn in_a_box_it_is_so_too() {
    assert_eq!(block_on(Db.call(0)), 0);
    let text = message(|| block_on(Db.call(1000)));
    assert!(text.contains("allocs: limit 1, actual 1001"), "{text}");
}

#[fixture]
fn thousand() -> Vec<Vec<u8>> {
    (0..1000).map(|_| vec![1]).collect()
}

#[budget(allocs = 1)]
#[rstest]
fn above_rstest_the_fixture_is_not_counted(thousand: Vec<Vec<u8>>) {
    assert_eq!((thousand.len(), allocate(1)), (1000, 1));
}

#[budget(allocs = 1)]
#[rstest]
#[case(1, "x")]
#[case(1, "y")]
fn above_rstest_of_cases(thousand: Vec<Vec<u8>>, #[case] blocks: usize, #[case] name: &str) {
    assert_eq!((thousand.len(), name.len(), allocate(blocks)), (1000, 1, 1));
}

#[budget(allocs = 1)]
#[rstest]
#[tokio::test]
async fn above_rstest_and_tokio_test(thousand: Vec<Vec<u8>>) {
    tokio::task::yield_now().await;
    assert_eq!(thousand.len(), 1000);
}

#[test]
fn below_rstest_it_is_refused() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[budget(allocs = 1)]
#[tracing::instrument]
fn above_instrument(blocks: usize) -> Option<Box<dyn std::fmt::Debug>> {
    Some(Box::new(u8::try_from(blocks).ok()?))
}

#[tracing::instrument(err)]
#[budget(allocs = 1)]
fn below_instrument(text: &str) -> Result<Box<dyn std::fmt::Debug>, std::num::ParseIntError> {
    Ok(Box::new(text.parse::<u8>()?))
}

#[tracing::instrument(skip_all)]
#[budget(allocs = 1)]
async fn below_async_instrument(
    text: &str,
) -> Result<Box<dyn std::fmt::Debug>, std::num::ParseIntError> {
    Ok(Box::new(text.parse::<u8>()?))
}

#[budget(allocs = 2)]
#[tracing::instrument(skip_all)]
async fn above_async_instrument(
    text: &str,
) -> Result<Box<dyn std::fmt::Debug>, std::num::ParseIntError> {
    tokio::task::yield_now().await;
    Ok(Box::new(text.parse::<u8>()?))
}

#[test]
fn with_instrument_all_is_as_without() {
    assert!(above_instrument(1).is_some() && below_instrument("1").is_ok());
    assert!(block_on(below_async_instrument("x")).is_err());
    assert!(block_on(above_async_instrument("1")).is_ok());
}

#[budget(allocs = 2)]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn above_tokio_test() -> Result<(), Box<dyn std::error::Error>> {
    let n: usize = "1".parse()?;
    assert_eq!(tokio::spawn(async { 1 }).await?, n);
    Ok(())
}

#[tokio::test]
#[budget(allocs = 2)]
async fn below_tokio_test() -> Result<(), Box<dyn std::error::Error>> {
    let n: usize = "1".parse()?;
    assert_eq!(
        assert_budget!(allocs <= 1, async {
            tokio::task::yield_now().await;
            n
        }),
        1
    );
    Ok(())
}

#[budget(allocs = 1, frees = 1, live_bytes = 0)]
fn tail_borrows_what_only_it_holds() -> usize {
    black_box(vec![1u8; 9]).as_slice().len()
}

#[budget(allocs = 1, frees = 1, live_bytes = 0)]
fn tail_borrows_and_is_unnamed() -> impl Copy {
    black_box(vec![1u8; 9]).as_slice().len()
}

#[test]
fn in_an_older_edition_what_the_last_expression_borrows_is_freed_inside() {
    assert_eq!(tail_borrows_what_only_it_holds(), 9);
    let _ = tail_borrows_and_is_unnamed();
    let n = assert_budget!(allocs <= 1, live_bytes <= 0, {
        black_box(vec![1u8; 9]).as_slice().len()
    });
    assert_eq!(n, 9);
    let n = assert_budget!(
        allocs <= 1,
        live_bytes <= 0,
        black_box(vec![1u8; 9]).as_slice().len()
    );
    assert_eq!(n, 9);
}
