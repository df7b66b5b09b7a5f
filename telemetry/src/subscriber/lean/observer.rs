//! Spans that nobody but telemetry has.

use super::span::{HeldParent, LeanEnd, LeanRef, LeanSpan};
use super::thread::{Around, NewSpan, Others, current_lean, give_back, make};
use crate::callsites::SiteId;
use crate::live::{KnownSpan, SpanOwner, Spans};
use crate::subscriber::class_fields;
use crate::subscriber::observer::{Observer, SpanPlace};
use crate::subscriber::parent;
use crate::thread::{self, Passed, with};
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
    #[inline(always)]
    pub(crate) fn make(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        brought: &mut Option<PoolItem<LeanSpan>>,
        others: impl FnOnce(Option<u64>) -> Others,
    ) -> NewSpan {
        let kinds = &self.instance.kinds;
        match kinds.are_units_anywhere(site, attributes.metadata().into()) {
            false => self.make_lean::<false>(site, attributes, brought, others),
            true => self.make_unit_anywhere(site, attributes, brought, others),
        }
    }

    /// The same for a span that is a unit also inside of others.
    #[inline(never)]
    fn make_unit_anywhere(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        brought: &mut Option<PoolItem<LeanSpan>>,
        others: impl FnOnce(Option<u64>) -> Others,
    ) -> NewSpan {
        self.make_lean::<true>(site, attributes, brought, others)
    }

    #[inline(always)]
    fn make_lean<const IS_ANYWHERE: bool>(
        &self,
        site: SiteId,
        attributes: &Attributes<'_>,
        brought: &mut Option<PoolItem<LeanSpan>>,
        others: impl FnOnce(Option<u64>) -> Others,
    ) -> NewSpan {
        if silence::is_silent() {
            return NewSpan::Shared;
        }
        let instance = &self.instance;
        let around = match attributes.parent() {
            Some(parent) => Around::Span(parent.into_u64()),
            None if attributes.is_contextual() => Around::Context,
            None => Around::Nothing,
        };
        let of_fields = || {
            let fields = class_fields::of_attributes(attributes);
            (instance.kinds).of(site, attributes.metadata().into(), fields)
        };
        // Outside of what is borrowed below, once that is known: formatting a field is the program's code.
        let by_fields =
            instance.kinds.are_by_fields(site) && (IS_ANYWHERE || !self.is_inside_unit(around));
        let known = by_fields.then(of_fields);
        // What is inside a unit is of no kind, unless it is one of its own.
        let kind = || known.unwrap_or_else(of_fields);
        let new = match make::<IS_ANYWHERE>(instance, site, kind, around, brought, others) {
            NewSpan::Lean(new) => new,
            other => return other,
        };
        let place = SpanPlace {
            parent: new.parent,
            in_unit: new.in_unit,
        };
        self.describe(site, attributes, new.detail, place);
        self.time(place.in_unit, new.timed_from);
        NewSpan::Lean(new)
    }

    fn is_inside_unit(&self, around: Around) -> bool {
        match around {
            Around::Context => thread::current_in(&self.instance).is_some(),
            Around::Nothing => false,
            Around::Span(span) => self.instance.known(span).is_some(),
        }
    }

    /// Other layers have allocated while they were told of something.
    pub(crate) fn others_allocated(&self, allocs: u64, bytes: u64) {
        thread::with_state(&self.instance, |state| {
            if let Some(state) = state {
                state.outbox.others_allocated(allocs, bytes);
            }
        });
    }

    /// Whether there may be room for one more stand-in.
    pub(crate) fn has_room(&self) -> bool {
        self.instance.spans.has_room()
    }

    /// A record for a stand-in; `None` if there is no room.
    pub(crate) fn adopt(&self, stand_in: &Id) -> Option<PoolItem<LeanSpan>> {
        self.instance.spans.adopt(stand_in.into_u64())
    }

    /// A record that was brought and not needed.
    pub(crate) fn give_back(&self, record: PoolItem<LeanSpan>) {
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
        match thread::enter(&self.instance, id.into_u64(), SpanOwner::Telemetry) {
            Passed::Done => true,
            Passed::More(passed) => {
                self.entered(passed, is_there);
                true
            }
            Passed::Another => false,
        }
    }

    /// False if it is not a lean span.
    #[inline]
    pub(crate) fn exit_lean(&self, id: &Id) -> bool {
        let span = id.into_u64();
        match thread::exit(&self.instance, span, SpanOwner::Telemetry) {
            Passed::Done => true,
            Passed::More(passed) => {
                self.left(passed);
                true
            }
            // A lean span that was entered elsewhere is nobody else's either.
            Passed::Another => self.instance.spans.lean(span).is_some(),
        }
    }

    /// While `make` makes a span, telemetry takes `parent` for its parent, if there is one.
    pub(crate) fn with_parent<T>(&self, parent: Option<&Id>, make: impl FnOnce() -> T) -> T {
        parent::with_parent(&self.instance, parent.map(Id::into_u64), make)
    }

    pub(crate) fn hold_lean(&self, lean: LeanRef) {
        self.instance.spans.hold(lean);
    }

    /// Gives up a handle of the lean span with this id; the spans around it end with it if nothing else holds them.
    /// `None`: there is no such lean span.
    #[inline]
    pub(crate) fn close_lean(&self, id: &Id) -> Option<Released> {
        let instance = &self.instance;
        // PERF: mostly the span that the thread has left last, of which it knows where it lies.
        let known = with(|all| {
            let state = all.known_state(instance)?;
            let known = state
                .stack
                .expected(instance.spans.who_lives(), id.into_u64())?;
            let known = Some(*known).filter(KnownSpan::is_lean)?;
            let Some(end) = Spans::release_known(&known) else {
                return Some((Released::Lives, None));
            };
            if end.in_unit.is_root() {
                self.end_on(Some(state), end.in_unit, known.place());
            }
            state.give_back(instance, end.record);
            Some(match end.holds {
                HeldParent::Nothing => (Released::Ended, None),
                HeldParent::Shared(around) => (Released::EndedInside(Id::from_u64(around)), None),
                // Mostly it lives.
                HeldParent::Lean(around) => (Released::Ended, instance.spans.release(around)),
            })
        });
        let (released, end) = match known.flatten() {
            Some(released) => released,
            None => (Released::Lives, instance.spans.release(self.lean(id)?)),
        };
        Some(match end {
            Some(end) => self.end_lean(end),
            None => released,
        })
    }

    /// The last handle of a lean span was given up. So is what it holds.
    #[inline(never)]
    fn end_lean(&self, mut end: LeanEnd) -> Released {
        loop {
            if end.in_unit.is_root() {
                self.end(end.in_unit);
            }
            give_back(&self.instance, end.record);
            let around = match end.holds {
                HeldParent::Nothing => return Released::Ended,
                HeldParent::Shared(around) => {
                    return Released::EndedInside(Id::from_u64(around));
                }
                HeldParent::Lean(around) => around,
            };
            match self.instance.spans.release(around) {
                Some(outer) => end = outer,
                None => return Released::Ended,
            }
        }
    }
}
