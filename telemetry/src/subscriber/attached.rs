//! Where the layer is, and what it is not shown there: spans that a filter of all layers hides.

use super::CallSite;
use alloc_tracker::raw::for_the_program;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tracing::Dispatch;
use tracing::dispatcher::WeakDispatch;

/// The subscriber that the layer is part of, once that is in use.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    dispatch: OnceLock<WeakDispatch>,
    /// How many call sites there were when it was last asked.
    asked: AtomicUsize,
}

impl Attached {
    /// The layer is part of this one. True: it was in none before.
    pub(super) fn set(&self, dispatch: &Dispatch) -> bool {
        self.dispatch.set(dispatch.downgrade()).is_ok()
    }

    /// Asks the subscriber about call sites of spans, if there are more than when it was last asked, `count` in all:
    /// `hidden` is called with those that it shows to nobody. Not in a callback of its own.
    ///
    /// It is asked as whenever another subscriber is made or a filter changes.
    pub(crate) fn ask<Sites: Iterator<Item = CallSite>>(
        &self,
        count: usize,
        sites: impl FnOnce() -> Sites,
        mut hidden: impl FnMut(CallSite),
    ) {
        if self.asked.swap(count, Relaxed) == count {
            return;
        }
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        for site in sites().filter(|site| site.metadata().is_span()) {
            let interest = for_the_program(|| dispatch.register_callsite(site.metadata()));
            if interest.is_never() {
                hidden(site);
            }
        }
        for_the_program(|| drop(dispatch));
    }
}
