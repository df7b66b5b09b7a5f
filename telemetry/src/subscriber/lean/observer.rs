//! Spans that nobody but telemetry has.

use super::span::{HeldParent, LeanRef};
use super::thread::{Around, NewSpan, current_lean, give_back, make, with_parent};
use crate::callsites::SiteId;
use crate::subscriber::observer::{Observer, SpanPlace};
use crate::thread::{self, SpanOwner};
use crate::tool::pool::PoolItem;
use crate::tool::silence;
use tracing::Metadata;
use tracing::span::{Attributes, Id};

/// What became of a handle of a lean span that was given up.
#[derive(Debug)]
pub(crate) enum Released {
    /// There are others.
    Lives,
    /// The span has ended.
    Ended,
    /// The span has ended, and gives up its handle of this span of the subscriber.
    EndedInside(Id),
}

impl Observer {
    /// Makes a span that only telemetry wants; see [`make`].
    #[inline]
    pub(crate) fn make(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        brought: &mut Option<PoolItem>,
        in_others: impl FnOnce() -> bool,
    ) -> NewSpan {
        if silence::is_silent() {
            return NewSpan::Shared;
        }
        let instance = &self.instance;
        let metadata = attributes.metadata();
        let around = match attributes.parent() {
            Some(parent) => Around::Span(parent.into_u64()),
            None if attributes.is_contextual() => Around::Context,
            None => Around::Nothing,
        };
        let kind = instance.kinds.of(site, metadata.into());
        let made = make(instance, site, kind, around, brought, in_others);
        if let NewSpan::Lean(new) = &made {
            let place = SpanPlace {
                parent: new.parent,
                in_unit: new.known.in_unit,
            };
            self.describe(site, attributes, new.known.detail, place);
            self.time(place.in_unit, new.timed_from);
        }
        made
    }

    /// Whether there may be room for one more stand-in.
    pub(crate) fn has_room(&self) -> bool {
        self.instance.spans.has_room()
    }

    /// A record for a stand-in; `None` if there is no room.
    pub(crate) fn adopt(&self, stand_in: &Id) -> Option<PoolItem> {
        self.instance.spans.adopt(stand_in.into_u64())
    }

    /// A record that was brought and not needed.
    pub(crate) fn give_back(&self, record: PoolItem) {
        give_back(&self.instance, record);
    }

    /// The lean span with this id, unless it is over.
    #[inline]
    pub(crate) fn live_lean(&self, id: &Id) -> Option<LeanRef> {
        self.instance.spans.get(id.into_u64())?.lean()
    }

    /// The lean span that had this id last, and mostly still has it.
    #[inline]
    pub(crate) fn lean(&self, id: &Id) -> Option<LeanRef> {
        self.instance.spans.lean(id.into_u64())
    }

    /// The lean span that the thread has entered last.
    pub(crate) fn current_lean(&self) -> Option<LeanRef> {
        current_lean(&self.instance)
    }

    pub(crate) fn id_of_lean(&self, lean: LeanRef) -> Option<Id> {
        self.instance.spans.id(lean).map(Id::from_u64)
    }

    pub(crate) fn metadata_of_lean(&self, lean: LeanRef) -> Option<&'static Metadata<'static>> {
        Some(
            self.instance
                .callsites
                .get(self.instance.spans.site(lean)?)?
                .metadata(),
        )
    }

    /// The innermost span around a lean one that others see.
    pub(crate) fn outer_of_lean(&self, lean: LeanRef) -> Option<Id> {
        self.instance.spans.outer(lean).map(Id::from_u64)
    }

    /// Whether the span that the thread has entered last is over; see [`thread::is_in_nothing`].
    pub(crate) fn is_in_nothing(&self) -> bool {
        thread::is_in_nothing(&self.instance)
    }

    /// False if it is not a lean span.
    #[inline]
    pub(crate) fn enter_lean(&self, id: &Id, is_there: impl Fn(u64) -> bool) -> bool {
        let span = id.into_u64();
        let Some(known) = self.instance.spans.get(span) else {
            return false;
        };
        if known.lean().is_none() {
            return false;
        }
        if let Some(passed) = thread::enter(&self.instance, span, known) {
            self.entered(passed, is_there);
        }
        true
    }

    /// False if it is not a lean span.
    #[inline]
    pub(crate) fn exit_lean(&self, id: &Id) -> bool {
        let span = id.into_u64();
        match thread::exit(&self.instance, span, SpanOwner::Telemetry) {
            Some(passed) => self.left(passed),
            // A lean span that was entered elsewhere is nobody else's either.
            None => return self.instance.spans.lean(span).is_some(),
        }
        true
    }

    /// While `make` makes a span, telemetry takes `parent` for its parent, if there is one.
    pub(crate) fn with_parent<T>(&self, parent: Option<&Id>, make: impl FnOnce() -> T) -> T {
        with_parent(&self.instance, parent.map(Id::into_u64), make)
    }

    pub(crate) fn hold_lean(&self, lean: LeanRef) {
        self.instance.spans.hold(lean);
    }

    /// Gives up a handle of a lean span; the spans around it end with it if nothing else holds them.
    #[inline]
    pub(crate) fn release_lean(&self, mut lean: LeanRef) -> Released {
        let mut released = Released::Lives;
        loop {
            let Some(end) = self.instance.spans.release(lean) else {
                return released;
            };
            if end.in_unit.is_root() {
                self.end(end.in_unit);
            }
            give_back(&self.instance, end.record);
            released = Released::Ended;
            match end.holds {
                HeldParent::Lean(around) => lean = around,
                HeldParent::Nothing => return released,
                HeldParent::Shared(around) => return Released::EndedInside(Id::from_u64(around)),
            }
        }
    }
}
