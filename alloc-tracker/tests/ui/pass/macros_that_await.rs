//! Macros that await what they are given, or make futures of it, or are only called like one that does.
#![deny(warnings)]
#![allow(dead_code)] // it need only compile

use alloc_tracker::{assert_budget, assert_no_alloc};
use std::future::{Future, pending, ready};
use std::pin::Pin;

async fn assigned_in_an_arm(x: u8) -> u8 {
    let (y, z);
    assert_budget!(allocs <= 9, {
        tokio::select! {
            n = ready(x) => { y = n; }
            _ = pending::<()>() => y = 1,
        }
    });
    use tokio::select;
    assert_budget!(allocs <= 9, {
        select! {
            n = ready(x) => { let n = n + 1; z = n; }
            _ = pending::<()>() => z = 1,
        }
    });
    y + z
}

async fn leaves(x: u8) -> Option<u8> {
    for _ in 0..2 {
        assert_budget!(allocs <= 9, {
            tokio::select! {
                biased;
                a = ready(1), if x > 1 => if a == 2 { break } else { continue },
                Some(b) = async { Some(x) } => return Some(b),
                c = async { None::<u8> } => { c?; }
                else => return None,
            }
        });
    }
    let (a, b) = assert_no_alloc!(tokio::join!(ready(Some(x)?), async { 1 },));
    let sum = assert_no_alloc!({
        tokio::try_join!(async { Ok::<_, ()>(1) }, async { Err::<u8, ()>(()) }).ok()?
    });
    let select = assert_no_alloc!({
        tokio::select! {
            n = async { Some(1) } => n,
            _ = async {} => None,
        }?
    });
    Some(a + b + sum.0 + select)
}

async fn of_mutable_futures() -> u8 {
    let mut first = Box::pin(ready(1));
    let second = pending::<u8>();
    tokio::pin!(second);
    assert_budget!(allocs <= 9, {
        loop {
            tokio::select! {
                n = &mut first => break n,
                n = &mut second => if n > 1 { break n },
            }
        }
    })
}

mod synchronous {
    macro_rules! join {
        ($a:expr, $b:expr) => {
            [$a, $b].join("")
        };
    }

    macro_rules! try_join {
        ($a:literal, $b:literal) => {
            concat!($a, $b)
        };
    }

    fn called_as_one_that_awaits(a: &str) -> Option<usize> {
        let a = alloc_tracker::assert_budget!(allocs <= 1, { join!(a, a.get(1..)?) });
        let b = alloc_tracker::assert_budget!(allocs <= 1, { try_join!("a", "b") });
        Some(a.len() + b.len())
    }
}

macro_rules! future {
    ($($work:tt)*) => {
        Box::pin(async move { $($work)* })
    };
}

macro_rules! borrowing_future {
    ($($work:tt)*) => {
        Box::pin(async { $($work)* })
    };
}

macro_rules! in_place {
    ($value:expr) => {
        $value
    };
}

async fn futures_of_macros() -> u8 {
    assert_budget!(allocs <= 99, {
        let n = in_place!(ready(1).await);
        let first = future! { ready(n).await };
        let second = borrowing_future! { ready(n).await };
        let boxed: Pin<Box<dyn Future<Output = u8> + Send>> = borrowing_future! { ready(1).await };
        let spawned = tokio::spawn(future! { ready(1).await; });
        spawned.await.unwrap();
        first.await + second.await + boxed.await
    })
}

struct Made(Pin<Box<dyn Future<Output = u8> + Send>>);

fn kept_beyond_the_budget() -> Made {
    assert_budget!(allocs <= 1, { Made(future! { ready(1).await }) })
}

/// As the library's macro of that name takes its arms.
mod futures {
    macro_rules! select {
        ($name:pat = $future:expr => $then:expr, complete => $end:expr $(,)?) => {
            match Some($future.await) {
                Some($name) => $then,
                None => $end,
            }
        };
    }
    pub(crate) use select;
}

async fn handlers_assign_and_leave(list: &[u8]) -> Option<u8> {
    let (y, z);
    assert_budget!(allocs <= 9, {
        futures::select! {
            n = ready(1u8) => y = n,
            complete => return None,
        }
        z = futures::select! {
            (n, _) = ready((Some(y), 2)) => n?,
            complete => return None,
        };
    });
    let mut sum = 0;
    for n in list {
        assert_budget!(allocs <= 9, {
            futures::select! {
                n = ready(n) => match ready(*n).await { 0 => break, n => sum += n },
                complete => continue,
            }
        });
    }
    Some(y + z + sum)
}

fn main() {}
