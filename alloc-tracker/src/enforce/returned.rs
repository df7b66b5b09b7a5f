//! Values by which a budget would be evaded: a future has cost nothing yet.

use std::future::Future;
use std::marker::PhantomData;

/// The type that a function returns.
#[derive(Debug)]
pub struct Returned<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> Returned<T> {
    pub const NEW: Self = Returned(PhantomData);
}

// A method call on `&&&Returned<..>` finds what is implemented for the most references first.

/// The type is a future.
pub trait IsFuture {
    type Future: ?Sized;

    fn kind(&self) -> NamedFuture<Self::Future> {
        NamedFuture(PhantomData)
    }
}

impl<F: Future + ?Sized> IsFuture for &&Returned<F> {
    type Future = F;
}

/// A future is in it.
pub trait HoldsFuture {
    type Future: ?Sized;

    fn kind(&self) -> NamedFuture<Self::Future> {
        NamedFuture(PhantomData)
    }
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

/// The value of a budget's block, which must not be a future: for one, there are two proofs, and the
/// compiler cannot choose.
///
/// Not by a method call as above: the type of a block's value may be known later than the block.
pub trait IsNoFuture<Proof> {}

impl<T> IsNoFuture<()> for T {}

/// Stands in the compiler's message.
#[derive(Debug)]
pub struct AFutureMustBeAwaitedInsideTheBudget;

/// The same, of a future in another value.
#[derive(Debug)]
pub struct FuturesMustBeAwaitedInsideTheBudget;

impl<F: Future> IsNoFuture<AFutureMustBeAwaitedInsideTheBudget> for F {}
macro_rules! holders_of_futures {
    ($([$($generics:tt)*] $holder:ty),* $(,)?) => {
        $(
            impl<$($generics)*> HoldsFuture for &Returned<$holder> {
                type Future = F;
            }

            impl<$($generics)*> IsNoFuture<FuturesMustBeAwaitedInsideTheBudget> for $holder {}
        )*
    };
}

holders_of_futures! {
    [F: Future] Option<F>,
    [F: Future, E] Result<F, E>,
    [F: Future + ?Sized] Box<F>,
    [F: Future] Vec<F>,
    [F: Future, const N: usize] [F; N],
}

/// The value of a block that was awaited.
pub fn awaited<T: IsNoFuture<Proof>, Proof>(value: T) -> T {
    value
}
