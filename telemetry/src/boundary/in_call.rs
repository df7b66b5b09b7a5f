//! A call that lasts as long as a future.

use super::Call;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Ties calls to futures.
pub trait InCall: Future + Sized {
    /// The same future, with a call that lasts until it is done, or dropped.
    ///
    /// ```
    /// use telemetry::{InCall, call};
    ///
    /// # async fn send(_: &str) {}
    /// async fn pay(order: &str) {
    ///     send(order).in_call(call!("http.pay")).await;
    /// }
    /// # drop(pay("7"));
    /// ```
    ///
    /// # Cost
    ///
    /// That of the call; a poll costs nothing more, and nothing is allocated.
    fn in_call(self, call: Call) -> CallFuture<Self> {
        CallFuture {
            call: Some(call),
            future: self,
        }
    }
}

impl<F: Future> InCall for F {}

pin_project_lite::pin_project! {
    /// A future with a [`Call`] that lasts as long, made by [`InCall::in_call`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct CallFuture<F> {
        call: Option<Call>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for CallFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = this.future.poll(context);
        if poll.is_ready() {
            // Not only when whoever has the future drops it.
            *this.call = None;
        }
        poll
    }
}

impl<F> fmt::Debug for CallFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
