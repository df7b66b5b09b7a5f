//! From spans to units: spans that others see as well, and what happens to every span. What is about lean ones,
//! which nobody else has, is in [`lean`](super::lean), what is about events in [`events`](super::events).

use super::class_fields;
use super::error_field::ErrorField;
use super::parent::parent_of_new;
use crate::callsites::SiteId;
use crate::cost::{Finished, KindId};
use crate::details::{FieldBytes, Fields};
use crate::instance::Instance;
use crate::ledger::UnitDrop;
use crate::live::{KnownSpan, Nesting, Outer, SpanOwner, UnitOfSpan, UnitRef};
use crate::thread::{self, EntryOrExit, Passed};
use crate::tool::silence;
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
pub(crate) struct Observer {
    pub(super) instance: Arc<Instance>,
}

/// The callbacks behind the filter: for spans and events that we asked for.
impl<S> Layer<S> for Observer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        if silence::is_silent() {
            return;
        }
        let site = self.instance.callsites.id(attributes.metadata().into());
        let kinds = &self.instance.kinds;
        let place = match kinds.are_units_anywhere(site, attributes.metadata().into()) {
            true => self.unit_inside_unit(site, attributes, id),
            false => self.inside_of_parent::<true>(attributes, id),
        };
        let place = place.or_else(|| self.outside_of_units(site, attributes, id, &cx));
        if let Some(Some(place)) = place {
            self.describe(site, attributes, id.into_u64(), place);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let site = self.instance.callsites.id(event.metadata().into());
        self.event(site, event, |in_span| {
            let mut scope = cx.event_scope(event)?;
            scope.find_map(|span| in_span(span.id().into_u64()))
        });
    }
}

/// Where a span or an event is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanPlace {
    /// The span around it, as the details call it; 0 if it is a unit's own span.
    pub(super) parent: u64,
    pub(super) in_unit: UnitOfSpan,
}

impl Observer {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        Observer { instance }
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// A span that we did not ask for exists because another layer did: if it is inside a unit, so
    /// is what happens in it. `is_root`: whether it is inside nothing, if it does not say so itself.
    #[inline(never)]
    pub(crate) fn follow(
        &self,
        attributes: &Attributes<'_>,
        id: &Id,
        is_root: impl FnOnce() -> bool,
    ) {
        if silence::is_silent() {
            return;
        }
        let metadata = attributes.metadata();
        match self.inside_of_parent::<false>(attributes, id) {
            Some(Some(place)) => {
                let site = self.instance.callsites.id(metadata.into());
                self.describe(site, attributes, id.into_u64(), place);
            }
            Some(None) => {}
            None if attributes.parent().is_none() && is_root() => {
                self.instance.root_passes_by(metadata.into());
            }
            None => {}
        }
    }

    /// A span whose parent is in a unit is in it, too: its place, unless there is no room, which is no loss but for
    /// its own threads. `None`: its parent is in none.
    ///
    /// PERF: inlined, as what else runs for every span: the answers need not go through memory.
    #[inline(always)]
    fn inside_of_parent<const IS_WANTED: bool>(
        &self,
        attributes: &Attributes<'_>,
        id: &Id,
    ) -> Option<Option<SpanPlace>> {
        let (parent, in_unit, added) = match attributes.parent() {
            Some(parent) => {
                // The subscriber may have been told another one.
                let parent = parent_of_new(&self.instance).unwrap_or(parent.into_u64());
                self.inside_of(self.instance.known(parent)?, id)
            }
            None if attributes.is_contextual() => {
                thread::add_inside::<IS_WANTED>(&self.instance, id.into_u64())?
            }
            None => return None,
        };
        Some(added.then_some(SpanPlace { parent, in_unit }))
    }

    /// A span begins inside this one.
    fn inside_of(&self, around: KnownSpan, id: &Id) -> (u64, UnitOfSpan, bool) {
        let in_unit = around.in_unit.of_child();
        let added = thread::add(&self.instance, id.into_u64(), in_unit, around.place());
        (around.detail, in_unit, added)
    }

    /// A span that is a unit also inside of others. `None`: its parent is in none.
    #[inline(never)]
    fn unit_inside_unit(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        id: &Id,
    ) -> Option<Option<SpanPlace>> {
        let instance = &self.instance;
        let (span, around) = match attributes.parent() {
            Some(parent) => {
                let parent = parent_of_new(instance).unwrap_or(parent.into_u64());
                (parent, instance.known(parent)?)
            }
            None if attributes.is_contextual() => thread::innermost_of_unit(instance)?,
            None => return None,
        };
        let fields = class_fields::of_attributes(attributes);
        let kind = (instance.kinds).of(site, attributes.metadata().into(), fields)?;
        // A lean span may be over before one that others have as well; what is around it is not.
        let lasts = around.lean().and_then(|lean| instance.spans.outer(lean));
        let lasts = lasts.and_then(|span| Some((span, instance.known(span)?)));
        let lasts = lasts.filter(|(_, known)| known.in_unit.unit() == around.in_unit.unit());
        let (span, around) = lasts.unwrap_or((span, around));
        Some(self.begin_inside(kind, id, span, around))
    }

    /// Starts a unit inside of the one of this span, if that is not over, nor too deep inside of others for a further one.
    #[inline(never)]
    fn begin_inside(
        &self,
        kind: KindId,
        id: &Id,
        span: u64,
        around: KnownSpan,
    ) -> Option<SpanPlace> {
        match Nesting::of(span, around.in_unit.unit(), around.place()) {
            Nesting::Nothing => self.begin_in(kind, id, None),
            Nesting::Unit(outer) => self.begin_in(kind, id, Some(outer)),
            Nesting::TooDeep => {
                let (parent, in_unit, added) = self.inside_of(around, id);
                added.then_some(SpanPlace { parent, in_unit })
            }
        }
    }

    /// A span whose parent is in no unit: it may be a unit itself.
    fn outside_of_units<S>(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        id: &Id,
        cx: &Context<'_, S>,
    ) -> Option<Option<SpanPlace>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let instance = &self.instance;
        let fields = class_fields::of_attributes(attributes);
        let metadata = attributes.metadata();
        let kind = (instance.kinds).of(site, metadata.into(), fields);
        // PERF: most units have no parent at all, which the registry tells sooner than who it is.
        let is_inside_nothing = attributes.parent().is_none()
            && (attributes.is_root() || cx.lookup_current().is_none());
        let Some(kind) = kind else {
            if is_inside_nothing {
                instance.root_passes_by(metadata.into());
            }
            return None;
        };
        if is_inside_nothing {
            return Some(self.begin(kind, id));
        }
        // The registry knows ancestors that we do not: spans of other layers, and roots of units
        // that were dropped. What is inside a dropped unit is dropped with it.
        let parent = cx.span(id).and_then(|span| span.parent());
        for ancestor in parent.iter().flat_map(|parent| parent.scope()) {
            let span = ancestor.id().into_u64();
            if let Some(around) = instance.known(span) {
                if instance.kinds.are_units_anywhere(site, metadata.into()) {
                    return Some(self.begin_inside(kind, id, span, around));
                }
                let (parent, in_unit, added) = self.inside_of(around, id);
                return Some(added.then_some(SpanPlace { parent, in_unit }));
            }
            let metadata = ancestor.metadata();
            let site = instance.callsites.id(metadata.into());
            if instance.kinds.is_unit(site, metadata.into()) {
                return None;
            }
        }
        Some(self.begin(kind, id))
    }

    /// Whether a span of the subscriber's is in a unit, or is one that was dropped.
    pub(super) fn may_be_in_unit(&self, span: u64, metadata: &'static Metadata<'static>) -> bool {
        let instance = &self.instance;
        if instance.known(span).is_some() {
            return true;
        }
        let site = instance.callsites.id(metadata.into());
        instance.kinds.is_unit(site, metadata.into())
    }

    /// Starts a unit.
    #[inline]
    fn begin(&self, kind: KindId, id: &Id) -> Option<SpanPlace> {
        self.begin_in(kind, id, None)
    }

    /// The same, inside another one maybe.
    #[inline(always)]
    fn begin_in(&self, kind: KindId, id: &Id, outer: Option<Outer>) -> Option<SpanPlace> {
        let instance = &self.instance;
        if instance.background.is_stopping() {
            instance.drop_unit(UnitDrop::ShutDown);
            return None;
        }
        let now = instance.clock.now();
        let Some((in_unit, added)) = thread::begin(instance, kind, now, id.into_u64(), outer)
        else {
            instance.drop_unit(UnitDrop::TooManyUnits);
            return None;
        };
        self.time(in_unit, in_unit.timed().then_some(now));
        if !added {
            self.lose(in_unit);
            return None;
        }
        Some(SpanPlace { parent: 0, in_unit })
    }

    /// There is no room for a unit's own span: it is not counted.
    #[cold]
    fn lose(&self, in_unit: UnitOfSpan) {
        let instance = &self.instance;
        instance.drop_unit(UnitDrop::TooManySpans);
        let (mut unit, now) = (Finished::empty(), || instance.clock.now());
        if let Some(ended) = instance.live_units.finish(in_unit.unit(), now, &mut unit) {
            let mut place = Some(ended.place);
            thread::with_state(instance, |state| {
                if let Some(place) = place.take() {
                    thread::ended(instance, state, unit.kind, place);
                }
            });
        }
    }

    /// What a span that was made says of itself. `detail`: what the details call it.
    #[inline(always)]
    pub(super) fn describe(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        detail: u64,
        place: SpanPlace,
    ) {
        let (instance, in_unit) = (&self.instance, place.in_unit);
        if instance.keeps_details() {
            self.detail_begin(site, attributes, detail, place);
        }
        if in_unit.is_root() && instance.incidents.ask_for_fields() {
            self.look_at_fields(attributes, in_unit);
        }
        if instance
            .callsites
            .tells_errors(site, attributes.metadata().into())
            && ErrorField::in_attributes(attributes)
        {
            self.mark_error(in_unit);
        }
    }

    /// The unit has failed, if it is not over.
    pub(super) fn mark_error(&self, in_unit: UnitOfSpan) {
        if let Some(live) = self.instance.live_units.get(in_unit.unit()) {
            live.mark_error();
        }
    }

    /// A unit begins while an incident is about units with certain fields.
    #[cold]
    fn look_at_fields(&self, attributes: &Attributes<'_>, in_unit: UnitOfSpan) {
        let Some(live) = self.instance.live_units.get(in_unit.unit()) else {
            return;
        };
        if self.instance.clock.now() >= self.instance.incidents.end() {
            return;
        }
        alloc_tracker::raw::for_a_tool(|| {
            let fields = FieldBytes::of(|visit| attributes.record(visit));
            let mut read = Fields::default();
            read.read(attributes.metadata().into(), fields.as_bytes());
            let value_of = |name: &str| match read.others.get(name)? {
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            if self.instance.incident_has_fields(live.kind(), value_of) {
                live.mark_incident();
            }
        });
    }

    pub(super) fn detail_begin(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        detail: u64,
        place: SpanPlace,
    ) {
        let instance = &self.instance;
        let SpanPlace { parent, in_unit } = place;
        let has_fields = !attributes.metadata().fields().is_empty();
        let fields = has_fields.then(|| FieldBytes::of(|visit| attributes.record(visit)));
        let fields = fields.as_ref().map_or(&[][..], FieldBytes::as_bytes);
        // PERF: a thread inside the unit has looked at the clock when it entered.
        let now = attributes.parent().map(|_| instance.clock.now());
        thread::detail(instance, now, |details, at| {
            let ids = (detail, parent);
            details.begin(at, in_unit.unit(), ids, site, fields);
        });
    }

    /// `is_there`: whether the subscriber still has a span.
    #[inline]
    pub(crate) fn enter(&self, id: &Id, is_there: impl Fn(u64) -> bool) {
        let span = id.into_u64();
        let passed = match thread::enter(&self.instance, span, SpanOwner::Subscriber) {
            Passed::Another => thread::enter_other(&self.instance, span),
            passed => passed,
        };
        if let Passed::More(passed) = passed {
            self.entered(passed, is_there);
        }
    }

    #[inline]
    pub(crate) fn exit(&self, id: &Id) {
        let passed = thread::exit(&self.instance, id.into_u64(), SpanOwner::Subscriber);
        if let Passed::More(passed) = passed {
            self.left(passed);
        }
    }

    #[cold]
    pub(super) fn entered(&self, passed: EntryOrExit, is_there: impl Fn(u64) -> bool) {
        if passed.wants_tidying {
            thread::tidy(&self.instance, is_there);
        }
        if passed.wants_trace {
            self.note_trace(passed.in_unit);
        }
        self.time(passed.in_unit, passed.timed_from);
    }

    /// Where the unit is in a trace: whoever traces knows, now that its span is entered.
    fn note_trace(&self, in_unit: UnitOfSpan) {
        let Some(ids) = self.instance.trace_ids() else {
            return;
        };
        if let Some(live) = self.instance.live_units.get(in_unit.unit()) {
            live.set_trace(ids);
        }
    }

    #[cold]
    pub(super) fn left(&self, passed: EntryOrExit) {
        if passed.unwinds {
            self.mark_error(passed.in_unit);
        }
        self.time(passed.in_unit, passed.timed_from);
    }

    /// Fields of a span are recorded later.
    pub(crate) fn record(
        &self,
        id: &Id,
        values: &Record<'_>,
        metadata: impl FnOnce() -> Option<&'static Metadata<'static>>,
    ) {
        let instance = &self.instance;
        let Some(known) = instance.spans.get(id.into_u64()) else {
            return;
        };
        if ErrorField::in_record(values) {
            self.mark_error(known.in_unit);
        }
        let may_be_of_a_class = known.in_unit.is_root() && instance.kinds.have_classes();
        if !may_be_of_a_class && !instance.keeps_details() {
            return;
        }
        let Some(metadata) = metadata() else {
            return;
        };
        let (unit, site) = (known.in_unit.unit(), instance.callsites.id(metadata.into()));
        if may_be_of_a_class {
            self.look_at_class(unit, site, metadata, values);
        }
        if !instance.keeps_details() {
            return;
        }
        let fields = FieldBytes::of(|visit| values.record(visit));
        thread::detail(instance, Some(instance.clock.now()), |details, at| {
            details.record(at, unit, known.detail, site, fields.as_bytes());
        });
    }

    /// Fields of a unit's own span are recorded, which may say of which kind it is.
    fn look_at_class(
        &self,
        unit: UnitRef,
        site: SiteId,
        metadata: &'static Metadata<'static>,
        values: &Record<'_>,
    ) {
        let instance = &self.instance;
        let Some(live) = instance.live_units.get(unit) else {
            return;
        };
        let (before, fields) = (live.kind(), class_fields::of_record(values));
        if let Some(kind) = (instance.kinds).of_more(before, site, metadata.into(), fields) {
            thread::becomes(instance, live, kind);
        }
    }

    #[inline]
    pub(crate) fn close(&self, id: &Id) {
        let in_unit = self.instance.spans.remove(id.into_u64());
        if let Some(in_unit) = in_unit.filter(|in_unit| in_unit.is_root()) {
            self.end(in_unit);
        }
    }

    /// Adds what telemetry itself took since `start`, if there is one.
    #[inline]
    pub(super) fn time(&self, in_unit: UnitOfSpan, start: Option<u64>) {
        let Some(start) = start else {
            return;
        };
        if let Some(live) = self.instance.live_units.get(in_unit.unit()) {
            live.add_telemetry_ns(on_its_core(self.instance.clock.now().saturating_sub(start)));
        }
    }
}

/// What of a callback's time counts: all, unless the thread was off its core meanwhile, or put an exemplar together, which
/// is counted apart. No other callback takes so long.
pub(super) fn on_its_core(ns: u64) -> u64 {
    const LONGEST: u64 = if cfg!(debug_assertions) {
        50_000
    } else {
        10_000
    };
    if ns > LONGEST { 0 } else { ns }
}
