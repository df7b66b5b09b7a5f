//! The layer: from the callbacks of `tracing` to units.

use crate::core::Core;
use crate::error_field::ErrorField;
use crate::frames;
use crate::ledger::UnitDrop;
use crate::per_layer_filter::PerLayerFilter;
use crate::units::{Interest, Membership, SlotRef};
use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest as CallsiteInterest, Subscriber};
use tracing::{Event, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The layer for `tracing_subscriber::registry().with(layer)`. Made by
/// [`Builder::build`](crate::Builder::build).
///
/// It filters itself: call sites that it does not want stay off unless another layer wants them,
/// and it hides none from other layers.
pub struct TelemetryLayer {
    tracker: Tracker,
    interest: Interest,
    filter: Option<PerLayerFilter>,
}

/// What spans and events do to units. No callback panics, locks or allocates.
#[derive(Clone)]
pub(crate) struct Tracker {
    core: Arc<Core>,
}

impl TelemetryLayer {
    pub(crate) fn new(core: Arc<Core>, interest: Interest) -> Self {
        TelemetryLayer {
            tracker: Tracker { core },
            interest,
            filter: None,
        }
    }
}

impl<S> Layer<S> for TelemetryLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        let filter = PerLayerFilter::new(self.tracker.clone(), self.interest.clone(), subscriber);
        self.filter = Some(filter);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> CallsiteInterest {
        match self.filtered::<S>() {
            Some(layer) => layer.register_callsite(metadata),
            None => CallsiteInterest::always(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, cx: Context<'_, S>) -> bool {
        self.filtered::<S>()
            .is_none_or(|layer| layer.enabled(metadata, cx))
    }

    fn event_enabled(&self, event: &Event<'_>, cx: Context<'_, S>) -> bool {
        self.filtered::<S>()
            .is_none_or(|layer| layer.event_enabled(event, cx))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter.as_ref().map(|_| self.interest.max_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        match self.filtered::<S>() {
            Some(layer) => layer.on_new_span(attributes, id, cx),
            None if self.interest.wants(attributes.metadata()) => {
                Layer::<S>::on_new_span(&self.tracker, attributes, id, cx);
            }
            None => {}
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        match self.filtered::<S>() {
            Some(layer) => layer.on_event(event, cx),
            None if self.interest.wants(event.metadata()) => {
                Layer::<S>::on_event(&self.tracker, event, cx);
            }
            None => {}
        }
    }

    // The rest concerns spans that are in our own table, or not: nothing to filter.

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.tracker.record(id, values);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.tracker.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.tracker.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.tracker.close(&id);
    }

    #[allow(unsafe_code)]
    // SAFETY: the pointers come from `self`, or from the filter's own `downcast_raw`.
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        self.filter.as_ref()?.downcast_raw(id)
    }
}

impl TelemetryLayer {
    fn filtered<S>(&self) -> Option<&impl Layer<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.filter.as_ref()?.layer::<S>()
    }
}

/// The part of the callbacks that is behind the filter.
impl<S: Subscriber> Layer<S> for Tracker {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        self.new_span(attributes, id);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let unit = match event.parent() {
            Some(parent) => self.core.spans.get(parent.into_u64()).map(|m| m.slot),
            None if event.is_contextual() => frames::current_in(&self.core),
            None => None,
        };
        if let Some(slot) = unit.and_then(|unit| self.core.slots.get(unit)) {
            slot.mark_error();
        }
    }
}

impl Tracker {
    fn new_span(&self, attributes: &Attributes<'_>, id: &Id) {
        let core = &self.core;
        let parent = match attributes.parent() {
            Some(parent) => core.spans.get(parent.into_u64()).map(|m| m.slot),
            None if attributes.is_contextual() => frames::current_in(core),
            None => None,
        };
        let member = match parent {
            Some(slot) => Some(Membership {
                slot,
                is_root: false,
            }),
            None => self.begin(attributes),
        };
        let Some(member) = member else { return };
        if !core.spans.insert(id.into_u64(), member) {
            // A child without a place is no loss but for its own threads; a root is its unit.
            if member.is_root {
                core.counters.unit_dropped(UnitDrop::TooManySpans);
                if let Some(unit) = core.slots.finish(member.slot, core.clock.now()) {
                    core.kinds.get(unit.kind).end();
                }
            }
            return;
        }
        if ErrorField::in_attributes(attributes)
            && let Some(slot) = core.slots.get(member.slot)
        {
            slot.mark_error();
        }
    }

    /// Starts a unit, if the span is one.
    fn begin(&self, attributes: &Attributes<'_>) -> Option<Membership> {
        let core = &self.core;
        let kind = core.kinds.of(attributes.metadata())?;
        if core.background.is_stopping() {
            core.counters.unit_dropped(UnitDrop::ShutDown);
            return None;
        }
        let timed = frames::times_this_unit();
        let now = core.clock.now();
        let Some(slot) = core.slots.begin(kind, timed, now) else {
            core.counters.unit_dropped(UnitDrop::TooManyUnits);
            return None;
        };
        core.kinds.get(kind).begin();
        self.time(slot, now);
        Some(Membership {
            slot,
            is_root: true,
        })
    }

    fn enter(&self, id: &Id) {
        let now = self.core.clock.now();
        if let Some(member) = self.core.spans.get(id.into_u64()) {
            frames::enter(&self.core, id.into_u64(), member.slot, now);
            self.time(member.slot, now);
        }
    }

    fn exit(&self, id: &Id) {
        let now = self.core.clock.now();
        if let Some(member) = self.core.spans.get(id.into_u64()) {
            frames::exit(&self.core, id.into_u64(), now);
            self.time(member.slot, now);
        }
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(member) = self.core.spans.get(id.into_u64())
            && ErrorField::in_record(values)
            && let Some(slot) = self.core.slots.get(member.slot)
        {
            slot.mark_error();
        }
    }

    fn close(&self, id: &Id) {
        let core = &self.core;
        let Some(member) = core.spans.remove(id.into_u64()) else {
            return;
        };
        if !member.is_root {
            return;
        }
        let now = core.clock.now();
        let Some(mut unit) = core.slots.finish(member.slot, now) else {
            return;
        };
        core.kinds.get(unit.kind).end();
        if let Some(ns) = &mut unit.telemetry_ns {
            *ns += core.clock.now().saturating_sub(now);
        }
        if core.background.is_stopping() {
            core.counters.unit_dropped(UnitDrop::ShutDown);
        } else {
            frames::hand_on(core, &unit);
        }
    }

    /// Adds what telemetry itself took since `start`, if the unit is one of those that are timed.
    fn time(&self, unit: SlotRef, start: u64) {
        if let Some(slot) = self.core.slots.get(unit)
            && slot.is_timed()
        {
            slot.add_telemetry_ns(self.core.clock.now().saturating_sub(start));
        }
    }
}

impl fmt::Debug for TelemetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryLayer")
            .field("core", &self.tracker.core)
            .field("interest", &self.interest)
            .finish_non_exhaustive()
    }
}
