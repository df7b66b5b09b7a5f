//! What the subscriber does when it is called: what only telemetry wants goes to telemetry, the rest goes on.

use super::observer::Released;
use super::span::{LeanRef, LeanSpan};
use super::thread::{NewSpan, Others};
use super::{Lean, Ours};
use crate::callsites::SiteId;
use crate::subscriber::call_site;
use crate::subscriber::layer;
use crate::tool::pool::PoolItem;
use alloc_tracker::raw::for_a_tool;
use std::any::TypeId;
use std::sync::atomic::Ordering::Relaxed;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Metadata};
use tracing_core::span::Current;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

impl<S> Lean<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn registry(&self) -> Option<&Registry> {
        (&self.inner as &dyn Subscriber).downcast_ref()
    }

    /// Telemetry, if nobody else wants this call site, and the call site's number.
    #[inline]
    fn alone(&self, metadata: &'static Metadata<'static>) -> Option<(&Ours, SiteId)> {
        let ours = self.ours.as_ref()?;
        let site = ours.observer.instance().callsites.id(metadata.into());
        ours.is_alone(site).then_some((ours, site))
    }

    /// Has others do what they do when they are told of something. What they allocate is no work of a unit's: with another
    /// log level or exporter it would cost something else.
    #[inline]
    fn tell_others<T>(&self, tell: impl FnOnce(&S) -> T) -> T {
        match &self.ours {
            Some(ours) if alloc_tracker::is_installed() => self.tell_apart(ours, tell),
            _ => tell(&self.inner),
        }
    }

    #[inline(never)]
    fn tell_apart<T>(&self, ours: &Ours, tell: impl FnOnce(&S) -> T) -> T {
        let (told, usage) = alloc_tracker::raw::excluded_and_measured(|| tell(&self.inner));
        if let Some(usage) = usage.filter(|usage| usage.allocs > 0) {
            ours.observer
                .others_allocated(usage.allocs, usage.alloc_bytes);
        }
        told
    }

    /// The lean span that had this id last, and mostly still has it.
    #[inline]
    fn lean(&self, id: &Id) -> Option<(&Ours, LeanRef)> {
        let ours = self.ours.as_ref()?;
        Some((ours, ours.observer.lean(id)?))
    }

    /// A span for the subscriber.
    fn shared_span(&self, attributes: &Attributes<'_>) -> Id {
        self.tell_others(|_| self.make_shared_span(attributes))
    }

    fn make_shared_span(&self, attributes: &Attributes<'_>) -> Id {
        let Some(Ours { observer, .. }) = self.ours.as_deref() else {
            return self.inner.new_span(attributes);
        };
        let lean = match attributes.parent() {
            Some(parent) => observer.live_lean(parent),
            None if attributes.is_contextual() => observer.current_lean(),
            None => None,
        };
        let Some(lean) = lean else {
            return observer.with_parent(None, || match attributes.is_contextual() {
                // The subscriber knows what is around the lean span that is over, and not that it is.
                true if observer.is_in_nothing() => {
                    let (metadata, values) = (attributes.metadata(), attributes.values());
                    self.inner.new_span(&Attributes::new_root(metadata, values))
                }
                _ => self.inner.new_span(attributes),
            });
        };
        // It is inside a lean span, of which the subscriber knows at most the stand-in. Telemetry knows
        // better, whatever the subscriber hears.
        let stand_in = observer.id_of_lean(lean);
        let outer = observer.outer_of_lean(lean);
        let id = observer.with_parent(stand_in.as_ref(), || match (&outer, &stand_in) {
            (Some(outer), _) if attributes.parent().is_some() => {
                let (metadata, values) = (attributes.metadata(), attributes.values());
                (self.inner).new_span(&Attributes::child_of(outer.clone(), metadata, values))
            }
            (Some(current), _) | (None, Some(current)) if attributes.is_contextual() => {
                self.new_span_inside(current, attributes)
            }
            _ => self.inner.new_span(attributes),
        });
        if outer.is_none() {
            // The registry counts a handle of the stand-in, and gives it up through `try_close`.
            observer.hold_lean(lean);
        }
        id
    }

    /// Makes a span for which `current` is the one that the thread has entered last.
    fn new_span_inside(&self, current: &Id, attributes: &Attributes<'_>) -> Id {
        /// Leaves the span even if the formatting of a field panics.
        struct Entered<'a>(&'a Registry, &'a Id);
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                self.0.exit(self.1);
            }
        }
        let Some(registry) = self.registry() else {
            return self.inner.new_span(attributes);
        };
        let is_current = || registry.current_span().id() == Some(current);
        if is_current() {
            return self.inner.new_span(attributes);
        }
        registry.enter(current);
        let _entered = Entered(registry, current);
        if is_current() {
            return self.inner.new_span(attributes);
        }
        // It is entered further out, and the registry does not take it for current twice.
        let (metadata, values) = (attributes.metadata(), attributes.values());
        (self.inner).new_span(&Attributes::child_of(current.clone(), metadata, values))
    }

    /// A span of the subscriber is entered. What others do about it is over before the unit's work begins.
    #[inline(never)]
    fn enter_shared(&self, ours: &Ours, id: &Id) {
        let is_told = layer::hear_of_entry(id, || self.tell_others(|inner| inner.enter(id)));
        if is_told {
            ours.observer.enter(id, |span| self.is_there(span));
        }
    }

    #[inline(never)]
    fn exit_shared(&self, ours: &Ours, id: &Id) {
        ours.observer.exit(id);
        self.tell_others(|inner| inner.exit(id));
    }

    /// Whether the subscriber still has this span.
    fn is_there(&self, span: u64) -> bool {
        let registry = self.registry();
        registry.is_some_and(|registry| registry.span(&Id::from_u64(span)).is_some())
    }

    /// What the subscriber knows of a span, or else of the one that the thread has entered, of which telemetry knows none.
    #[inline]
    fn others(&self, ours: &Ours, span: Option<u64>) -> Others {
        let span = match span {
            Some(span) => span,
            None => match self.inner.current_span().id() {
                Some(current) => current.into_u64(),
                None => return Others::Nothing,
            },
        };
        self.others_around(ours, span)
    }

    /// The same of a span that the subscriber has.
    #[inline(never)]
    fn others_around(&self, ours: &Ours, span: u64) -> Others {
        let found = self
            .registry()
            .and_then(|registry| registry.span(&Id::from_u64(span)));
        let Some(found) = found else {
            return Others::Unclear;
        };
        // As the layer has it: what is inside a unit belongs to it, and what is inside one that was dropped is dropped.
        let is_none = |ancestor: &SpanRef<'_, Registry>| {
            let observer = &ours.observer;
            !observer.may_be_in_unit(ancestor.id().into_u64(), ancestor.metadata())
        };
        match found.scope().all(|ancestor| is_none(&ancestor)) {
            true => Others::Around(span),
            false => Others::Unclear,
        }
    }

    /// Makes a lean span with a record that is made for it, if there is room for one more.
    #[cold]
    #[inline(never)]
    fn make_with_stand_in(
        &self,
        ours: &Ours,
        site: SiteId,
        attributes: &Attributes<'_>,
    ) -> NewSpan {
        if !ours.observer.has_room() {
            return NewSpan::NoRecord;
        }
        let mut brought = self.stand_in(ours, attributes);
        if brought.is_none() {
            return NewSpan::NoRecord;
        }
        let others = |span| self.others(ours, span);
        let made = (ours.observer).make(site, attributes, &mut brought, others);
        if let Some(record) = brought {
            ours.observer.give_back(record);
        }
        made
    }

    /// A span that no layer is shown, to be lent to lean spans.
    #[cold]
    fn stand_in(&self, ours: &Ours, attributes: &Attributes<'_>) -> Option<PoolItem<LeanSpan>> {
        let metadata = attributes.metadata();
        // The span is the registry's, which is the program's.
        alloc_tracker::excluded(|| {
            let stand_in = layer::mute(ours.observer.instance().id, || {
                // Says no for every layer; the registry notes that with the span.
                self.inner.enabled(metadata);
                (self.inner).new_span(&Attributes::new_root(metadata, attributes.values()))
            });
            let record = ours.observer.adopt(&stand_in);
            if record.is_none() {
                self.inner.try_close(stand_in);
            }
            record
        })
    }
}

impl Ours {
    #[inline]
    fn is_alone(&self, site: SiteId) -> bool {
        self.ours_alone[site.index()].load(Relaxed)
    }
}

impl<S> Subscriber for Lean<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.inner.on_register_dispatch(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let all = self.inner.register_callsite(metadata);
        let Some(ours) = &self.ours else {
            return all;
        };
        // Those that telemetry does not want need no number, of which there are not for all.
        if !ours.interest.wants(metadata) {
            return all;
        }
        if all.is_never() {
            // A filter of all layers hides it, from the layer inside too.
            let attached = &ours.observer.instance().attached;
            if metadata.is_span() {
                for_a_tool(|| attached.registered(metadata.into()));
            }
            return all;
        }
        let site = ours.observer.instance().callsites.id(metadata.into());
        let instance = ours.observer.instance().id;
        let others = || layer::mute(instance, || self.inner.register_callsite(metadata));
        let alone = site != SiteId::OTHER && others().is_never();
        ours.ours_alone[site.index()].store(alone, Relaxed);
        if alone { Interest::always() } else { all }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The filters are not asked about what they will not be shown: they remember what they said
        // until they are shown something.
        let alone = self.ours.as_ref().is_some_and(|ours| {
            let site = ours
                .observer
                .instance()
                .callsites
                .known(call_site::address(metadata));
            site.is_some_and(|site| ours.is_alone(site))
        });
        alone || self.inner.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.inner.max_level_hint()
    }

    #[inline]
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let Some((ours, site)) = self.alone(attributes.metadata()) else {
            return self.shared_span(attributes);
        };
        let others = |span| self.others(ours, span);
        let mut made = ours.observer.make(site, attributes, &mut None, others);
        if let NewSpan::NoRecord = made {
            made = self.make_with_stand_in(ours, site, attributes);
        }
        match made {
            NewSpan::Lean(new) => {
                if let Some(outer) = new.holds {
                    self.inner.clone_span(&Id::from_u64(outer));
                }
                Id::from_u64(new.id)
            }
            NewSpan::NoRecord | NewSpan::Shared => {
                // Nobody has asked the filters, as we said "always" for them.
                self.inner.enabled(attributes.metadata());
                self.shared_span(attributes)
            }
        }
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        match self.lean(id) {
            Some((ours, lean)) => {
                let metadata = || ours.observer.metadata_of_lean(lean);
                ours.observer.record(id, values, metadata);
            }
            None => self.tell_others(|inner| inner.record(id, values)),
        }
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        if self.lean(id).is_none() && self.lean(follows).is_none() {
            self.tell_others(|inner| inner.record_follows_from(id, follows));
        }
    }

    /// PERF: one look at the call site, in `event`, which is always called after this.
    fn event_enabled(&self, _: &Event<'_>) -> bool {
        true
    }

    #[inline]
    fn event(&self, event: &Event<'_>) {
        let Some((ours, site)) = self.alone(event.metadata()) else {
            self.tell_others(|inner| {
                if inner.event_enabled(event) {
                    inner.event(event);
                }
            });
            return;
        };
        ours.observer.event(site, event, |in_span| {
            let current = event.is_contextual().then(|| self.inner.current_span());
            let current = current.as_ref().and_then(Current::id);
            let span = self.registry()?.span(event.parent().or(current)?)?;
            (span.scope()).find_map(|span| in_span(span.id().into_u64()))
        });
    }

    #[inline]
    fn enter(&self, id: &Id) {
        let Some(ours) = &self.ours else {
            return self.inner.enter(id);
        };
        let is_there = |span| self.is_there(span);
        if !ours.observer.enter_lean(id, is_there) {
            self.enter_shared(ours, id);
        }
    }

    #[inline]
    fn exit(&self, id: &Id) {
        let Some(ours) = &self.ours else {
            return self.inner.exit(id);
        };
        if !ours.observer.exit_lean(id) {
            self.exit_shared(ours, id);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        let ours = self.ours.as_ref();
        let lean = ours.and_then(|ours| Some((ours, ours.observer.live_lean(id)?)));
        let Some((ours, lean)) = lean else {
            return self.inner.clone_span(id);
        };
        ours.observer.hold_lean(lean);
        id.clone()
    }

    #[allow(deprecated)] // some call it, as `Registry` and `Layered` know
    fn drop_span(&self, id: Id) {
        self.try_close(id);
    }

    /// False for lean spans, ended or not: who asks is a layer on top, and would then clear the stand-in in
    /// the registry.
    #[inline]
    fn try_close(&self, id: Id) -> bool {
        let released = (self.ours.as_ref()).and_then(|ours| ours.observer.close_lean(&id));
        match released {
            None => return self.tell_others(|inner| inner.try_close(id)),
            Some(Released::EndedInside(outer)) => {
                self.tell_others(|inner| inner.try_close(outer));
            }
            Some(Released::Lives | Released::Ended) => {}
        }
        false
    }

    fn current_span(&self) -> Current {
        let lean = self.ours.as_ref().and_then(|ours| {
            let lean = ours.observer.current_lean()?;
            let id = ours.observer.id_of_lean(lean)?;
            Some((id, ours.observer.metadata_of_lean(lean)?))
        });
        match lean {
            Some((id, metadata)) => Current::new(id, metadata),
            None => self.inner.current_span(),
        }
    }

    // SAFETY: the pointers are `self`, or what the subscriber inside answers to the same question; it
    // lives in `self`.
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        // SAFETY: the caller keeps the contract, and so we do.
        unsafe { self.inner.downcast_raw(id) }
    }
}
