//! Twins of what starts work elsewhere: the work stays in the unit that starts it.
//!
//! A unit has what is done in its spans. What a handler spawns, or hands to a pool, is in none of them, unless somebody
//! takes the span along: these do. They have the names and the signatures of what they stand for, so that one line does:
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # {
//! use telemetry::follow::{JoinSet, spawn, spawn_blocking, thread};
//!
//! # async fn render(_: u32) -> String { String::new() }
//! async fn page(parts: u32) -> String {
//!     let mut set = JoinSet::new();
//!     for part in 0..parts {
//!         set.spawn(render(part));
//!     }
//!     let index = spawn_blocking(|| "a long list".to_owned());
//!     let parts = set.join_all().await;
//!     parts.concat() + &index.await.unwrap_or_default()
//! }
//! # let _ = (page, || spawn(async {}), thread::spawn(|| ()));
//! # }
//! ```
//!
//! The work enters the span that is current where it is started, at every poll. So the unit lasts until it is done, or is
//! dropped. Without a current span it is started as it is. From the moment that a task is started or woken, to the poll for
//! that, its unit is [`queued`](wakes).
//!
//! # Cost
//!
//! A handle of the span for each piece of work, and what entering a span takes for each poll; for a task what [`wakes`]
//! takes.

pub use super::wakes::{Wakes, wakes};
use tracing::Span;

/// A closure that runs in the span that is current now, wherever it is called: for pools that have no twin here.
///
/// ```
/// let work = telemetry::follow::carry(|| 7);
/// # let pool = |work: Box<dyn FnOnce() -> i32 + Send>| std::thread::spawn(work);
/// let seven = pool(Box::new(work)).join();
/// # assert_eq!(seven.unwrap(), 7);
/// ```
pub fn carry<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = Span::current();
    move || span.in_scope(work)
}

/// Of [`std::thread`].
pub mod thread {
    use std::thread::JoinHandle;

    /// [`std::thread::spawn`], in the current span.
    ///
    /// ```
    /// let seven = telemetry::follow::thread::spawn(|| 7).join();
    /// # assert_eq!(seven.unwrap(), 7);
    /// ```
    ///
    /// # Panics
    ///
    /// As that does: if the system has no thread.
    pub fn spawn<F, T>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::thread::spawn(super::carry(work))
    }
}

#[cfg(feature = "tokio")]
pub use of_tokio::{JoinSet, spawn, spawn_blocking};

#[cfg(feature = "tokio")]
mod of_tokio {
    use super::super::wakes::woken;
    use std::fmt;
    use std::future::Future;
    use std::ops::{Deref, DerefMut};
    use tokio::task::{AbortHandle, JoinHandle};
    use tracing::Instrument;

    /// [`tokio::spawn`], in the current span.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let seven = telemetry::follow::spawn(async { 7 }).await;
    /// # assert_eq!(seven.unwrap(), 7);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As that does: outside of a runtime.
    #[track_caller]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(woken(work).in_current_span())
    }

    /// [`tokio::task::spawn_blocking`], in the current span.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let seven = telemetry::follow::spawn_blocking(|| 7).await;
    /// # assert_eq!(seven.unwrap(), 7);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As that does: outside of a runtime.
    #[track_caller]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        tokio::task::spawn_blocking(super::carry(work))
    }

    /// A [`tokio::task::JoinSet`] that starts its tasks in the span that is current then. What it does not have itself it
    /// has of that one.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mut set = telemetry::follow::JoinSet::new();
    /// for n in 0..3 {
    ///     set.spawn(async move { n });
    /// }
    /// assert_eq!(set.len(), 3);
    /// assert_eq!(set.join_all().await.into_iter().sum::<i32>(), 3);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub struct JoinSet<T>(tokio::task::JoinSet<T>);

    impl<T> JoinSet<T> {
        /// An empty one.
        pub fn new() -> Self {
            JoinSet(tokio::task::JoinSet::new())
        }
    }

    impl<T: 'static> JoinSet<T> {
        /// [`spawn`](tokio::task::JoinSet::spawn), in the current span.
        ///
        /// # Panics
        ///
        /// As that does: outside of a runtime.
        #[track_caller]
        pub fn spawn<F>(&mut self, work: F) -> AbortHandle
        where
            F: Future<Output = T> + Send + 'static,
            T: Send,
        {
            self.0.spawn(woken(work).in_current_span())
        }

        /// [`spawn_local`](tokio::task::JoinSet::spawn_local), in the current span.
        ///
        /// # Panics
        ///
        /// As that does: outside of a `LocalSet`.
        #[track_caller]
        pub fn spawn_local<F>(&mut self, work: F) -> AbortHandle
        where
            F: Future<Output = T> + 'static,
        {
            self.0.spawn_local(woken(work).in_current_span())
        }

        /// [`spawn_blocking`](tokio::task::JoinSet::spawn_blocking), in the current span.
        ///
        /// # Panics
        ///
        /// As that does: outside of a runtime.
        #[track_caller]
        pub fn spawn_blocking<F>(&mut self, work: F) -> AbortHandle
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send,
        {
            self.0.spawn_blocking(super::carry(work))
        }

        /// [`join_all`](tokio::task::JoinSet::join_all).
        ///
        /// # Panics
        ///
        /// As that does: if a task did.
        pub async fn join_all(self) -> Vec<T> {
            self.0.join_all().await
        }

        /// The set that it stands for, with its tasks.
        pub fn into_inner(self) -> tokio::task::JoinSet<T> {
            self.0
        }
    }

    impl<T> Default for JoinSet<T> {
        fn default() -> Self {
            JoinSet::new()
        }
    }

    impl<T> Deref for JoinSet<T> {
        type Target = tokio::task::JoinSet<T>;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    impl<T> DerefMut for JoinSet<T> {
        fn deref_mut(&mut self) -> &mut Self::Target {
            &mut self.0
        }
    }

    impl<T> fmt::Debug for JoinSet<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }
}
