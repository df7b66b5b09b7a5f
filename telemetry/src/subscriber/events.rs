//! Events: limited, counted, written.

use super::observer::{Observer, SpanPlace};
use crate::callsites::SiteId;
use crate::details::FieldBytes;
use crate::events::{Captured, Verdict};
use crate::live::LiveUnit;
use crate::output::Item;
use crate::thread;
use crate::tool::silence;
use tracing::{Event, Level};

/// Finds the place of a span by its id.
type InSpan<'a> = &'a dyn Fn(u64) -> Option<SpanPlace>;

impl Observer {
    /// `elsewhere` looks for the innermost span of a unit around the event where there may be spans in
    /// between that are not ours to follow.
    pub(crate) fn event(
        &self,
        site: SiteId,
        event: &Event<'_>,
        elsewhere: impl Fn(InSpan<'_>) -> Option<SpanPlace>,
    ) {
        if silence::is_silent() {
            return;
        }
        let is_error = *event.metadata().level() == Level::ERROR;
        let instance = &self.instance;
        if !is_error && !instance.events.are_on() {
            return;
        }
        let mut verdict = instance
            .events
            .decide(site, event.metadata().into(), &instance.clock);
        // PERF: what is over its limit, which in a storm is all, need not know where it is.
        if let Verdict::Suppressed(now) = verdict {
            if instance.raise_event(|| self.is_in_incident(event, &elsewhere), now) {
                verdict = Verdict::Passes(now);
            }
        }
        if let Verdict::Suppressed(now) = verdict {
            let fields = || FieldBytes::of(|visit| event.record(visit));
            thread::suppress(instance, site, now, event.is_contextual(), fields);
            if !is_error {
                return;
            }
        }
        let place = self.place_of_event(event, &elsewhere);
        if let Some(at) = place.filter(|_| is_error) {
            self.mark_error(at.in_unit);
        }
        if let Verdict::Passes(now) = verdict {
            self.write(event, site, place, now);
        }
    }

    /// The span of ours that an event happens in.
    fn place_of_event(
        &self,
        event: &Event<'_>,
        elsewhere: impl Fn(InSpan<'_>) -> Option<SpanPlace>,
    ) -> Option<SpanPlace> {
        let spans = &self.instance.spans;
        let in_span = |parent: u64| {
            let known = spans.get(parent)?;
            Some(SpanPlace {
                parent: known.detail,
                in_unit: known.in_unit,
            })
        };
        let direct = match event.parent() {
            Some(parent) => in_span(parent.into_u64()),
            None if event.is_contextual() => match thread::current_in(&self.instance) {
                Some((parent, in_unit)) => Some(SpanPlace { parent, in_unit }),
                None if thread::is_in_nothing(&self.instance) => return None,
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
        elsewhere: impl Fn(InSpan<'_>) -> Option<SpanPlace>,
    ) -> bool {
        let place = self.place_of_event(event, elsewhere);
        let live = place.and_then(|place| self.instance.live_units.get(place.in_unit.unit()));
        live.is_some_and(|live| {
            live.is_in_incident()
                || self
                    .instance
                    .kinds
                    .get(live.kind())
                    .chooser
                    .is_in_incident()
        })
    }

    /// An event is within its limit.
    fn write(&self, event: &Event<'_>, site: SiteId, place: Option<SpanPlace>, now: u64) {
        let instance = &self.instance;
        let metadata = event.metadata();
        let fields = FieldBytes::of(|visit| event.record(visit));
        if let Some(SpanPlace { parent, in_unit }) = place.filter(|_| instance.keeps_details()) {
            thread::detail(instance, Some(instance.clock.now()), |details, at| {
                details.event(at, in_unit.unit(), parent, site, fields.as_bytes());
            });
        }
        if !(instance.events).is_drawn(site, metadata.into(), thread::random(), now) {
            return;
        }
        let unit = place.and_then(|place| instance.live_units.get(place.in_unit.unit()));
        let weight = match *metadata.level() {
            Level::ERROR => 1.0,
            _ => 1.0 / instance.events.probability(),
        };
        let trace = instance.trace_ids();
        alloc_tracker::raw::for_a_tool(|| {
            let unit = unit.map(LiveUnit::kind);
            let moment = (instance.calendar.now(), now);
            let site_of = (site, metadata.into());
            let captured = Captured {
                trace,
                ..Captured::new(site_of, moment, &fields, unit, weight)
            };
            if instance.background.is_forked() {
                instance.counters.events.forked();
                instance.events.keep_back(site, now);
            } else if instance.background.is_stopping() {
                instance.counters.events.shut_down();
                instance.events.keep_back(site, now);
            } else if instance
                .queue
                .push(Item::Event(Box::new(captured)))
                .is_err()
            {
                instance.counters.events.queue_full();
                instance.events.keep_back(site, now);
            }
        });
        instance.background.something_happened();
    }
}
