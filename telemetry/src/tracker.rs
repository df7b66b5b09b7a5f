//! From spans and events to units.

use crate::core::Core;
use crate::error_field::ErrorField;
use crate::frames;
use crate::ledger::UnitDrop;
use crate::units::{KindId, Membership};
use std::sync::Arc;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What the callbacks of the layer do. None panics. None locks or allocates, but for the first
/// unit of a call site and of a thread.
#[derive(Clone)]
pub(crate) struct Tracker {
    core: Arc<Core>,
}

/// The callbacks behind the filter: for spans and events that we asked for.
impl<S> Layer<S> for Tracker
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        if frames::is_silent() {
            return;
        }
        let inside = self.of_parent(attributes);
        let member = inside.or_else(|| self.outside_of_units(attributes, id, &cx));
        if let Some(member) = member {
            self.add(attributes, id, member);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        if frames::is_silent() {
            return;
        }
        let explicit = event.parent();
        let unit = match explicit {
            Some(parent) => self.core.spans.get(parent.into_u64()).map(|m| m.slot),
            None if event.is_contextual() => frames::current_in(&self.core).map(|m| m.slot),
            None => None,
        };
        // Between the event and its unit there may be spans that are not ours to follow.
        let unit = unit.or_else(|| {
            let mut scope = cx.event_scope(event)?;
            scope.find_map(|span| Some(self.core.spans.get(span.id().into_u64())?.slot))
        });
        if let Some(slot) = unit.and_then(|unit| self.core.slots.get(unit)) {
            slot.mark_error();
        }
    }
}

impl Tracker {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Tracker { core }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// A span that we did not ask for exists because another layer did: if it is inside a unit, so
    /// is what happens in it.
    pub(crate) fn follow(&self, attributes: &Attributes<'_>, id: &Id) {
        if let Some(member) = self.of_parent(attributes)
            && !frames::is_silent()
        {
            self.add(attributes, id, member);
        }
    }

    /// The membership of a span whose parent is in a unit.
    fn of_parent(&self, attributes: &Attributes<'_>) -> Option<Membership> {
        match attributes.parent() {
            Some(parent) => Some(self.core.spans.get(parent.into_u64())?.of_child()),
            None if attributes.is_contextual() => frames::current_in(&self.core),
            None => None,
        }
    }

    /// A span whose parent is in no unit: it may be a unit itself.
    fn outside_of_units<S>(
        &self,
        attributes: &Attributes<'_>,
        id: &Id,
        cx: &Context<'_, S>,
    ) -> Option<Membership>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let core = &self.core;
        let kind = core.kinds.of(attributes.metadata())?;
        // PERF: most units have no parent at all, which the registry tells sooner than who it is.
        if attributes.parent().is_none() && (attributes.is_root() || cx.lookup_current().is_none())
        {
            return self.begin(kind);
        }
        // The registry knows ancestors that we do not: spans of other layers, and roots of units
        // that were dropped. What is inside a dropped unit is dropped with it.
        let parent = cx.span(id).and_then(|span| span.parent());
        for ancestor in parent.iter().flat_map(|parent| parent.scope()) {
            if let Some(member) = core.spans.get(ancestor.id().into_u64()) {
                return Some(member.of_child());
            }
            if core.kinds.of(ancestor.metadata()).is_some() {
                return None;
            }
        }
        self.begin(kind)
    }

    /// Starts a unit.
    fn begin(&self, kind: KindId) -> Option<Membership> {
        let core = &self.core;
        if core.background.is_stopping() {
            core.drop_unit(UnitDrop::ShutDown);
            return None;
        }
        let now = core.clock.now();
        let Some(member) = frames::begin(core, kind, now) else {
            core.drop_unit(UnitDrop::TooManyUnits);
            return None;
        };
        self.time(member, now);
        Some(member)
    }

    /// Remembers whose unit a span belongs to.
    fn add(&self, attributes: &Attributes<'_>, id: &Id, member: Membership) {
        let core = &self.core;
        if !core.spans.insert(id.into_u64(), member) {
            // A child without a place is no loss but for its own threads; a root is its unit.
            if member.is_root {
                core.drop_unit(UnitDrop::TooManySpans);
                if let Some((unit, slot)) = core.slots.finish(member.slot, core.clock.now()) {
                    frames::ended(core, unit.kind, slot);
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

    pub(crate) fn enter(&self, id: &Id) {
        let now = self.core.clock.now();
        if let Some(member) = self.core.spans.get(id.into_u64()) {
            frames::enter(&self.core, id.into_u64(), member, now);
            self.time(member, now);
        }
    }

    pub(crate) fn exit(&self, id: &Id) {
        let now = self.core.clock.now();
        if let Some(member) = frames::exit(&self.core, id.into_u64(), now) {
            if std::thread::panicking()
                && let Some(slot) = self.core.slots.get(member.slot)
            {
                slot.mark_error();
            }
            self.time(member, now);
        }
    }

    pub(crate) fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(member) = self.core.spans.get(id.into_u64())
            && ErrorField::in_record(values)
            && let Some(slot) = self.core.slots.get(member.slot)
        {
            slot.mark_error();
        }
    }

    pub(crate) fn close(&self, id: &Id) {
        let core = &self.core;
        let Some(member) = core.spans.remove(id.into_u64()) else {
            return;
        };
        if !member.is_root {
            return;
        }
        let now = core.clock.now();
        let Some((mut unit, slot)) = core.slots.finish(member.slot, now) else {
            return;
        };
        frames::ended(core, unit.kind, slot);
        if let Some(ns) = &mut unit.telemetry_ns {
            *ns += core.clock.now().saturating_sub(now);
        }
        if core.background.is_stopping() {
            core.drop_unit(UnitDrop::ShutDown);
        } else {
            frames::hand_on(core, &unit);
        }
    }

    /// Adds what telemetry itself took since `start`, if the unit is one of those that are timed.
    fn time(&self, member: Membership, start: u64) {
        if member.timed
            && let Some(slot) = self.core.slots.get(member.slot)
        {
            slot.add_telemetry_ns(self.core.clock.now().saturating_sub(start));
        }
    }
}
