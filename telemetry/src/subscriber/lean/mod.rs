//! A subscriber that has only telemetry's own spans go past the subscriber that it wraps: lean ones.
//!
//! * [`span`]: one of them, as a record; [`thread`]: what the thread that makes one does.
//! * [`callbacks`]: who hears of what; [`observer`]: what telemetry does then.

mod callbacks;
mod observer;
mod span;
mod thread;

#[cfg(test)]
pub(crate) use span::HeldParent;
pub(crate) use span::{LeanEnd, LeanRef, LeanSpan, LeanStart};

use crate::subscriber::filter;
use crate::subscriber::layer::TelemetryLayer;
use crate::subscriber::observer::Observer;
use alloc_tracker::raw::{Own, for_a_tool};
use std::fmt;
use std::sync::atomic::AtomicBool;
use tracing::subscriber::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

/// Wraps a subscriber with a [`TelemetryLayer`], and makes the spans that only telemetry wants *lean*:
/// telemetry has them at once, and they bypass the `Registry` and the other layers.
///
/// ```
/// use telemetry::{Lean, Telemetry};
/// use tracing_subscriber::prelude::*;
///
/// let (layer, telemetry) = Telemetry::builder().build()?;
/// let guard = Lean::new(tracing_subscriber::registry().with(layer)).set_default();
///
/// tracing::info_span!("order").in_scope(|| { /* lean */ });
/// # drop(guard);
/// assert_eq!(telemetry.snapshot().unit("order").unwrap().count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With other layers, each with its filter, and all of them inside:
///
/// ```text
/// Lean::new(registry().with(fmt::layer().with_filter(LevelFilter::WARN)).with(layer)).init();
/// ```
///
/// # What is lean
///
/// A span of a call site that telemetry wants, and that every other layer says *never* to, by a filter
/// of its own (`with_filter`; one that is reloaded is fine). Some layers want all spans, and nothing is
/// lean beside them: one without a filter, one that is `None`, one in a `reload::Layer`, one whose
/// `EnvFilter` has `[span{field}]` directives and so decides anew each time, a second telemetry. Nor is
/// anything lean if the telemetry layer itself is in a filter. Of the spans in progress, half of
/// [`max_spans_in_progress`](crate::Builder::max_spans_in_progress) at most. What is not lean is as
/// it is without `Lean`.
///
/// Events that only telemetry wants go to telemetry alone, too.
///
/// # What it changes
///
/// Nothing of what telemetry counts, keeps and writes, but for two things. What the `Registry` itself allocates when it
/// makes room may fall into another unit. What other layers allocate, and how long they take, while they are told of spans
/// and events is in no unit, if there is one telemetry alone. Other layers are shown the same spans and events, with
/// the same visible spans around them, as under the `Registry` alone: `fmt`, OpenTelemetry and random
/// programs are tested for it. What differs:
///
/// * A span that others want may be made with a lean span as its *explicit* parent (`parent: &lean`).
///   They are then told the innermost span around the lean one that they see. Without `Lean`, a layer
///   such as OpenTelemetry finds nothing by the id of a span that it does not want, and begins a new
///   trace.
/// * If a lean span is entered on another thread than the span around it, that one is what others find as
///   the current one while they hear of a span that is made inside; without `Lean` they find none.
/// * Code that looks a lean span up in the `Registry` by its id finds one that is hidden from all layers,
///   as without `Lean`; but its metadata may be those of another lean span, and it has no parent.
/// * A lean span whose guard was forgotten, or dropped on another thread, may be over sooner: without
///   `Lean`, a span that others see inside it keeps it. What its thread makes then is in no span.
/// * The id of a lean span that has ended may soon be that of a new one. To use the handle of an ended
///   span is a mistake for which the `Registry` panics; here it may be another span's.
/// * It has no `LookupSpan`, so that most layers cannot be put on top of it. One that can is not told of
///   the close of lean spans, and one that is a filter hides spans from telemetry, as always.
///
/// Without a [`TelemetryLayer`], or without a `Registry` below, all calls go through as they are.
///
/// # Cost
///
/// No allocation per span when warm, and no lock. A span inside a unit costs a third of what the
/// `Registry` takes for it, a unit with all its figures twice that, without what the `Registry` would
/// take; `docs/performance.md` and `benches/record/` have the figures. Spans that others want cost what they did, the time to find
/// out that they are not lean, and that to keep apart what others allocate.
pub struct Lean<S> {
    inner: S,
    ours: Option<Own<Ours>>,
}

/// What the wrapper knows of the telemetry layer inside.
struct Ours {
    observer: Observer,
    interest: filter::Interest,
    /// By call site: nobody but telemetry wants it.
    ours_alone: Box<[AtomicBool]>,
}

impl<S> Lean<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    /// Wraps a subscriber in which there is a [`TelemetryLayer`].
    pub fn new(subscriber: S) -> Self {
        let dynamic = &subscriber as &dyn Subscriber;
        let layer = dynamic.downcast_ref::<TelemetryLayer>();
        let ours = layer.filter(|_| dynamic.is::<Registry>()).map(|layer| {
            for_a_tool(|| {
                let (observer, interest) = layer.parts();
                Own::new(Ours {
                    ours_alone: observer.instance().callsites.table(),
                    observer,
                    interest,
                })
            })
        });
        Lean {
            inner: subscriber,
            ours,
        }
    }

    /// The subscriber inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: fmt::Debug> fmt::Debug for Lean<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lean")
            .field("inner", &self.inner)
            .field("telemetry", &self.ours.is_some())
            .finish()
    }
}
