//! From spans and events to units: spans that others see as well, and what happens to every span; lean
//! ones, which nobody else has ([`lean`]); events ([`events`]).

mod events;
mod lean;

pub(crate) use lean::Released;

use crate::callsites::SiteId;
use crate::core::Core;
use crate::cost::{Finished, KindId, Outcome};
use crate::details::{FieldBytes, Fields};
use crate::error_field::ErrorField;
use crate::exemplars::{Choice, Kept};
use crate::frames::{self, Has, Passed};
use crate::ledger::UnitDrop;
use crate::output::Item;
use crate::silence;
use crate::units::{Ended, Membership};
use std::sync::Arc;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What the callbacks of the layer do. None panics. None locks or allocates, but for the first unit
/// of a call site and of a thread, and where something is kept: an event within its limits, a unit
/// that becomes an exemplar.
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
        if silence::is_silent() {
            return;
        }
        let site = self.core.callsites.id(attributes.metadata());
        // PERF: two ways that do not meet: a place is copied where they do.
        if let Some(place) = self.inside_of_parent(attributes) {
            self.add(site, attributes, id, place);
        } else if let Some(place) = self.outside_of_units(site, attributes, id, &cx) {
            self.add(site, attributes, id, place);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let site = self.core.callsites.id(event.metadata());
        self.event(site, event, |in_span| {
            let mut scope = cx.event_scope(event)?;
            scope.find_map(|span| in_span(span.id().into_u64()))
        });
    }
}

/// Where a span or an event is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The span around it, as the details call it; 0 if it is a unit's own span.
    parent: u64,
    member: Membership,
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
        if let Some(place) = self.inside_of_parent(attributes)
            && !silence::is_silent()
        {
            let site = self.core.callsites.id(attributes.metadata());
            self.add(site, attributes, id, place);
        }
    }

    /// The place of a span whose parent is in a unit.
    ///
    /// PERF: inlined, as what else runs for every span: the answers need not go through memory.
    #[inline(always)]
    fn inside_of_parent(&self, attributes: &Attributes<'_>) -> Option<Place> {
        let (parent, member) = match attributes.parent() {
            Some(parent) => {
                // The subscriber may have been told another one.
                let parent = frames::parent_of_new(&self.core).unwrap_or(parent.into_u64());
                let parent = self.core.spans.get(parent)?;
                (parent.detail, parent.member.of_child())
            }
            None if attributes.is_contextual() => frames::current_in(&self.core)?,
            None => return None,
        };
        Some(Place { parent, member })
    }

    /// A span whose parent is in no unit: it may be a unit itself.
    fn outside_of_units<S>(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        id: &Id,
        cx: &Context<'_, S>,
    ) -> Option<Place>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let core = &self.core;
        let kind = core.kinds.of(site, attributes.metadata())?;
        // PERF: most units have no parent at all, which the registry tells sooner than who it is.
        if attributes.parent().is_none() && (attributes.is_root() || cx.lookup_current().is_none())
        {
            return self.begin(kind);
        }
        // The registry knows ancestors that we do not: spans of other layers, and roots of units
        // that were dropped. What is inside a dropped unit is dropped with it.
        let parent = cx.span(id).and_then(|span| span.parent());
        for ancestor in parent.iter().flat_map(|parent| parent.scope()) {
            if let Some(parent) = core.spans.get(ancestor.id().into_u64()) {
                return Some(Place {
                    parent: parent.detail,
                    member: parent.member.of_child(),
                });
            }
            let metadata = ancestor.metadata();
            if core
                .kinds
                .of(core.callsites.id(metadata), metadata)
                .is_some()
            {
                return None;
            }
        }
        self.begin(kind)
    }

    /// Starts a unit.
    fn begin(&self, kind: KindId) -> Option<Place> {
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
        self.time(member, member.timed().then_some(now));
        Some(Place { parent: 0, member })
    }

    /// Remembers whose unit a span belongs to.
    #[inline(always)]
    fn add(&self, site: SiteId, attributes: &Attributes<'_>, id: &Id, place: Place) {
        let core = &self.core;
        let member = place.member;
        if !core.spans.insert(id.into_u64(), member) {
            // A child without a place is no loss but for its own threads; a root is its unit.
            if member.is_root() {
                core.drop_unit(UnitDrop::TooManySpans);
                let (mut unit, now) = (Finished::blank(), || core.clock.now());
                if let Some(ended) = core.slots.finish(member.slot(), now, &mut unit) {
                    frames::ended(core, unit.kind, ended.slot);
                }
            }
            return;
        }
        self.describe(site, attributes, id.into_u64(), place);
    }

    /// What a span that was made says of itself. `detail`: what the details call it.
    #[inline(always)]
    fn describe(&self, site: SiteId, attributes: &Attributes<'_>, detail: u64, place: Place) {
        let (core, member) = (&self.core, place.member);
        if core.keeps_details() {
            self.detail_begin(site, attributes, detail, place);
        }
        if member.is_root() && core.incidents.ask_for_fields() {
            self.look_at_fields(attributes, member);
        }
        if core.callsites.tells_errors(site, attributes.metadata())
            && ErrorField::in_attributes(attributes)
            && let Some(slot) = core.slots.get(member.slot())
        {
            slot.mark_error();
        }
    }

    /// A unit begins while an incident is about units with certain fields.
    #[cold]
    fn look_at_fields(&self, attributes: &Attributes<'_>, member: Membership) {
        let Some(slot) = self.core.slots.get(member.slot()) else {
            return;
        };
        if self.core.clock.now() >= self.core.incidents.end() {
            return;
        }
        alloc_tracker::raw::for_a_tool(|| {
            let fields = FieldBytes::of(|visit| attributes.record(visit));
            let mut read = Fields::default();
            read.read(attributes.metadata(), fields.as_bytes());
            let value_of = |name: &str| match read.others.get(name)? {
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            if self.core.incident_has_fields(slot.kind(), value_of) {
                slot.mark_incident();
            }
        });
    }

    fn detail_begin(&self, site: SiteId, attributes: &Attributes<'_>, detail: u64, place: Place) {
        let core = &self.core;
        let Place { parent, member } = place;
        let has_fields = !attributes.metadata().fields().is_empty();
        let fields = has_fields.then(|| FieldBytes::of(|visit| attributes.record(visit)));
        let fields = fields.as_ref().map_or(&[][..], FieldBytes::as_bytes);
        // PERF: a thread inside the unit has looked at the clock when it entered.
        let now = attributes.parent().map(|_| core.clock.now());
        frames::detail(core, now, |details, at| {
            let ids = (detail, parent);
            details.begin(at, member.slot(), ids, site, fields);
        });
    }

    /// `is_there`: whether the subscriber still has a span.
    #[inline]
    pub(crate) fn enter(&self, id: &Id, is_there: impl Fn(u64) -> bool) {
        let span = id.into_u64();
        let passed = match self.core.spans.get(span) {
            Some(known) => frames::enter(&self.core, span, known),
            None => frames::enter_other(&self.core, span),
        };
        if let Some(passed) = passed {
            self.entered(passed, is_there);
        }
    }

    #[inline]
    pub(crate) fn exit(&self, id: &Id) {
        if let Some(passed) = frames::exit(&self.core, id.into_u64(), Has::Subscriber) {
            self.left(passed);
        }
    }

    #[inline]
    fn entered(&self, passed: Passed, is_there: impl Fn(u64) -> bool) {
        if passed.wants_tidying {
            frames::tidy(&self.core, is_there);
        }
        self.time(passed.member, passed.timed_from);
    }

    #[inline]
    fn left(&self, passed: Passed) {
        if passed.unwinds
            && let Some(slot) = self.core.slots.get(passed.member.slot())
        {
            slot.mark_error();
        }
        self.time(passed.member, passed.timed_from);
    }

    /// Fields of a span are recorded later.
    pub(crate) fn record(
        &self,
        id: &Id,
        values: &Record<'_>,
        metadata: impl FnOnce() -> Option<&'static Metadata<'static>>,
    ) {
        let core = &self.core;
        let Some(known) = core.spans.get(id.into_u64()) else {
            return;
        };
        let slot = known.member.slot();
        if ErrorField::in_record(values)
            && let Some(slot) = core.slots.get(slot)
        {
            slot.mark_error();
        }
        if core.keeps_details()
            && let Some(metadata) = metadata()
        {
            let site = core.callsites.id(metadata);
            let fields = FieldBytes::of(|visit| values.record(visit));
            frames::detail(core, Some(core.clock.now()), |details, at| {
                details.record(at, slot, known.detail, site, fields.as_bytes());
            });
        }
    }

    #[inline]
    pub(crate) fn close(&self, id: &Id) {
        if let Some(member) = self.core.spans.remove(id.into_u64())
            && member.is_root()
        {
            self.end(member);
        }
    }

    /// A unit's own span has ended.
    fn end(&self, member: Membership) {
        let core = &self.core;
        let start = member.timed().then(|| core.clock.now());
        frames::ends(core, member);
        let mut unit = Finished::blank();
        let Some(ended) = (core.slots).finish(member.slot(), || core.clock.now(), &mut unit) else {
            return;
        };
        if core.background.is_stopping() {
            frames::ended(core, unit.kind, ended.slot);
            core.drop_unit(UnitDrop::ShutDown);
            return;
        }
        unit.exemplar = self.keep(&unit, &ended);
        if let (Some(ns), Some(start)) = (&mut unit.telemetry_ns, start) {
            *ns += core.clock.now().saturating_sub(start);
        }
        frames::hand_on(core, &unit, ended.slot);
    }

    /// Keeps an ended unit in detail, if there is a reason to.
    #[inline]
    fn keep(&self, unit: &Finished, ended: &Ended) -> Outcome {
        let core = &self.core;
        if !core.has_exporters {
            return Outcome::NotChosen;
        }
        let kind = core.kinds.get(unit.kind);
        let now = || (core.clock.now(), core.incidents.end());
        let sample = core.head_sample;
        match (kind.chooser).choose(
            unit,
            kind.limits(),
            sample,
            (ended.is_drawn, ended.is_in_incident),
            now,
        ) {
            Choice::No => Outcome::NotChosen,
            Choice::RateLimited => Outcome::RateLimited,
            Choice::Keep(kept) => self.capture(unit, ended, kept),
        }
    }

    #[cold]
    fn capture(&self, unit: &Finished, ended: &Ended, kept: Kept) -> Outcome {
        let core = &self.core;
        if core.background.is_forked() {
            // Nobody is there to write it, and the locks may be held by threads that are not.
            return Outcome::NotChosen;
        }
        alloc_tracker::raw::for_a_tool(|| {
            let captured = core.capture(unit, ended, kept);
            match core.queue.push(Item::Exemplar(Box::new(captured))) {
                Ok(()) => Outcome::Queued,
                Err(_) => {
                    core.kinds.get(unit.kind).chooser.lose(&kept);
                    Outcome::QueueFull
                }
            }
        })
    }

    /// Adds what telemetry itself took since `start`, if there is one.
    #[inline]
    fn time(&self, member: Membership, start: Option<u64>) {
        if let Some(start) = start
            && let Some(slot) = self.core.slots.get(member.slot())
        {
            slot.add_telemetry_ns(self.core.clock.now().saturating_sub(start));
        }
    }
}
