//! Events: limited, counted, written.

use super::{Place, Tracker};
use crate::callsites::SiteId;
use crate::details::FieldBytes;
use crate::events::{Captured, Verdict};
use crate::frames;
use crate::output::Item;
use crate::silence;
use crate::units::Slot;
use tracing::{Event, Level};

/// Finds the place of a span by its id.
type InSpan<'a> = &'a dyn Fn(u64) -> Option<Place>;

impl Tracker {
    /// `elsewhere` looks for the innermost span of a unit around the event where there may be spans in
    /// between that are not ours to follow.
    pub(crate) fn event(
        &self,
        site: SiteId,
        event: &Event<'_>,
        elsewhere: impl Fn(InSpan<'_>) -> Option<Place>,
    ) {
        if silence::is_silent() {
            return;
        }
        let is_error = *event.metadata().level() == Level::ERROR;
        let core = &self.core;
        if !is_error && !core.events.are_on() {
            return;
        }
        let mut verdict = core.events.decide(site, event.metadata(), &core.clock);
        // PERF: what is over its limit, which in a storm is all, need not know where it is.
        if let Verdict::Suppressed(now) = verdict
            && core.raise_event(|| self.is_in_incident(event, &elsewhere), now)
        {
            verdict = Verdict::Passes(now);
        }
        if let Verdict::Suppressed(now) = verdict {
            let fields = || FieldBytes::of(|visit| event.record(visit));
            frames::suppress(core, site, now, event.is_contextual(), fields);
            if !is_error {
                return;
            }
        }
        let place = self.place_of_event(event, &elsewhere);
        if is_error && let Some(slot) = place.and_then(|at| core.slots.get(at.member.slot())) {
            slot.mark_error();
        }
        if let Verdict::Passes(now) = verdict {
            self.write(event, site, place, now);
        }
    }

    /// The span of ours that an event happens in.
    fn place_of_event(
        &self,
        event: &Event<'_>,
        elsewhere: impl Fn(InSpan<'_>) -> Option<Place>,
    ) -> Option<Place> {
        let spans = &self.core.spans;
        let in_span = |parent: u64| {
            let known = spans.get(parent)?;
            Some(Place {
                parent: known.detail,
                member: known.member,
            })
        };
        let direct = match event.parent() {
            Some(parent) => in_span(parent.into_u64()),
            None if event.is_contextual() => match frames::current_in(&self.core) {
                Some((parent, member)) => Some(Place { parent, member }),
                None if frames::is_in_nothing(&self.core) => return None,
                None => None,
            },
            None => None,
        };
        direct.or_else(|| elsewhere(&in_span))
    }

    /// Whether an event happens in a unit that an incident is about.
    #[cold]
    fn is_in_incident(
        &self,
        event: &Event<'_>,
        elsewhere: impl Fn(InSpan<'_>) -> Option<Place>,
    ) -> bool {
        let place = self.place_of_event(event, elsewhere);
        let slot = place.and_then(|place| self.core.slots.get(place.member.slot()));
        slot.is_some_and(|slot| {
            slot.is_in_incident() || self.core.kinds.get(slot.kind()).chooser.is_in_incident()
        })
    }

    /// An event is within its limit.
    fn write(&self, event: &Event<'_>, site: SiteId, place: Option<Place>, now: u64) {
        let core = &self.core;
        let metadata = event.metadata();
        let fields = FieldBytes::of(|visit| event.record(visit));
        if let Some(Place { parent, member }) = place
            && core.keeps_details()
        {
            frames::detail(core, Some(core.clock.now()), |details, at| {
                details.event(at, member.slot(), parent, site, fields.as_bytes());
            });
        }
        if !(core.events).is_drawn(site, *metadata.level(), frames::random(), now) {
            return;
        }
        let unit = place.and_then(|place| core.slots.get(place.member.slot()));
        let weight = match *metadata.level() {
            Level::ERROR => 1.0,
            _ => 1.0 / core.events.probability(),
        };
        alloc_tracker::raw::for_a_tool(|| {
            let unit = unit.map(Slot::kind);
            let moment = (core.calendar.now(), now);
            let captured = Captured::new((site, metadata), moment, &fields, unit, weight);
            if core.background.is_forked() {
                core.counters.events.forked();
                core.events.keep_back(site, now);
            } else if core.background.is_stopping() {
                core.counters.events.shut_down();
                core.events.keep_back(site, now);
            } else if core.queue.push(Item::Event(Box::new(captured))).is_err() {
                core.counters.events.queue_full();
                core.events.keep_back(site, now);
            }
        });
        core.background.something_happened();
    }
}
