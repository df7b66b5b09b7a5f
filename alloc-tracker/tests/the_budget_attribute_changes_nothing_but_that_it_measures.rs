//! Whatever compiles under `#[tokio::test]` or `#[tracing::instrument]` does so under `#[budget]`, with the
//! lints that a careful user forbids: a table of functions, each run inside its budget and beyond it.
#![forbid(
    unused_mut,
    unused_variables,
    unused_braces,
    unused_parens,
    unused_must_use,
    unused_qualifications,
    unused_imports,
    unreachable_code,
    unreachable_patterns,
    unsafe_op_in_unsafe_fn,
    missing_docs,
    let_underscore_drop,
    single_use_lifetimes,
    trivial_casts,
    unit_bindings,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::let_unit_value,
    clippy::redundant_closure_call,
    clippy::needless_return,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::shadow_unrelated,
    clippy::shadow_reuse,
    clippy::let_underscore_must_use,
    clippy::semicolon_inside_block,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_assert_message,
    clippy::infinite_loop,
    clippy::empty_loop,
    clippy::diverging_sub_expression
)]

use alloc_tracker::{AllocTracker, budget};
use std::any::type_name_of_val;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hint::black_box;
use std::num::ParseIntError;
use std::panic::{
    AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind,
};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// One allocation.
fn bytes(n: usize) -> Vec<u8> {
    black_box(vec![1; n])
}

fn block_on<F: Future>(future: F) -> F::Output {
    // In a box: `pin!` of later compilers expects a lint that is forbidden here.
    let mut pinned = Box::pin(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = pinned.as_mut().poll(&mut cx) {
            return value;
        }
    }
}

/// Pending once.
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

// Coerced in the tail.

#[budget(allocs = 1)]
fn t01_option(x: u16) -> Option<Box<dyn Display>> {
    Some(Box::new(x))
}

#[budget(allocs = 0)]
fn t02_result() -> Result<Box<dyn std::io::Write>, Box<dyn std::error::Error>> {
    Ok(Box::new(std::io::sink()))
}

#[budget(allocs = 1)]
fn t03_if(x: bool) -> Box<dyn Iterator<Item = u32>> {
    if x {
        Box::new(0..3)
    } else {
        Box::new(std::iter::empty())
    }
}

#[budget(allocs = 1)]
fn t04_match(x: u8) -> Box<dyn Fn(&str) -> usize> {
    match x {
        0 => Box::new(str::len),
        n => Box::new(move |s| s.len() + usize::from(n)),
    }
}

#[budget(allocs = 0)]
fn t05_slice(x: bool) -> &'static [u8] {
    if x { &[1, 2, 3] } else { b"xy" }
}

#[budget(allocs = 0)]
fn t06_function_pointer(x: bool) -> fn(i32) -> i32 {
    if x { |n| n + 1 } else { i32::abs }
}

#[budget(allocs = 3)]
fn t07_list() -> Vec<Box<dyn Display>> {
    vec![Box::new(1u8), Box::new("x")]
}

#[budget(allocs = 1)]
fn t08_early(x: Option<u8>) -> Option<Rc<dyn Debug>> {
    let n = x?;
    if n > 9 {
        return Some(Rc::new("large"));
    }
    Some(Rc::new(n))
}

#[budget(allocs = 0)]
fn t09_reborrow<'a>(map: &'a mut [String], name: &str) -> Option<&'a mut String> {
    map.iter_mut().find(|known| *known == name)
}

#[budget(allocs = 1)]
fn t10_cow(text: &str) -> Cow<'_, str> {
    if text.contains(' ') {
        Cow::Owned(text.replace(' ', "_"))
    } else {
        text.into()
    }
}

#[budget(allocs = 0)]
fn t11_inferred_from_the_result() -> u64 {
    [1u8, 2].iter().map(|&n| u64::from(n)).sum()
}

#[budget(allocs = 0)]
fn t12_parsed(text: &str) -> Result<u32, ParseIntError> {
    text.trim().parse()
}

// Generic, borrowed, unnamed.

#[budget(allocs = 0)]
fn t13_generic<T, const N: usize>(values: [T; N]) -> [T; N]
where
    T: Copy + PartialOrd,
{
    values
}

#[budget(allocs = 1)]
fn t14_impl_argument(value: impl Display, list: &[impl Debug]) -> String {
    let mut text = String::with_capacity(64);
    std::fmt::Write::write_fmt(&mut text, format_args!("{value} {list:?}")).ok();
    text
}

#[budget(allocs = 0)]
fn t15_impl_iterator<'a>(list: &'a [u32], more: &'a u32) -> impl Iterator<Item = u32> + 'a {
    list.iter().map(move |n| n + *more)
}

#[budget(allocs = 0)]
fn t16_closure() -> impl Fn(&str) -> &str {
    |text| text.trim()
}

#[budget(allocs = 1)]
fn t17_nested_impl(x: bool) -> Result<Box<impl Debug>, Box<dyn Display>> {
    if x {
        return Err(Box::new("no"));
    }
    Ok(Box::new(3u8))
}

#[budget(allocs = 0)]
fn t17_unnamed_in_a_tuple(list: &[u32]) -> (impl Iterator<Item = &u32>, [u8; 2]) {
    (list.iter(), [1, 2])
}

#[budget(allocs = 1)]
fn t17_makes_futures(n: u8) -> impl Fn() -> Pin<Box<dyn Future<Output = u8>>> {
    move || Box::pin(std::future::ready(n))
}

#[budget(allocs = 0)]
fn t18_where<F>(f: F) -> u32
where
    F: Fn() -> u32,
{
    f()
}

#[budget(allocs = 0)]
fn t19_where_without_value<F>(mut f: F)
where
    F: FnMut() -> u32,
{
    f();
}

#[budget(allocs = 0)]
fn t20_patterns((a, b): (u8, u8), [first, ..]: [u8; 3], mut sum: u8) -> u8 {
    sum += a + b + first;
    sum
}

#[budget(allocs = 0)]
fn t21_tail_borrows_a_local() -> usize {
    let cell = RefCell::new(3);
    *cell.borrow()
}

#[budget(allocs = 1, live_bytes = 0)]
fn t22_tail_borrows_what_only_it_holds() -> usize {
    bytes(9).iter().filter(|&&n| n < 2).count()
}

// Ends otherwise.

#[budget(allocs = 0)]
fn t23_never(value: String) -> ! {
    resume_unwind(Box::new(value))
}

#[budget(allocs = 0)]
fn t24_ends_by_return(x: bool) -> Option<u8> {
    if x {
        return None;
    }
    loop {
        if black_box(true) {
            break Some(1);
        }
    }
}

#[budget(allocs = 0)]
fn t25_labelled(list: &[u8]) -> u8 {
    let mut rounds = 0;
    'outer: loop {
        for &n in list {
            if n > 1 {
                break 'outer n;
            }
        }
        rounds += 1;
        if rounds > 1 {
            return 0;
        }
    }
}

#[budget(allocs = 20)]
fn t26_recursive(n: usize) -> usize {
    if n == 0 {
        0
    } else {
        bytes(1).len() + t26_recursive(n - 1)
    }
}

#[budget(allocs = 0)]
#[track_caller]
fn t27_track_caller() -> &'static Location<'static> {
    Location::caller()
}

/// With a comment.
#[must_use]
#[inline]
#[budget(allocs = 0)]
#[doc(alias = "documented")]
fn t28_attributes() -> u8 {
    #![allow(unused_results)] // a user's own: it must survive the attribute
    const fn nested() -> u8 {
        1
    }
    nested()
}

/// # Safety
///
/// None is asked for.
#[budget(allocs = 0)]
unsafe extern "C" fn t29_unsafe(n: u32) -> u32 {
    n + 1
}

// Methods.

trait Shape {
    #[budget(allocs = 1)]
    fn t30_default(&self) -> Box<dyn Shape>
    where
        Self: Sized + Clone + 'static,
    {
        Box::new(self.clone())
    }

    fn size(&self) -> usize;
}

#[derive(Clone)]
struct Square<'a, T: Clone> {
    name: &'a str,
    side: T,
}

impl<'a, T: Clone + Into<usize>> Square<'a, T> {
    #[budget(allocs = 0)]
    fn t31_borrowed(&self) -> &'a str {
        self.name
    }

    #[budget(allocs = 0)]
    fn t32_shared(self: Arc<Self>) -> (Self, usize)
    where
        Self: Sized,
    {
        let count = Arc::strong_count(&self);
        (Self::clone(&self), count)
    }

    #[budget(allocs = 0)]
    fn t33_mutable(&mut self) -> &mut T {
        &mut self.side
    }

    #[budget(allocs = 1)]
    async fn t34_future(&mut self, n: usize) -> &mut Self {
        pause().await;
        drop(bytes(n));
        self
    }
}

impl<T: Clone + Into<usize>> Shape for Square<'_, T> {
    #[budget(allocs = 0)]
    fn size(&self) -> usize {
        self.side.clone().into()
    }
}

// Futures.

#[budget(allocs = 1)]
async fn t35_async_coerces(n: u16) -> Option<Box<dyn Display>> {
    pause().await;
    Some(Box::new(n))
}

#[budget(allocs = 1)]
async fn t36_async_question(
    text: &str,
) -> Result<Box<dyn Debug>, Box<dyn std::error::Error + Send + Sync>> {
    let n: u8 = text.parse()?;
    pause().await;
    if n > 9 {
        return Err("large".into());
    }
    Ok(Box::new(n))
}

#[budget(allocs = 0)]
async fn t37_async_never(value: String) -> ! {
    pause().await;
    resume_unwind(Box::new(value))
}

#[budget(allocs = 1)]
async fn t38_async_impl(n: usize) -> Result<impl AsRef<[u8]>, ParseIntError> {
    pause().await;
    Ok(bytes(n))
}

#[budget(allocs = 2)]
fn t39_boxed<'a>(list: &'a mut Vec<u8>) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
    if list.is_empty() {
        return Box::pin(std::future::ready(0));
    }
    Box::pin(async move {
        pause().await;
        list.extend(bytes(3));
        list.len()
    })
}

#[budget(allocs = 1)]
fn t40_impl_future(list: &[u8]) -> impl Future<Output = usize> + Send + use<'_> {
    let len = list.len();
    async move {
        pause().await;
        bytes(len).len()
    }
}

#[budget(allocs = 1)]
fn t41_boxed_like_async<'a, T: Sync>(
    list: &'a [T],
) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
    Box::pin(async move {
        pause().await;
        bytes(list.len()).len()
    })
}

#[budget(allocs = 1)]
async fn t42_async_unit(n: usize) {
    pause().await;
    if n > 9 {
        return;
    }
    drop(bytes(n));
}

#[budget(allocs = 0)]
async fn t43_async_reads_through(list: &[String], (at, _): (usize, u8)) -> Option<&str> {
    pause().await;
    list.get(at).map(String::as_str)
}

#[budget(allocs = 2)]
async fn t44_async_recursive(n: usize) -> usize {
    if n == 0 {
        0
    } else {
        1 + Box::pin(t44_async_recursive(n - 1)).await
    }
}

// Out of macros.

macro_rules! made {
    ($(#[$meta:meta])* $visible:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $returns:ty
        [$limit:expr, $size:literal] $body:block) => {
        $(#[$meta])*
        #[budget(allocs = $limit, alloc_bytes = $size)]
        $visible fn $name($($arg: $ty),*) -> $returns $body
    };
}

made! {
    /// Made.
    #[inline]
    #[must_use]
    pub fn t45_by_macro(n: u16) -> Option<Box<dyn Display>> [1 + 1, "1 KiB"] {
        Some(Box::new(n))
    }
}

macro_rules! item {
    ($item:item) => {
        #[budget(allocs = 1)]
        $item
    };
}

item! {
    fn t46_item_by_macro(x: bool) -> Box<dyn Display> {
        if x { Box::new(1u8) } else { Box::new("x") }
    }
}

made! {
    fn t47_future_by_macro() -> Pin<Box<dyn Future<Output = usize>>> [2, "1 KiB"] {
        let first = bytes(1);
        Box::pin(async move { first.len() })
    }
}

fn held<T>(work: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

fn broken<T>(work: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(_) => String::from("held"),
        Err(panic) => panic
            .downcast::<String>()
            .map_or_else(|_| String::new(), |text| *text),
    }
}

#[test]
fn each_synchronous_function_does_what_it_does_without() {
    assert_eq!(
        t01_option(7).map(|x| x.to_string()).as_deref(),
        Some("7"),
        "01"
    );
    assert!(
        t02_result().is_ok_and(|mut to| to.write_all(b"x").is_ok()),
        "02"
    );
    assert_eq!((t03_if(true).count(), t03_if(false).count()), (3, 0), "03");
    assert_eq!((t04_match(0)("ab"), t04_match(1)("ab")), (2, 3), "04");
    assert_eq!(
        (t05_slice(true).len(), t05_slice(false).len()),
        (3, 2),
        "05"
    );
    assert_eq!(
        (
            t06_function_pointer(true)(1),
            t06_function_pointer(false)(-1)
        ),
        (2, 1),
        "06"
    );
    assert_eq!(t07_list().len(), 2, "07");
    assert!(
        t08_early(None).is_none() && t08_early(Some(1)).is_some() && t08_early(Some(10)).is_some(),
        "08"
    );
    let mut names = [String::from("a"), String::from("b")];
    assert_eq!(
        t09_reborrow(&mut names, "b").map(|name| name.len()),
        Some(1),
        "09"
    );
    assert_eq!((t10_cow("a b").len(), t10_cow("ab").len()), (3, 2), "10");
    assert_eq!(t11_inferred_from_the_result(), 3, "11");
    assert_eq!(t12_parsed(" 12 "), Ok(12), "12");
    assert_eq!(t13_generic([1, 2]), [1, 2], "13");
    assert_eq!(t14_impl_argument("x", &[1]), "x [1]", "14");
    assert_eq!(t15_impl_iterator(&[1, 2], &1).sum::<u32>(), 5, "15");
    assert_eq!(t16_closure()(" x "), "x", "16");
    assert!(
        t17_nested_impl(false).is_ok() && t17_nested_impl(true).is_err(),
        "17"
    );
    assert_eq!(t17_unnamed_in_a_tuple(&[1, 2]).0.count(), 2, "17");
    assert_eq!(block_on(t17_makes_futures(3)()), 3, "17");
    assert_eq!(t18_where(|| 3), 3, "18");
    t19_where_without_value(|| 3);
    assert_eq!(t20_patterns((1, 2), [3, 4, 5], 6), 12, "20");
    assert_eq!(t21_tail_borrows_a_local(), 3, "21");
    assert_eq!(held(t22_tail_borrows_what_only_it_holds), 9, "22");
    assert_eq!(broken(|| t23_never(String::from("mine"))), "mine", "23");
    assert_eq!(
        (t24_ends_by_return(true), t24_ends_by_return(false)),
        (None, Some(1)),
        "24"
    );
    assert_eq!((t25_labelled(&[1, 2]), t25_labelled(&[])), (2, 0), "25");
    assert_eq!(t26_recursive(20), 20, "26");
    let line = line!() + 1;
    assert_eq!(t27_track_caller().line(), line, "27");
    assert_eq!(t28_attributes(), 1, "28");
    // SAFETY: it asks for nothing.
    assert_eq!(unsafe { t29_unsafe(1) }, 2, "29");
    let mut square = Square {
        name: "s",
        side: 3u8,
    };
    assert_eq!(square.t30_default().size(), 3, "30");
    assert_eq!(square.t31_borrowed(), "s", "31");
    assert_eq!(Arc::new(square.clone()).t32_shared().1, 1, "32");
    *square.t33_mutable() = 4;
    assert_eq!(square.size(), 4, "33");
    assert_eq!(
        t45_by_macro(7).map(|x| x.to_string()).as_deref(),
        Some("7"),
        "45"
    );
    assert_eq!(t46_item_by_macro(false).to_string(), "x", "46");
    assert!(
        type_name_of_val(&t16_closure()).contains("t16_closure"),
        "not another closure"
    );
}

#[test]
fn each_future_does_what_it_does_without() {
    let mut square = Square {
        name: "s",
        side: 3u8,
    };
    assert_eq!(block_on(square.t34_future(5)).side, 3, "34");
    assert_eq!(
        block_on(t35_async_coerces(7))
            .map(|x| x.to_string())
            .as_deref(),
        Some("7"),
        "35"
    );
    assert!(
        block_on(t36_async_question("1")).is_ok() && block_on(t36_async_question("x")).is_err(),
        "36"
    );
    assert_eq!(
        broken(|| block_on(t37_async_never(String::from("mine")))),
        "mine",
        "37"
    );
    assert_eq!(
        block_on(t38_async_impl(3)).map(|b| b.as_ref().len()),
        Ok(3),
        "38"
    );
    assert_eq!(block_on(t39_boxed(&mut Vec::new())), 0, "39");
    let mut list = Vec::with_capacity(9);
    list.push(1);
    assert_eq!(block_on(t39_boxed(&mut list)), 4, "39");
    assert_eq!(block_on(t40_impl_future(&[1, 2])), 2, "40");
    assert_eq!(block_on(t41_boxed_like_async(&[1, 2])), 2, "41");
    block_on(t42_async_unit(3));
    assert_eq!(
        block_on(t43_async_reads_through(&[String::from("x")], (0, 1))),
        Some("x"),
        "43"
    );
    assert_eq!(block_on(t44_async_recursive(2)), 2, "44");
    assert_eq!(block_on(t47_future_by_macro()), 1, "47");
}

#[test]
fn a_future_is_held_to_its_budget_to_its_end() {
    #[budget(allocs = 1)]
    fn boxed() -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async {
            pause().await;
            (0..1000).for_each(|_| drop(bytes(1)));
        })
    }
    #[budget(allocs = 2)]
    fn boxed_after_some_work(early: bool) -> Pin<Box<dyn Future<Output = ()>>> {
        if early {
            return Box::pin(async { (0..1000).for_each(|_| drop(bytes(1))) });
        }
        let first = bytes(1);
        Box::pin(async move {
            pause().await;
            drop(first);
            (0..1000).for_each(|_| drop(bytes(1)));
        })
    }
    #[budget(allocs = 1)]
    fn unnamed(work: usize) -> impl Future<Output = usize> {
        let made = bytes(1);
        async move {
            pause().await;
            made.len() + (0..work).map(|_| bytes(1).len()).sum::<usize>()
        }
    }
    assert!(
        broken(|| block_on(boxed())).contains("allocs: limit 1, actual 1000"),
        "boxed"
    );
    let early = broken(|| block_on(boxed_after_some_work(true)));
    assert!(early.contains("allocs: limit 2, actual 1001"), "{early}");
    let late = broken(|| block_on(boxed_after_some_work(false)));
    assert!(late.contains("allocs: limit 2, actual 1002"), "{late}");
    assert_eq!(block_on(unnamed(0)), 1, "making it counts, and is within");
    let text = broken(|| block_on(unnamed(10)));
    assert!(text.contains("allocs: limit 1, actual 11"), "{text}");
}

type Log = Arc<Mutex<Vec<&'static str>>>;

fn note(log: &Log, name: &'static str) {
    if let Ok(mut names) = log.lock() {
        names.push(name);
    }
}

/// Says when it is dropped.
struct Noted(&'static str, Log);

impl Drop for Noted {
    fn drop(&mut self) {
        note(&self.1, self.0);
    }
}

struct Owner(Noted);

/// The same functions twice, so that the one says what the other must do.
macro_rules! twice {
    ($($(#[$meta:meta])* fn $with:ident / $without:ident $signature:tt ($($returns:tt)*) $body:block)*) => {
        $(
            twice! { @ [$(#[$meta])* #[budget(allocs = 99)]] $with $signature ($($returns)*) $body }
            twice! { @ [$(#[$meta])*] $without $signature ($($returns)*) $body }
        )*
    };
    (@ [$($attributes:tt)*] $name:ident ($($parameters:tt)*) (async $($returns:tt)*) $body:block) => {
        $($attributes)*
        async fn $name($($parameters)*) $($returns)* $body
    };
    (@ [$($attributes:tt)*] $name:ident ($($parameters:tt)*) ($($returns:tt)*) $body:block) => {
        $($attributes)*
        fn $name($($parameters)*) $($returns)* $body
    };
}

impl Owner {
    twice! {
        fn of_self / of_self_without(self, b: Noted) (async -> usize) {
            let _local = Noted("local", Arc::clone(&b.1));
            self.0.0.len()
        }
        fn of_unused_self / of_unused_self_without(self, b: Noted) (async -> usize) {
            pause().await;
            b.0.len()
        }
        fn makes_of_self / makes_of_self_without(self, b: Noted) (-> impl Future<Output = usize>) {
            std::future::ready(b.0.len())
        }
    }
}

twice! {
    fn names / names_without(a: Noted, b: Noted) (async -> usize) {
        let _c = Noted("c", Arc::clone(&a.1));
        b.0.len()
    }
    fn unused / unused_without(a: Noted, _: Noted, _b: Noted) (async -> usize) {
        let _c = Noted("c", Arc::clone(&a.1));
        pause().await;
        a.0.len()
    }
    fn patterns / patterns_without(
        (a, _, b): (Noted, Noted, Noted), mut c: Noted, Owner(Noted(name, ..)): &Owner,
        _last: Noted,
    ) (async -> usize) {
        c.0 = name;
        let _local = Noted("local", Arc::clone(&a.1));
        drop(b);
        name.len()
    }
    fn never_polled_again / never_polled_again_without(a: Noted, b: Noted, _c: Noted) (async -> usize) {
        let _local = Noted("local", Arc::clone(&b.1));
        std::future::pending::<()>().await;
        a.0.len()
    }
    fn makes / makes_without(a: Noted, _b: Noted, _: Noted) (-> impl Future<Output = usize> + use<>) {
        let log = Arc::clone(&a.1);
        async move {
            note(&log, "run");
            1
        }
    }
    fn makes_boxed / makes_boxed_without(
        a: Noted, (_, b): (Noted, Noted), mut c: Noted
    ) (-> Pin<Box<dyn Future<Output = usize>>>) {
        let log = Arc::clone(&a.1);
        if b.0 == "return" {
            return Box::pin(async { 1 });
        }
        c.0 = "changed";
        Box::pin(async move {
            note(&log, "run");
            c.0.len()
        })
    }
    #[track_caller]
    fn makes_for_its_caller / makes_for_its_caller_without(a: Noted, _b: Noted) (-> impl Future<Output = usize>) {
        let line = Location::caller().line() as usize;
        std::future::ready(line + a.0.len())
    }
}

#[test]
fn arguments_are_dropped_as_without_it() {
    static OWNER: std::sync::OnceLock<Owner> = std::sync::OnceLock::new();
    fn dropped<F: Future<Output = usize>>(
        work: impl FnOnce(&dyn Fn(&'static str) -> Noted) -> F,
    ) -> (Vec<&'static str>, usize) {
        let log = Log::default();
        let mut future = Box::pin(work(&|name| Noted(name, Arc::clone(&log))));
        let mut cx = Context::from_waker(Waker::noop());
        let polls = (0..3).find_map(|_| match future.as_mut().poll(&mut cx) {
            Poll::Ready(n) => Some(n),
            Poll::Pending => None,
        });
        note(&log, "end");
        drop(future);
        let names = log
            .lock()
            .map_or_else(|_| Vec::new(), |names| names.clone());
        (names, polls.unwrap_or(99))
    }
    macro_rules! same {
        ($d:ident, $($with:ident / $without:ident ($($argument:expr),*)),*) => {
            $(assert_eq!(
                dropped(|$d| $with($($argument),*)),
                dropped(|$d| $without($($argument),*)),
                stringify!($with)
            );)*
        };
    }
    assert_eq!(
        dropped(|d| names(d("a"), d("b"))).0,
        ["c", "b", "a", "end"],
        "names"
    );
    let log = Log::default();
    let owner = OWNER.get_or_init(|| Owner(Noted("owner", log)));
    same!(
        d,
        names / names_without(d("a"), d("b")),
        unused / unused_without(d("a"), d("_"), d("_b")),
        patterns / patterns_without((d("a"), d("_"), d("b")), d("c"), owner, d("last")),
        never_polled_again / never_polled_again_without(d("a"), d("b"), d("_c")),
        makes / makes_without(d("a"), d("_b"), d("_")),
        makes_boxed / makes_boxed_without(d("a"), (d("_"), d("b")), d("c")),
        makes_boxed / makes_boxed_without(d("a"), (d("_"), d("return")), d("c")),
        makes_for_its_caller / makes_for_its_caller_without(d("a"), d("b"))
    );
    for (with, without) in [
        (
            dropped(|d| Owner(d("self")).of_self(d("b"))),
            dropped(|d| Owner(d("self")).of_self_without(d("b"))),
        ),
        (
            dropped(|d| Owner(d("self")).of_unused_self(d("b"))),
            dropped(|d| Owner(d("self")).of_unused_self_without(d("b"))),
        ),
        (
            dropped(|d| Owner(d("self")).makes_of_self(d("b"))),
            dropped(|d| Owner(d("self")).makes_of_self_without(d("b"))),
        ),
    ] {
        assert_eq!(with, without, "self");
    }
}

#[test]
fn what_makes_a_future_knows_its_caller() {
    #[budget(allocs = 0)]
    #[track_caller]
    fn unnamed() -> impl Future<Output = &'static Location<'static>> {
        std::future::ready(Location::caller())
    }
    #[track_caller]
    #[budget(allocs = 9)]
    fn boxed() -> Pin<Box<dyn Future<Output = &'static Location<'static>>>> {
        let caller = Location::caller();
        Box::pin(async move { caller })
    }
    let line = line!() + 1;
    let callers = (block_on(unnamed()).line(), block_on(boxed()).line());
    assert_eq!(callers, (line, line), "of the function");
}

#[test]
fn a_future_stays_one_that_can_be_sent() {
    const fn sent<T: Send>(value: T) -> T {
        value
    }
    assert_eq!(
        block_on(sent(t43_async_reads_through(&[], (0, 1)))),
        None,
        "async fn"
    );
    assert_eq!(block_on(sent(t40_impl_future(&[1]))), 1, "impl Future");
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build();
    let done = built
        .map(|runtime| runtime.block_on(async { tokio::spawn(t42_async_unit(3)).await.is_ok() }));
    assert!(done.is_ok_and(|sent| sent), "spawned");
}

#[test]
fn a_future_stays_one_that_a_panic_may_be_caught_around() {
    type Safe = Pin<Box<dyn Future<Output = u8> + Send + UnwindSafe + RefUnwindSafe>>;
    #[budget(allocs = 1)]
    async fn of_async(n: u8) -> u8 {
        std::future::ready(n).await
    }
    #[budget(allocs = 1)]
    fn unnamed(n: u8) -> impl Future<Output = u8> + UnwindSafe + RefUnwindSafe {
        std::future::ready(n)
    }
    #[budget(allocs = 1)]
    fn boxed(
        n: u8,
    ) -> Pin<Box<dyn Future<Output = u8> + Send + UnwindSafe + RefUnwindSafe + 'static>> {
        let ready = std::future::ready(n);
        Box::pin(ready)
    }
    async fn of_a_block(n: u8) -> u8 {
        alloc_tracker::assert_budget!(allocs <= 1, {
            std::future::ready(n).await;
            n
        })
    }
    const fn caught<T: UnwindSafe + RefUnwindSafe>(value: T) -> T {
        value
    }
    assert_eq!(block_on(caught(of_async(1))), 1, "async fn");
    assert_eq!(block_on(caught(unnamed(1))), 1, "impl Future");
    assert_eq!(block_on(caught(of_a_block(1))), 1, "a block");
    let safe: Safe = boxed(1);
    assert_eq!(block_on(safe), 1, "boxed");
}

#[test]
fn what_is_cancelled_is_held_to_what_it_did() {
    #[budget(allocs = 1)]
    async fn never_ends() {
        (0..10).for_each(|_| drop(bytes(1)));
        std::future::pending().await
    }
    let text = broken(|| {
        let mut future = Box::pin(never_ends());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending(), "it never ends");
        drop(future);
    });
    assert!(text.contains("allocs: limit 1, actual 10"), "{text}");
    drop(never_ends());
}
