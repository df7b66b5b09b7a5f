//! The layer, and how it turns off the call sites that it does not want without hiding them from
//! others.
//!
//! A `Layer` that says "never" to a call site turns it off for every layer. The polite way is
//! `tracing_subscriber`'s per-layer filter, `Filtered<L, F, S>`. It has two drawbacks here: its
//! type names the subscriber `S`, which `Builder::build` cannot know; and it looks each span up in
//! the registry on every enter and exit, to learn what our own table tells us faster.
//!
//! So a `Filtered` is made when the layer meets its subscriber, kept without its type, and asked
//! only what concerns filtering: registration of call sites, and new spans and events.

use crate::instance::Instance;
use crate::subscriber::filter::Interest;
use crate::subscriber::observer::Observer;
use alloc_tracker::raw::{Own, for_a_tool};
use std::any::{Any, TypeId};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest as CallsiteInterest, Subscriber};
use tracing::{Dispatch, Event, Metadata};
use tracing_subscriber::filter::{Filtered, LevelFilter};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The layer for `tracing_subscriber::registry().with(layer)`. Made by
/// [`Builder::build`](crate::Builder::build).
///
/// It filters itself: call sites that it does not want stay off unless another layer wants them,
/// and it hides none from other layers. As with every layer that does, the subscriber below must
/// support per-layer filters: write `registry().with(fmt::layer()).with(layer)`, not
/// `fmt().finish().with(layer)`, which panics.
///
/// A filter that stands in the stack as a layer of its own, such as
/// `registry().with(EnvFilter::from_default_env())`, hides spans from *every* layer, this one too.
/// Filter the output instead: `fmt::layer().with_filter(EnvFilter::from_default_env())`.
///
/// ```
/// use telemetry::Telemetry;
/// use tracing_subscriber::prelude::*;
///
/// let (layer, telemetry) = Telemetry::builder().build()?;
/// tracing_subscriber::registry().with(layer).init();
/// # drop(telemetry);
/// # Ok::<(), telemetry::BuildError>(())
/// ```
pub struct TelemetryLayer(Own<Parts>);

struct Parts {
    observer: Observer,
    interest: Interest,
    filter: SelfFilter,
    /// [`Lean`](crate::Lean) around it enters and leaves spans for it, outside of what it excludes.
    leaves_entries: AtomicBool,
}

impl TelemetryLayer {
    pub(crate) fn new(instance: Arc<Instance>, interest: Interest) -> Self {
        let observer = Observer::new(instance);
        TelemetryLayer(Own::new(Parts {
            filter: SelfFilter::template(observer.clone(), OwnFilter::of(&observer, &interest)),
            observer,
            interest,
            leaves_entries: AtomicBool::new(false),
        }))
    }

    /// What [`Lean`](crate::Lean) goes by. From here on it [hears of entries](hear_of_entry), and does itself what there is
    /// to do about them and about exits.
    pub(crate) fn parts(&self) -> (Observer, Interest) {
        self.0.leaves_entries.store(true, Relaxed);
        (self.0.observer.clone(), self.0.interest.clone())
    }
}

impl<S> Layer<S> for TelemetryLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        let parts = &mut *self.0;
        for_a_tool(|| {
            let filter = OwnFilter::of(&parts.observer, &parts.interest);
            parts.filter = SelfFilter::registered(parts.observer.clone(), filter, subscriber);
        });
    }

    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let instance = self.0.observer.instance();
        if for_a_tool(|| instance.attached.set(dispatch)) {
            // Where nothing ever happens, that is to be said.
            instance.background.something_happened();
        }
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> CallsiteInterest {
        let parts = &self.0;
        if metadata.is_span() {
            let instance = parts.observer.instance();
            match parts.interest.wants(metadata) {
                // Others may hide it from us.
                true => for_a_tool(|| instance.attached.registered(metadata.into())),
                false => instance.passes_by(metadata.into()),
            }
        }
        match parts.filter.layer::<S>() {
            Some(layer) => layer.register_callsite(metadata),
            None => CallsiteInterest::always(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, cx: Context<'_, S>) -> bool {
        let filter = self.0.filter.layer::<S>();
        filter.is_none_or(|layer| layer.enabled(metadata, cx))
    }

    // `event_enabled` is left as it is, always true: what the filter wants, it wants whatever the
    // event's fields say. PERF: asking it took 3 ns an event.

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let registered = self.0.filter.layer::<S>().is_some();
        registered.then(|| self.0.interest.max_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let wanted = self.0.interest.wants(attributes.metadata());
        match self.0.filter.layer::<S>() {
            // Also if it is not wanted: `Filtered` keeps a state per thread.
            Some(layer) => layer.on_new_span(attributes, id, cx.clone()),
            None if wanted => self.0.observer.on_new_span(attributes, id, cx.clone()),
            None => {}
        }
        if !wanted {
            let is_root = || attributes.is_root() || cx.lookup_current().is_none();
            self.0.observer.follow(attributes, id, is_root);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        match self.0.filter.layer::<S>() {
            Some(layer) => layer.on_event(event, cx),
            None if self.0.interest.wants(event.metadata()) => self.0.observer.on_event(event, cx),
            None => {}
        }
    }

    // The rest concerns spans that are in our own table, or not: nothing to filter.

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        self.0.observer.record(id, values, || cx.metadata(id));
    }

    fn on_enter(&self, id: &Id, cx: Context<'_, S>) {
        if self.0.leaves_entries.load(Relaxed) {
            return hear(id);
        }
        (self.0.observer).enter(id, |span| cx.exists(&Id::from_u64(span)));
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        if !self.0.leaves_entries.load(Relaxed) {
            self.0.observer.exit(id);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.observer.close(&id);
    }

    // SAFETY: the pointers come from `self`, or from the `downcast_raw` of a `Filtered` that lives
    // in `self`.
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        self.0.filter.downcast_raw(id)
    }
}

/// A `Filtered<Observer, OwnFilter, S>` for an `S` that is not known where it is kept.
struct SelfFilter {
    filtered: Box<dyn Any + Send + Sync>,
    is_registered: bool,
    downcast: Downcast,
}

/// Finds the marker of per-layer filters in a `Filtered`, as `Layer::downcast_raw` does.
type Downcast = fn(&(dyn Any + Send + Sync), TypeId) -> Option<*const ()>;

impl SelfFilter {
    /// Before there is a subscriber: says that this layer will filter itself, which the layers
    /// that it is combined with ask at once.
    fn template(observer: Observer, filter: OwnFilter) -> Self {
        Self::new::<Registry>(Filtered::new(observer, filter), false)
    }

    fn registered<S>(observer: Observer, filter: OwnFilter, subscriber: &mut S) -> Self
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let mut filtered = Filtered::<Observer, OwnFilter, S>::new(observer, filter);
        filtered.on_layer(subscriber);
        Self::new(filtered, true)
    }

    fn new<S>(filtered: Filtered<Observer, OwnFilter, S>, is_registered: bool) -> Self
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        SelfFilter {
            filtered: Box::new(filtered),
            is_registered,
            downcast: |filtered, id| {
                let filtered = filtered.downcast_ref::<Filtered<Observer, OwnFilter, S>>()?;
                // SAFETY: `id` is handed on from our own caller, who keeps the contract of
                // `downcast_raw`: to use the pointer only as the type that `id` names, and no
                // longer than the layer.
                unsafe { Layer::<S>::downcast_raw(filtered, id) }
            },
        }
    }

    /// The layer to ask, once it is registered with a subscriber of this type.
    fn layer<S>(&self) -> Option<&Filtered<Observer, OwnFilter, S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.filtered.downcast_ref().filter(|_| self.is_registered)
    }

    fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        (self.downcast)(&*self.filtered, id)
    }
}

/// The filter of an instance's layer.
#[derive(Clone, Debug)]
struct OwnFilter {
    instance: usize,
    interest: Interest,
}

thread_local! {
    /// The span of whose entry the layer inside of a `Lean` was told last; 0: none.
    static HEARD: Cell<u64> = const { Cell::new(0) };
}

/// PERF: apart, so that the layer alone keeps nothing for it.
#[cold]
fn hear(id: &Id) {
    HEARD.set(id.into_u64());
}

/// Whether the layer is told that this span is entered, while this runs: a filter around the layer may hide it.
#[inline]
pub(crate) fn hear_of_entry(id: &Id, enter: impl FnOnce()) -> bool {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            HEARD.set(self.0);
        }
    }
    // Another layer may enter spans of its own meanwhile, and one may panic.
    let _restore = Restore(HEARD.replace(0));
    enter();
    HEARD.get() == id.into_u64()
}

thread_local! {
    /// The instance whose filter lets nothing pass on this thread, plus one; 0: none.
    static MUTED: Cell<usize> = const { Cell::new(0) };
}

/// While this runs, the filter of this instance lets nothing pass on this thread: what the subscriber
/// then says, it says for the others.
pub(crate) fn mute<T>(instance: usize, ask: impl FnOnce() -> T) -> T {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            MUTED.set(self.0);
        }
    }
    let _restore = Restore(MUTED.replace(instance + 1));
    ask()
}

impl OwnFilter {
    fn of(observer: &Observer, interest: &Interest) -> Self {
        OwnFilter {
            instance: observer.instance().id,
            interest: interest.clone(),
        }
    }

    fn lets_pass(&self, metadata: &Metadata<'_>) -> bool {
        self.interest.wants(metadata) && MUTED.get() != self.instance + 1
    }
}

impl<S> Filter<S> for OwnFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.lets_pass(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> CallsiteInterest {
        // Another instance follows spans that it does not want itself: it is asked what it has to see.
        let follows = metadata.is_span() && ![0, self.instance + 1].contains(&MUTED.get());
        if self.lets_pass(metadata) || follows {
            CallsiteInterest::always()
        } else {
            CallsiteInterest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.interest.max_level())
    }
}

impl fmt::Debug for TelemetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryLayer")
            .field("instance", self.0.observer.instance())
            .field("interest", &self.0.interest)
            .finish_non_exhaustive()
    }
}
