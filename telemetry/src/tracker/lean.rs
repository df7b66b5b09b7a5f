//! Spans that nobody but telemetry has.

use super::{Place, Tracker};
use crate::callsites::SiteId;
use crate::frames::{self, Around, Has, Made};
use crate::silence;
use crate::units::{Held, LeanRef, Taken};
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

impl Tracker {
    /// Makes a span that only telemetry wants; see [`frames::make`].
    #[inline]
    pub(crate) fn make(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        brought: &mut Option<Taken>,
        in_others: impl FnOnce() -> bool,
    ) -> Made {
        if silence::is_silent() {
            return Made::Shared;
        }
        let core = &self.core;
        let metadata = attributes.metadata();
        let around = match attributes.parent() {
            Some(parent) => Around::Span(parent.into_u64()),
            None if attributes.is_contextual() => Around::Context,
            None => Around::Nothing,
        };
        let kind = core.kinds.of(site, metadata);
        let made = frames::make(core, site, kind, around, brought, in_others);
        if let Made::Lean(new) = &made {
            let place = Place {
                parent: new.parent,
                member: new.known.member,
            };
            self.describe(site, attributes, new.known.detail, place);
            self.time(place.member, new.timed_from);
        }
        made
    }

    /// Whether there may be room for one more blank.
    pub(crate) fn has_room(&self) -> bool {
        self.core.spans.has_room()
    }

    /// A record for a blank; `None` if there is no room.
    pub(crate) fn adopt(&self, blank: &Id) -> Option<Taken> {
        self.core.spans.adopt(blank.into_u64())
    }

    /// A record that was brought and not needed.
    pub(crate) fn give_back(&self, record: Taken) {
        frames::give_back(&self.core, record);
    }

    /// The lean span with this id, unless it is over.
    #[inline]
    pub(crate) fn live_lean(&self, id: &Id) -> Option<LeanRef> {
        self.core.spans.get(id.into_u64())?.lean()
    }

    /// The lean span that had this id last, and as a rule still has it.
    #[inline]
    pub(crate) fn lean(&self, id: &Id) -> Option<LeanRef> {
        self.core.spans.lean(id.into_u64())
    }

    /// The lean span that the thread has entered last.
    pub(crate) fn current_lean(&self) -> Option<LeanRef> {
        frames::current_lean(&self.core)
    }

    pub(crate) fn id_of_lean(&self, lean: LeanRef) -> Option<Id> {
        self.core.spans.id(lean).map(Id::from_u64)
    }

    pub(crate) fn metadata_of_lean(&self, lean: LeanRef) -> Option<&'static Metadata<'static>> {
        self.core.callsites.metadata(self.core.spans.site(lean)?)
    }

    /// The innermost span around a lean one that others see.
    pub(crate) fn outer_of_lean(&self, lean: LeanRef) -> Option<Id> {
        self.core.spans.outer(lean).map(Id::from_u64)
    }

    /// Whether the span that the thread has entered last is over; see [`frames::is_in_nothing`].
    pub(crate) fn is_in_nothing(&self) -> bool {
        frames::is_in_nothing(&self.core)
    }

    /// False if it is not a lean span.
    #[inline]
    pub(crate) fn enter_lean(&self, id: &Id, is_there: impl Fn(u64) -> bool) -> bool {
        let span = id.into_u64();
        let Some(known) = self.core.spans.get(span) else {
            return false;
        };
        if known.lean().is_none() {
            return false;
        }
        if let Some(passed) = frames::enter(&self.core, span, known) {
            self.entered(passed, is_there);
        }
        true
    }

    /// False if it is not a lean span.
    #[inline]
    pub(crate) fn exit_lean(&self, id: &Id) -> bool {
        let span = id.into_u64();
        match frames::exit(&self.core, span, Has::Nobody) {
            Some(passed) => self.left(passed),
            // A lean span that was entered elsewhere is nobody else's either.
            None => return self.core.spans.lean(span).is_some(),
        }
        true
    }

    /// While `make` makes a span, telemetry takes `parent` for its parent, if there is one.
    pub(crate) fn with_parent<T>(&self, parent: Option<&Id>, make: impl FnOnce() -> T) -> T {
        frames::with_parent(&self.core, parent.map(Id::into_u64), make)
    }

    pub(crate) fn hold_lean(&self, lean: LeanRef) {
        self.core.spans.hold(lean);
    }

    /// Gives up a handle of a lean span; the spans around it end with it if nothing else holds them.
    #[inline]
    pub(crate) fn release_lean(&self, mut lean: LeanRef) -> Released {
        let mut released = Released::Lives;
        loop {
            let Some(end) = self.core.spans.release(lean) else {
                return released;
            };
            if end.member.is_root() {
                self.end(end.member);
            }
            frames::give_back(&self.core, end.record);
            released = Released::Ended;
            match end.holds {
                Held::Lean(around) => lean = around,
                Held::Nothing => return released,
                Held::Shared(around) => return Released::EndedInside(Id::from_u64(around)),
            }
        }
    }
}
