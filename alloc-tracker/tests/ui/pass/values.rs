//! Values that are no futures are not taken for any, and their types are found out as they are without a budget.
#![deny(warnings)]
#![allow(dead_code)] // it need only compile

use alloc_tracker::{assert_budget, assert_no_alloc, budget};
use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::future::{Future, Ready, ready};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;

struct List(u8, Option<Box<List>>);

struct Holder<F>(F);

type Twelve = (u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, String);

fn inferred_later() -> (HashMap<u8, Vec<u8>>, Option<u64>, [f32; 2]) {
    let mut map = assert_no_alloc!({ HashMap::new() });
    let mut list = assert_no_alloc!(Vec::new());
    let none = assert_no_alloc!(None);
    let floats = assert_no_alloc!([1.0, 2.0]);
    list.push(1);
    map.insert(1, list);
    (map, none, floats)
}

fn numbers() -> u64 {
    let (a, b) = assert_no_alloc!((1, Some(2)));
    let c = assert_no_alloc!(Poll::Ready((
        Ok::<_, ()>(3),
        ControlFlow::<(), _>::Continue([4; 2])
    )));
    let Poll::Ready((Ok(c), ControlFlow::Continue([d, _]))) = c else {
        return 0;
    };
    a + b.unwrap_or(1) + c + d
}

fn own_types() -> (List, Rc<RefCell<List>>) {
    assert_budget!(allocs <= 9, {
        (
            List(1, Some(Box::new(List(2, None)))),
            Rc::new(RefCell::new(List(3, None))),
        )
    })
}

fn generic<T, F: Future + Clone>(value: T, future: &F) -> (Option<T>, Holder<F>) {
    assert_no_alloc!((Some(value), Holder(future.clone())))
}

fn of_everything<'a>(
    text: &'a str,
) -> (
    Cow<'a, str>,
    Arc<Mutex<dyn Debug>>,
    Box<dyn Any>,
    Pin<Box<[u8]>>,
) {
    assert_budget!(
        allocs <= 9,
        (
            text.into(),
            Arc::new(Mutex::new(1)),
            Box::new(1),
            Box::pin([1])
        )
    )
}

#[budget(allocs = 9)]
fn of_a_function<T: Clone + Debug>(
    value: &T,
) -> Result<BTreeMap<u8, VecDeque<(T, Twelve)>>, Box<T>> {
    Err(Box::new(value.clone()))
}

#[budget(allocs = 9)]
async fn with_attributes(
    #[expect(unused_variables)] a: u8,
    #[allow(unused_mut)] mut b: u8,
    #[cfg(any())] c: u8,
    #[cfg(not(any()))] (d, ..): (u8, u8),
    #[cfg(any())] _: u8,
) -> u8 {
    b + d
}

#[budget(allocs = 9)]
fn lends_a_future(list: &mut [Ready<u8>]) -> Option<&mut Ready<u8>> {
    list.first_mut()
}

#[budget(allocs = 9)]
fn lends_what_is_pinned<F: Future>(future: &mut Pin<Box<F>>) -> Pin<&mut F> {
    future.as_mut()
}

#[budget(allocs = 9)]
fn makes_futures(n: u8) -> impl Fn() -> Ready<u8> {
    move || ready(n)
}

#[budget(allocs = 9)]
async fn unnamed_of_a_future(n: u8) -> Result<(impl Debug, u8), impl Debug> {
    if n == 1 { Err(1) } else { Ok(("text", n)) }
}

trait NotAFuture {
    #[budget(allocs = 9)]
    fn unnamed(&self) -> impl Iterator<Item = &u8> {
        [].iter()
    }
}

impl NotAFuture for Vec<u8> {
    #[budget(allocs = 9)]
    fn unnamed(&self) -> impl Iterator<Item = &u8> {
        self.iter()
    }
}

#[budget(allocs = 9)]
fn not_by_its_name() -> impl NotAFuture {
    vec![1]
}

#[budget(allocs = 9)]
fn unnamed_and_recursive(n: u8) -> impl Debug {
    if n == 0 {
        return String::new();
    }
    format!("{:?}", unnamed_and_recursive(n - 1))
}

/// What the value borrows lives on, as that of a block does.
fn borrows_a_temporary() -> usize {
    let text = assert_budget!(allocs <= 1, &String::from("a"));
    let list = assert_budget!(allocs <= 1, { &vec![text.len()] });
    list.len()
}

/// What they take is known from what is around.
fn closures<'a>(list: &'a [u8], texts: &'a [&'a str]) -> (usize, impl Iterator<Item = &'a str>) {
    let sum = list.iter().map(assert_no_alloc!(|n| *n as usize)).sum();
    let offset = 1;
    let from = texts.iter().map(assert_no_alloc!({ move |text| &text[offset..] }));
    (sum, from)
}

fn main() {}
