//! Awaits in `assert_budget!`, wherever they stand.
#![deny(warnings)]
#![allow(dead_code)] // it need only compile

use alloc_tracker::{assert_budget, assert_no_alloc};
use std::future::{Future, IntoFuture, ready};
use std::pin::Pin;

async fn one() -> u8 {
    1
}

struct Made;

impl IntoFuture for Made {
    type Output = u8;
    type IntoFuture = std::future::Ready<u8>;

    fn into_future(self) -> Self::IntoFuture {
        ready(2)
    }
}

struct Held {
    future: Pin<Box<dyn Future<Output = u8> + Send>>,
}

async fn awaits(
    held: Held,
    mut boxed: Pin<Box<dyn Future<Output = u8> + Send>>,
    generic: impl Future<Output = Result<u8, ()>> + Send,
) -> Result<u8, ()> {
    let mut sum = assert_budget!(allocs <= 0, one().await + Made.await);
    let kept;
    assert_budget!(allocs <= 0, {
        sum += held.future.await;
        sum += (&mut boxed).await;
        kept = generic.await?;
    });
    sum += kept;
    for _ in 0..3 {
        assert_no_alloc!({
            if one().await == 2 {
                continue;
            }
            match one().await {
                0 => return Err(()),
                n if n > 1 => break,
                n => sum += n,
            }
        });
    }
    sum += assert_no_alloc!({
        let later = async || one().await;
        let closure = |n: u8| async move { n + one().await };
        async fn nested() -> u8 {
            one().await
        }
        let (a, b) = tokio::join!(nested(), one());
        assert_eq!(one().await, 1);
        let chosen = tokio::select! {
            n = one() => n,
            _ = std::future::pending::<()>() => 0,
        };
        a + b + later().await + closure(1).await + chosen + async { one().await }.await
    });
    let list: Vec<Option<Box<dyn Fn() -> u8>>> =
        assert_budget!(allocs <= 9, vec![Some(Box::new(|| 1)), None]);
    drop(list);
    assert_budget!(allocs <= 2, alloc_bytes <= 99, async move { Ok(sum) })
}

fn sends<F: Future + Send>(future: F) -> F {
    future
}

fn inferred() {
    let inferred = assert_budget!(allocs <= 9, { [1].iter().sum() });
    let sum: u32 = inferred;
    let parsed = assert_budget!(allocs <= 9, "1".parse().unwrap_or_default());
    drop(sends(async move {
        let known_later: [u32; 2] = [sum, parsed];
        drop(Vec::from(known_later));
        let held = Held {
            future: Box::pin(one()),
        };
        assert_no_alloc!({
            std::future::ready(()).await;
        });
        assert!(awaits_may_be_sent().await);
        drop(held);
    }));
    drop(awaits(
        Held {
            future: Box::pin(one()),
        },
        Box::pin(one()),
        async { Ok(1) },
    ));
}

async fn awaits_may_be_sent() -> bool {
    assert_budget!(process, allocs <= 3, { one().await == 1 })
}

fn main() {}
