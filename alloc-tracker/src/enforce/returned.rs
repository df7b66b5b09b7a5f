//! Values by which a budget would be evaded: a future has cost nothing yet.

use std::array;
use std::borrow::Cow;
use std::cell::{Cell, LazyCell, OnceCell, RefCell, UnsafeCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, LinkedList, VecDeque};
use std::future::Future;
use std::iter;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::num::{Saturating, Wrapping};
use std::ops::{Bound, ControlFlow};
use std::option;
use std::pin::Pin;
use std::rc::Rc;
use std::result;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, RwLock};
use std::task::Poll;
use std::vec;

/// The type is a future, or one of the standard library's with a future in it.
///
/// `Where` tells the proofs apart: a type may have several, as a box of a future, which is one itself.
pub trait HoldsFuture<Where> {}

#[derive(Debug)]
pub struct Itself;

/// Its part of this number holds one.
#[derive(Debug)]
pub struct In<const PART: usize, Where>(PhantomData<Where>);

impl<F: Future + ?Sized> HoldsFuture<Itself> for F {}

macro_rules! holders_of_futures {
    ($($part:literal [$($generics:tt)*] $holder:ty),* $(,)?) => {
        $(impl<$($generics)*, W> HoldsFuture<In<$part, W>> for $holder {})*
    };
}

holders_of_futures! {
    0 [H: HoldsFuture<W>] Option<H>,
    0 [H: HoldsFuture<W>] Poll<H>,
    0 [H: HoldsFuture<W>, E] Result<H, E>,
    1 [T, H: HoldsFuture<W>] Result<T, H>,
    0 [H: HoldsFuture<W>, C] ControlFlow<H, C>,
    1 [B, H: HoldsFuture<W>] ControlFlow<B, H>,
    0 [H: HoldsFuture<W> + ?Sized] Box<H>,
    0 [H: HoldsFuture<W> + ?Sized] Rc<H>,
    0 [H: HoldsFuture<W> + ?Sized] Arc<H>,
    0 [H: HoldsFuture<W>] Pin<H>,
    0 [H: HoldsFuture<W> + ToOwned + ?Sized] Cow<'_, H>,
    0 [H: HoldsFuture<W>] Cell<H>,
    0 [H: HoldsFuture<W>] OnceCell<H>,
    0 [H: HoldsFuture<W>] OnceLock<H>,
    0 [H: HoldsFuture<W> + ?Sized] RefCell<H>,
    0 [H: HoldsFuture<W> + ?Sized] Mutex<H>,
    0 [H: HoldsFuture<W> + ?Sized] RwLock<H>,
    0 [H: HoldsFuture<W>] [H],
    0 [H: HoldsFuture<W>, const N: usize] [H; N],
    0 [H: HoldsFuture<W>] Vec<H>,
    0 [H: HoldsFuture<W>] VecDeque<H>,
    0 [H: HoldsFuture<W>] LinkedList<H>,
    0 [H: HoldsFuture<W>] BinaryHeap<H>,
    1 [K, H: HoldsFuture<W>] BTreeMap<K, H>,
    1 [K, H: HoldsFuture<W>, S] HashMap<K, H, S>,
    0 [H: HoldsFuture<W>, F] LazyCell<H, F>,
    0 [H: HoldsFuture<W>, F] LazyLock<H, F>,
    0 [H: HoldsFuture<W> + ?Sized] UnsafeCell<H>,
    0 [H: HoldsFuture<W> + ?Sized] ManuallyDrop<H>,
    0 [H: HoldsFuture<W>] MaybeUninit<H>,
    0 [H: HoldsFuture<W>] Wrapping<H>,
    0 [H: HoldsFuture<W>] Saturating<H>,
    0 [H: HoldsFuture<W>] Reverse<H>,
    0 [H: HoldsFuture<W>] Bound<H>,
    0 [H: HoldsFuture<W>] vec::IntoIter<H>,
    0 [H: HoldsFuture<W>] option::IntoIter<H>,
    0 [H: HoldsFuture<W>] result::IntoIter<H>,
    0 [H: HoldsFuture<W>, const N: usize] array::IntoIter<H, N>,
    0 [H: HoldsFuture<W>] iter::Once<H>,
    0 [H: HoldsFuture<W>] iter::Repeat<H>,
}

/// Tuples, up to twelve values.
macro_rules! tuples {
    ($($first:ident $($rest:ident)*)?) => {
        $(
            tuples! { [] $first $($rest)* }
            tuples! { $($rest)* }
        )?
    };
    ([$($before:ident)*]) => {};
    ([$($before:ident)*] $holder:ident $($after:ident)*) => {
        impl<$($before,)* $holder: HoldsFuture<W>, $($after,)* W>
            HoldsFuture<In<{ ["" $(, stringify!($before))*].len() }, W>>
            for ($($before,)* $holder, $($after,)*) {}
        tuples! { [$($before)* $holder] $($after)* }
    };
}

tuples! { A B C D E F G H I J K L }

/// The type that a function returns.
#[derive(Debug)]
pub struct Returned<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> Returned<T> {
    pub const NEW: Self = Returned(PhantomData);

    pub fn as_of(_: &T) -> Self {
        Self::NEW
    }
}

// A method call on `&&&Returned<..>` finds what is implemented for the most references first.

/// A future that is lent, and that its owner awaits or not, as without the function.
pub trait LendsFuture<Where> {}

impl<F: Future + ?Sized> LendsFuture<Itself> for &mut F {}
impl<F: Future + ?Sized> LendsFuture<Itself> for Pin<&mut F> {}
impl<L: LendsFuture<W>, W> LendsFuture<In<0, W>> for Option<L> {}

/// The type lends one, and `&mut` of a future is one.
pub trait IsLent<Where> {
    fn kind(&self) -> Value {
        Value
    }
}

impl<T: LendsFuture<Where> + ?Sized, Where> IsLent<Where> for &&Returned<T> {}

/// The type holds a future.
pub trait IsFuture<Where> {
    type Future: ?Sized;

    fn kind(&self) -> NamedFuture<Self::Future> {
        NamedFuture(PhantomData)
    }
}

impl<T: HoldsFuture<Where> + ?Sized, Where> IsFuture<Where> for &Returned<T> {
    type Future = T;
}

/// It is none, or may be one for some types of a generic function.
pub trait IsValue {
    fn kind(&self) -> Value {
        Value
    }
}

impl<T: ?Sized> IsValue for Returned<T> {}

#[derive(Debug)]
pub struct NamedFuture<F: ?Sized>(PhantomData<F>);

#[derive(Debug)]
pub struct Value;

/// What a budget sees to the end.
#[diagnostic::on_unimplemented(
    message = "a budget cannot follow a future whose type has a name: only making it would be measured",
    label = "this runs after the function has returned",
    note = "write an `async fn`, `-> impl Future<Output = ..>` or \
            `-> Pin<Box<dyn Future<Output = ..>>>`, which are measured to the future's end",
    note = "if making it is meant: take the attribute away, and in the body put what makes it into a \
            variable, inside of an `assert_budget!`"
)]
pub trait Measured {}

impl Measured for Value {}

pub fn measured(_kind: impl Measured) {}

/// The type of a function that returns it: so `!`, too, is one by another name.
pub trait Returning {
    type Value;
}

impl<T> Returning for fn() -> T {
    type Value = T;
}

/// Stands where nothing runs, for the type of what runs elsewhere.
pub fn never<T>() -> T {
    unreachable!("this is for the compiler")
}

/// Stands where nothing runs, for the compiler to see no way on.
pub fn ends() -> ! {
    never()
}

/// The value of a budget's block, which must not be a future: for one, there are two proofs, and the
/// compiler cannot choose.
///
/// Not by a method call as above: the type of a block's value may be known later than the block.
pub trait IsNoFuture<Proof> {}

impl<T> IsNoFuture<()> for T {}

/// Stands in the compiler's message.
#[derive(Debug)]
pub struct AFutureMustBeAwaitedInsideTheBudget<Where>(PhantomData<Where>);

impl<T: HoldsFuture<Where>, Where> IsNoFuture<AFutureMustBeAwaitedInsideTheBudget<Where>> for T {}

/// A value of this type is no future, as the second says.
#[derive(Debug)]
pub struct Valued<T, Proof>(PhantomData<(T, Proof)>);

/// Where a type is asked for and not a value.
pub trait NoFuture {
    type Value;
}

impl<T: IsNoFuture<Proof>, Proof> NoFuture for Valued<T, Proof> {
    type Value = T;
}

/// The value of a block that was awaited.
pub fn awaited<T: IsNoFuture<Proof>, Proof>(value: T) -> T {
    value
}

/// The same where nothing runs, for the type of what a function returns elsewhere.
pub fn nothing<T: IsNoFuture<Proof>, Proof>() -> T {
    never()
}
