//! How the layer turns off the call sites that it does not want without hiding them from others.
//!
//! A `Layer` that says "never" to a call site turns it off for every layer. The polite way is
//! `tracing_subscriber`'s per-layer filter, `Filtered<L, F, S>`. It has two drawbacks here: its
//! type names the subscriber `S`, which `Builder::build` cannot know; and it looks each span up in
//! the registry on every enter and exit, to learn what our own table tells us faster.
//!
//! So a `Filtered` is made when the layer meets its subscriber, kept without its type, and asked
//! only what concerns filtering: registration of call sites, and new spans and events.

use std::any::{Any, TypeId};
use tracing::Metadata;
use tracing::subscriber::{Interest as CallsiteInterest, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, LevelFilter};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use crate::layer::Tracker;
use crate::units::Interest;

/// Finds the marker of per-layer filters in a `Filtered`, as `Layer::downcast_raw` does.
type Downcast = fn(&(dyn Any + Send + Sync), TypeId) -> Option<*const ()>;

/// A `Filtered<Tracker, Interest, S>` for an `S` that was not known when it was configured.
pub(crate) struct PerLayerFilter {
    filtered: Box<dyn Any + Send + Sync>,
    downcast: Downcast,
}

impl PerLayerFilter {
    /// Registers a filter with the subscriber.
    pub(crate) fn new<S>(tracker: Tracker, interest: Interest, subscriber: &mut S) -> Self
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let mut filtered = Filtered::<Tracker, Interest, S>::new(tracker, interest);
        filtered.on_layer(subscriber);
        PerLayerFilter {
            filtered: Box::new(filtered),
            downcast: |filtered, id| {
                let filtered = filtered.downcast_ref::<Filtered<Tracker, Interest, S>>()?;
                // SAFETY: `id` is handed on from our own caller, who keeps the contract of
                // `downcast_raw`: to use the pointer only as the type that `id` names. The
                // pointer lives as long as the box, which is never replaced.
                unsafe { Layer::<S>::downcast_raw(filtered, id) }
            },
        }
    }

    /// The layer to ask, if it was made for this type of subscriber.
    pub(crate) fn layer<S>(&self) -> Option<&Filtered<Tracker, Interest, S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.filtered.downcast_ref()
    }

    pub(crate) fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        (self.downcast)(&*self.filtered, id)
    }
}

impl<S> Filter<S> for Interest {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> CallsiteInterest {
        if self.wants(metadata) {
            CallsiteInterest::always()
        } else {
            CallsiteInterest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }
}
