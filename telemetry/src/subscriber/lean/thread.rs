//! Spans that nobody but telemetry has.

use super::span::{LeanRef, LeanSpan, LeanStart};
use crate::callsites::SiteId;
use crate::cost::KindId;
use crate::instance::Instance;
use crate::live::{KnownSpan, LiveUnit, Nesting, SpanOwner, Spans, UnitOfSpan};
use crate::thread::{Innermost, ThreadState, with};
use crate::tool::pool::PoolItem;
use std::sync::Arc;

/// What a span that is to be made says about the one around it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Around {
    /// It is the one that the thread has entered last.
    Context,
    Nothing,
    Span(u64),
}

/// What the subscriber knows around a span that telemetry knows to be in no span of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Others {
    /// Nothing.
    Nothing,
    /// This span, in no unit: a unit may begin inside it.
    Around(u64),
    /// Something of which that cannot be said.
    Unclear,
}

/// What became of a span that only telemetry wants.
#[derive(Debug)]
pub(crate) enum NewSpan {
    Lean(NewLean),
    /// There was no record at hand: the caller is to make a stand-in for one, if there is room, and to try
    /// again.
    NoRecord,
    /// The subscriber is to have it.
    Shared,
}

/// A lean span that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewLean {
    pub(crate) id: u64,
    pub(crate) in_unit: UnitOfSpan,
    /// What the details call it.
    pub(crate) detail: u64,
    /// What the details call the span around it; 0: there is none.
    pub(crate) parent: u64,
    /// The subscriber's span around it, of which it is to have a handle.
    pub(crate) holds: Option<u64>,
    /// When this began, if the unit is one of those of which telemetry itself is timed.
    pub(crate) timed_from: Option<u64>,
}

/// The span around one that is to be made.
struct Parent {
    in_unit: UnitOfSpan,
    /// Where its unit is.
    place: Option<&'static LiveUnit>,
    detail: u64,
    seen: Seen,
}

impl Parent {
    /// How a unit stands to its unit that begins inside it.
    #[cold]
    fn nesting(&self, spans: &Spans) -> Nesting {
        let span = match self.seen {
            Seen::Lean(lean, _) => spans.id(lean),
            Seen::Shared(span) => Some(span),
        };
        match span {
            Some(span) => Nesting::of(span, self.in_unit.unit(), self.place),
            None => Nesting::Nothing,
        }
    }
}

/// What others see of it.
enum Seen {
    /// Nothing.
    Lean(LeanRef, &'static LeanSpan),
    /// This span.
    Shared(u64),
}

/// What a span begins inside of.
enum Inside {
    Unit(Parent),
    /// In no unit, and inside this span of the subscriber's, if inside any.
    NoUnit(Option<u64>),
}

/// Makes a span that only telemetry wants, with a record that the caller brings or one at hand.
/// `kind`: what unit it is if it is inside none, or `IS_ANYWHERE`. `others`: what the subscriber knows of a span, or else
/// of the one that the thread has entered.
///
/// PERF: twice, so that spans which are units also inside of others cost those that are not nothing.
#[inline(always)]
pub(crate) fn make<const IS_ANYWHERE: bool>(
    instance: &Arc<Instance>,
    site: SiteId,
    kind: impl FnOnce() -> Option<KindId>,
    around: Around,
    brought: &mut Option<PoolItem<LeanSpan>>,
    others: impl FnOnce(Option<u64>) -> Others,
) -> NewSpan {
    let made = with(|all| {
        let random = all.random_for(instance);
        let state = all.state(instance);
        let Some(inside) = inside(state, instance, around, others) else {
            return NewSpan::Shared;
        };
        let kind = match inside {
            Inside::Unit(_) if !IS_ANYWHERE => None,
            Inside::Unit(_) | Inside::NoUnit(_) => {
                kind().filter(|_| !instance.background.is_stopping())
            }
        };
        if matches!(inside, Inside::NoUnit(_)) && kind.is_none() {
            return NewSpan::Shared;
        }
        let at_hand = state.lean.pop();
        let record = at_hand.or_else(|| brought.take());
        let Some(record) = record.or_else(|| instance.spans.take_again()) else {
            return NewSpan::NoRecord;
        };
        make_with::<IS_ANYWHERE>(state, instance, random, site, kind, inside, record)
    });
    // The thread is ending, or this is a callback in a callback.
    made.unwrap_or(NewSpan::Shared)
}

/// A record without a span: at hand for the next one, or for other threads.
#[inline]
pub(crate) fn give_back(instance: &Arc<Instance>, record: PoolItem<LeanSpan>) {
    let mut record = Some(record);
    with(|all| {
        if let Some(record) = record.take() {
            all.state(instance).give_back(instance, record);
        }
    });
    if let Some(record) = record {
        instance.spans.give_back(record);
    }
}

/// The lean span that the thread has entered last; `None` if that is another one, or there is none.
#[inline]
pub(crate) fn current_lean(instance: &Arc<Instance>) -> Option<LeanRef> {
    with(|all| match all.known_state(instance)?.innermost(instance) {
        Innermost::OfUnit(known) => known.lean(),
        Innermost::Nothing | Innermost::Other | Innermost::Over => None,
    })?
}

/// What the span begins inside of. `None`: that cannot be said.
#[inline(always)]
fn inside(
    state: &mut ThreadState,
    instance: &Instance,
    around: Around,
    others: impl FnOnce(Option<u64>) -> Others,
) -> Option<Inside> {
    let unit = |known: KnownSpan, shared: u64| {
        Inside::Unit(Parent {
            in_unit: known.in_unit,
            place: known.place(),
            detail: known.detail,
            seen: match (known.lean(), known.record()) {
                (Some(lean), Some(record)) => Seen::Lean(lean, record),
                _ => Seen::Shared(shared),
            },
        })
    };
    let no_unit = |others: Others| match others {
        Others::Nothing => Some(Inside::NoUnit(None)),
        Others::Around(span) => Some(Inside::NoUnit(Some(span))),
        Others::Unclear => None,
    };
    match around {
        Around::Nothing => Some(Inside::NoUnit(None)),
        Around::Span(span) => match instance.known(span) {
            Some(known) => Some(unit(known, span)),
            None => no_unit(others(Some(span))),
        },
        Around::Context => match state.innermost(instance) {
            // The details call a span that others see by its id.
            Innermost::OfUnit(known) => Some(unit(known, known.detail)),
            Innermost::Over => Some(Inside::NoUnit(None)),
            Innermost::Nothing => no_unit(others(None)),
            Innermost::Other => None,
        },
    }
}

/// With a record, which is given back if there is no unit for the span.
#[inline(always)]
fn make_with<const IS_ANYWHERE: bool>(
    state: &mut ThreadState,
    instance: &Arc<Instance>,
    random: Option<[u64; 2]>,
    site: SiteId,
    kind: Option<KindId>,
    inside: Inside,
    record: PoolItem<LeanSpan>,
) -> NewSpan {
    let nesting = match (&inside, kind) {
        (Inside::Unit(parent), Some(_)) if IS_ANYWHERE => parent.nesting(&instance.spans),
        _ => Nesting::Nothing,
    };
    let kind = kind.filter(|_| !matches!(nesting, Nesting::TooDeep));
    let (unit, now) = match (&inside, kind) {
        (_, Some(kind)) => {
            let now = instance.clock.now();
            let begun = state.begin(instance, random, kind, now);
            let begun = begun.map(|(unit, place)| match nesting {
                Nesting::Unit(outer) => {
                    place.begin_inside(outer);
                    (unit.inside_another(), Some(place))
                }
                Nesting::Nothing | Nesting::TooDeep => (unit, Some(place)),
            });
            (begun, Some(now))
        }
        (Inside::Unit(parent), None) => (Some((parent.in_unit.of_child(), parent.place)), None),
        (Inside::NoUnit(_), None) => (None, None),
    };
    let Some((in_unit, place)) = unit else {
        // Too many units: the subscriber's layer hears of this span, and counts the loss.
        instance.spans.give_back(record);
        return NewSpan::Shared;
    };
    let (lean, outer, parent) = match inside {
        Inside::NoUnit(outer) => (None, outer, 0),
        Inside::Unit(Parent { seen, detail, .. }) => match seen {
            Seen::Lean(lean, record) => (Some(lean), record.hold_for_child(), detail),
            Seen::Shared(outer) => (None, Some(outer), detail),
        },
    };
    // In its own unit there is nothing around it.
    let parent = match IS_ANYWHERE && in_unit.is_root() {
        true => 0,
        false => parent,
    };
    let start = LeanStart {
        site,
        in_unit,
        parent: lean,
        outer,
    };
    let (id, known) = Spans::begin(record, start);
    state.stack.expect(id, known.at(place));
    state.outbox.made_span(SpanOwner::Telemetry);
    NewSpan::Lean(NewLean {
        id,
        in_unit,
        detail: known.detail,
        parent,
        holds: outer.filter(|_| lean.is_none()),
        timed_from: now.filter(|_| in_unit.timed()),
    })
}
