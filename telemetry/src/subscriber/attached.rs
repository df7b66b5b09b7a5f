//! Where the layer is, and what it is not shown there: spans that a filter of all layers hides.

use super::CallSite;
use crate::tool::panics::caught;
use alloc_tracker::raw::{Lock, for_the_program};
use std::cell::Cell;
use std::sync::OnceLock;
use tracing::Dispatch;
use tracing::dispatcher::WeakDispatch;

/// The subscriber that the layer is part of, once that is in use.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    dispatch: OnceLock<WeakDispatch>,
    /// Call sites of spans that telemetry wants and that it was not asked about so far.
    fresh: Lock<Vec<CallSite>>,
}

thread_local! {
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Call sites that wait to be asked about. Programs have fewer of spans; past that, nothing is said of them.
const MOST_FRESH: usize = 4096;

impl Attached {
    /// The layer is part of this one. True: it was in none before.
    pub(super) fn set(&self, dispatch: &Dispatch) -> bool {
        self.dispatch.set(dispatch.downgrade()).is_ok()
    }

    /// A call site of spans is registered that telemetry wants.
    pub(super) fn registered(&self, site: CallSite) {
        // What it is asked, the subscriber asks its layers.
        if IS_ASKING.get() {
            return;
        }
        let mut fresh = self.fresh.lock();
        let is_new = || {
            !fresh
                .iter()
                .rev()
                .any(|other| other.address() == site.address())
        };
        if fresh.len() < MOST_FRESH && is_new() {
            fresh.push(site);
        }
    }

    /// Asks the subscriber about call sites of spans that came since this was last called, and that `are_asked_about`:
    /// `tell` is called with each, and whether it shows it to nobody. On telemetry's own thread.
    ///
    /// It is asked as whenever another subscriber is made or a filter changes.
    pub(crate) fn ask(
        &self,
        are_asked_about: impl Fn(CallSite) -> bool,
        mut tell: impl FnMut(CallSite, bool),
    ) {
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        let fresh = std::mem::take(&mut *self.fresh.lock());
        for site in fresh.into_iter().filter(|site| are_asked_about(*site)) {
            IS_ASKING.set(true);
            let interest =
                for_the_program(|| caught(|| dispatch.register_callsite(site.metadata())));
            IS_ASKING.set(false);
            if let Some(interest) = interest {
                tell(site, interest.is_never());
            }
        }
        for_the_program(|| drop(dispatch));
    }
}
