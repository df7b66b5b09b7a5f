//! What a thread has for one instance: through it go the units that the thread begins and ends, the
//! details of what it does, and the events that it keeps back.

use super::inner::Carried;
use super::stack::{Innermost, Stack};
use super::{AtTheEnd, AtWork, IfOver, ThisThread, with};
use crate::callsites::SiteId;
use crate::cost::{Finished, KindId};
use crate::details::{DetailRing, FieldBytes};
use crate::instance::{Instance, Lasting};
use crate::ledger::{UnitDrop, Untold};
use crate::live::{KnownSpan, LiveUnit, Outer, SpanOwner, Start, UnitOfSpan, UnitRef, WhoLives};
use crate::os::{Sampled, Started};
use crate::outbox::Outbox;
use crate::subscriber::lean::LeanSpan;
use crate::tool::pool::{Allowed, PoolItem};
use std::sync::{Arc, Weak};

/// What the thread has for one telemetry instance, which it does not keep alive.
pub(crate) struct ThreadState {
    pub(super) id: usize,
    /// The thread's number.
    pub(super) thread: u64,
    pub(super) instance: Weak<Instance>,
    /// What of it is asked where nobody knows whether it is still there.
    pub(super) who_lives: WhoLives,
    pub(super) lasting: &'static Lasting,
    pub(crate) outbox: Arc<Outbox>,
    /// When the thread last looked at the instance's clock.
    pub(super) looked_at: u64,
    /// Units begun on this thread, to time every few.
    begun: u32,
    /// Places of units that this thread ended, for the next ones that it begins.
    places: Vec<PoolItem<LiveUnit>>,
    places_allowed: Allowed,
    /// Records of lean spans that this thread ended, for the next ones.
    pub(crate) lean: Vec<PoolItem<LeanSpan>>,
    pub(crate) lean_allowed: Allowed,
    /// The spans that the thread has entered.
    pub(crate) stack: Stack,
    /// PERF: filled in again and again: it is 400 bytes and more.
    pub(crate) scratch: Option<Box<Finished>>,
    /// What the system knew of the thread when it began to work for a unit that it is asked about.
    pub(super) samples: Vec<(UnitRef, Started)>,
    /// Spans that were entered for those of inner units.
    pub(super) around: Vec<Carried>,
}

impl Drop for ThreadState {
    fn drop(&mut self) {
        // What the thread has entered it leaves no more, or where nobody knows what it did since.
        for unit in self.stack.units_at_work() {
            unit.abandon(self.lasting.clock.now());
            self.lasting.untold.add(Untold::NeverLeft);
        }
        if let Some(instance) = self.instance.upgrade() {
            for place in self.places.drain(..) {
                instance.live_units.give_back(place);
            }
            instance
                .live_units
                .give_up(std::mem::take(&mut self.places_allowed));
            for record in self.lean.drain(..) {
                instance.spans.give_back(record);
            }
            instance
                .spans
                .give_up(std::mem::take(&mut self.lean_allowed));
            instance.retire(&self.outbox);
        }
    }
}

/// A span that others see as well begins inside the one that the thread has entered last, if that is of a unit:
/// what the details call that one, and where the span is. The last is false if there is no room for it.
///
/// PERF: twice, for spans that telemetry wants and for others, so that each is inlined where it is called: the answer
/// need not go through memory.
#[inline]
pub(crate) fn add_inside<const IS_WANTED: bool>(
    instance: &Arc<Instance>,
    span: u64,
) -> Option<(u64, UnitOfSpan, bool)> {
    with(|all| {
        let state = all.known_state(instance)?;
        let Innermost::OfUnit(around) = state.innermost(instance) else {
            return None;
        };
        let in_unit = around.in_unit.of_child();
        let added = state.add(instance, span, in_unit, around.place());
        Some((around.detail, in_unit, added))
    })?
}

/// A span that others see as well begins in a unit that is at this place. False: there is no room for it.
#[inline]
pub(crate) fn add(
    instance: &Arc<Instance>,
    span: u64,
    in_unit: UnitOfSpan,
    place: Option<&'static LiveUnit>,
) -> bool {
    let added = with(|all| all.state(instance).add(instance, span, in_unit, place));
    added.unwrap_or_else(|| instance.spans.insert(span, in_unit).is_some())
}

/// Begins a unit at `now`, inside another one maybe, with a span that others see as well. `None`: too many are in progress. False: so are too many
/// spans.
#[inline(always)]
pub(crate) fn begin(
    instance: &Arc<Instance>,
    kind: KindId,
    now: u64,
    span: u64,
    outer: Option<Outer>,
) -> Option<(UnitOfSpan, bool)> {
    let begun = with(|all| {
        let random = all.random_for(instance);
        let state = all.state(instance);
        let (mut in_unit, place) = state.begin(instance, random, kind, now)?;
        if let Some(outer) = outer {
            place.begin_inside(outer);
            in_unit = in_unit.inside_another();
        }
        Some((in_unit, state.add(instance, span, in_unit, Some(place))))
    });
    // The thread is ending: it has no number, and nothing at hand. What it does there is for no outer unit.
    begun.unwrap_or_else(|| {
        let start = Start {
            kind,
            timed: false,
            drawn: false,
            sampled: Sampled::No,
            now,
            thread: NO_THREAD,
            name: instance.kinds.get(kind).unit_name(),
        };
        let (unit, _) = instance
            .live_units
            .begin(start, None, || instance.is_full(now))?;
        instance.kinds.get(kind).add_elsewhere(1);
        let in_unit = UnitOfSpan::of_root(unit, false);
        Some((in_unit, instance.spans.insert(span, in_unit).is_some()))
    })
}

/// No thread has this number.
const NO_THREAD: u64 = u64::MAX;

/// A unit of this kind was ended: it is in progress no more, and its place is free. `state`: the thread's, unless
/// that is ending.
pub(crate) fn ended(
    instance: &Instance,
    state: Option<&mut ThreadState>,
    kind: KindId,
    place: PoolItem<LiveUnit>,
) {
    let mut place = Some(place);
    match state {
        Some(state) => state.ended(kind, &mut place),
        None => instance.kinds.get(kind).add_elsewhere(-1),
    }
    if let Some(place) = place {
        instance.live_units.give_back(place);
    }
}

/// A unit in progress turns out to be of another kind.
pub(crate) fn becomes(instance: &Arc<Instance>, live: &LiveUnit, kind: KindId) {
    let now = instance.kinds.get(kind);
    let before = live.set_kind(kind, now.unit_name());
    super::with_state(instance, |state| match state {
        Some(state) => {
            state.outbox.in_flight_changes(before, -1);
            if state.outbox.in_flight_changes(kind, 1) {
                instance.look_at_in_flight(kind);
            }
        }
        None => {
            instance.kinds.get(before).add_elsewhere(-1);
            now.add_elsewhere(1);
        }
    });
}

/// A unit has ended: puts it into the thread's ring, and drains the ring in time.
#[inline]
pub(crate) fn hand_on(
    instance: &Instance,
    state: Option<&mut ThreadState>,
    unit: &Finished,
    place: PoolItem<LiveUnit>,
) {
    match &state {
        Some(state) => {
            let outbox = &state.outbox;
            if outbox.units.is_half_full() {
                instance.apart(|| instance.drain_if_free(outbox));
            }
            while !outbox.units.push(unit) {
                // Full, and others were at the histograms all the while. No unit is lost for
                // that: the thread waits for them, some microseconds mostly.
                if !instance.apart(|| instance.drain(outbox)) {
                    instance.drop_unit(UnitDrop::Forked);
                    break;
                }
            }
        }
        // The thread is ending: straight into the histograms.
        None => instance.take_in(unit),
    }
    ended(instance, state, unit.kind, place);
    instance.background.something_happened();
}

impl ThreadState {
    /// The innermost span that the thread has entered.
    #[inline(always)]
    pub(crate) fn innermost(&mut self, instance: &Instance) -> Innermost {
        let innermost = self.stack.innermost(instance.spans.who_lives());
        if let Innermost::Over = innermost {
            self.bury(instance);
        }
        innermost
    }

    /// The unit that the thread works for: that of the innermost span that is not over.
    #[inline(always)]
    pub(super) fn at_work(&mut self, if_over: IfOver) -> Option<AtWork> {
        let last = self.stack.last()?;
        let known = match last.lives(&self.who_lives) {
            true => last.known,
            false => self.living()?,
        };
        let Some(place) = known.live() else {
            return self.is_over(if_over);
        };
        Some(AtWork {
            unit: known.in_unit.unit(),
            place,
            lasting: self.lasting,
            thread: self.thread,
        })
    }

    /// The unit that the thread works for has ended, and not the span that it is in.
    #[cold]
    fn is_over(&self, if_over: IfOver) -> Option<AtWork> {
        if if_over == IfOver::Untold {
            self.lasting.untold.add(Untold::CallAfterEnd);
        }
        None
    }

    /// The innermost span of a unit that is not over, where the innermost of all is none.
    #[cold]
    #[inline(never)]
    fn living(&mut self) -> Option<KnownSpan> {
        if let Innermost::Over = self.stack.innermost(&self.who_lives) {
            let instance = self.instance.upgrade()?;
            self.bury(&instance);
        }
        self.stack.living(&self.who_lives)
    }

    /// What is innermost and over, if anything is, goes.
    #[cold]
    pub(super) fn bury(&mut self, instance: &Instance) {
        while let Some(entry) = self.stack.bury(instance.spans.who_lives()) {
            self.abandon(instance, &entry);
        }
    }

    /// A record without a span: at hand for the next one, or for other threads.
    #[inline]
    pub(crate) fn give_back(&mut self, instance: &Instance, record: PoolItem<LeanSpan>) {
        match self.lean_allowed.one_more(self.lean.len()) {
            true => self.lean.push(record),
            false => instance.spans.give_back(record),
        }
    }

    /// See [`add`].
    #[inline]
    fn add(
        &mut self,
        instance: &Instance,
        span: u64,
        in_unit: UnitOfSpan,
        place: Option<&'static LiveUnit>,
    ) -> bool {
        let known = instance.spans.insert(span, in_unit);
        if let Some(known) = known {
            self.stack.expect(span, known.at(place));
            self.outbox.made_span(SpanOwner::Subscriber);
        }
        known.is_some()
    }

    /// Begins a unit at `now`, and its place. `None` if too many are in progress. `random`: by which it is drawn.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        instance: &Arc<Instance>,
        random: Option<[u64; 2]>,
        kind: KindId,
        now: u64,
    ) -> Option<(UnitOfSpan, &'static LiveUnit)> {
        let (drawn, sampled) = match random {
            Some([draw, sample]) => (
                instance.has_exporters && instance.head_sample.draws(draw),
                instance.sampling.decide(sample),
            ),
            None => (false, Sampled::No),
        };
        self.looked_at = now;
        self.begun = self.begun.wrapping_add(1);
        // Every 64th of the thread has its own telemetry cost timed; not its first, which sets
        // things up.
        let timed = self.begun % 64 == 0;
        let start = Start {
            kind,
            timed,
            drawn,
            sampled,
            now,
            thread: self.thread,
            name: instance.kinds.get(kind).unit_name(),
        };
        let (unit, place) = instance
            .live_units
            .begin(start, self.places.pop(), || instance.is_full(now))?;
        if self.outbox.in_flight_changes(kind, 1) {
            instance.look_at_in_flight(kind);
        }
        let in_unit = UnitOfSpan::of_root(unit, timed).traced(instance.is_traced);
        Some((in_unit, place))
    }

    /// A unit of this kind was ended. Its place is kept at hand, if there is room.
    #[inline]
    fn ended(&mut self, kind: KindId, place: &mut Option<PoolItem<LiveUnit>>) {
        self.outbox.in_flight_changes(kind, -1);
        if self.places_allowed.one_more(self.places.len()) {
            self.places.extend(place.take());
        }
    }
}

/// Lets `write` leave an entry in the thread's ring of details, at a time: `now`, or when the thread
/// last looked at the clock. A ring's times never go back.
#[inline]
pub(crate) fn detail(
    instance: &Arc<Instance>,
    now: Option<u64>,
    write: impl FnOnce(&DetailRing, u64),
) {
    with(|all| {
        let state = all.state(instance);
        state.looked_at = state.looked_at.max(now.unwrap_or(0));
        write(&state.outbox.details, state.looked_at);
    });
}

/// What the thread hands to an instance, if it ever did.
pub(crate) fn outbox(instance: &Instance) -> Option<Arc<Outbox>> {
    with(|all| {
        let state = all.states.iter().find(|state| state.id == instance.id)?;
        Some(Arc::clone(&state.outbox))
    })?
}

/// The thread keeps back an event of this call site, which happened in its innermost span or, if it
/// is not `contextual`, elsewhere. In a unit of the sample it leaves its `fields` in the detail all
/// the same; in another one a mark.
#[inline]
pub(crate) fn suppress(
    instance: &Arc<Instance>,
    site: SiteId,
    now: u64,
    contextual: bool,
    fields: impl FnOnce() -> FieldBytes,
) {
    let drawn = with(|all| {
        let state = all.state(instance);
        state.outbox.suppress(site, now);
        if !instance.keeps_details() || !contextual {
            return None;
        }
        let Innermost::OfUnit(known) = state.innermost(instance) else {
            return None;
        };
        let (unit, span) = (known.in_unit.unit(), known.detail);
        if !known.live()?.is_drawn() {
            (state.outbox.details).event(state.looked_at, unit, span, site, &[]);
            return None;
        }
        Some((unit, span))
    });
    instance.background.something_happened();
    match drawn {
        None => instance.events.retire(site, 1, now),
        Some(None) => {}
        Some(Some((unit, span))) => {
            // Visited outside: it is the user's code, which may have spans and events of its own.
            let fields = fields();
            detail(instance, Some(instance.clock.now()), |details, at| {
                details.event(at, unit, span, site, fields.as_bytes());
            });
        }
    }
}

impl ThisThread {
    /// Two random numbers, if they are wanted.
    #[inline]
    pub(crate) fn random_for(&mut self, instance: &Instance) -> Option<[u64; 2]> {
        (instance.draws_units()).then(|| [self.random(), self.random()])
    }

    /// What the thread has for an instance, if it has anything.
    #[inline]
    pub(crate) fn known_state(&mut self, instance: &Instance) -> Option<&mut ThreadState> {
        if !self.is_first(instance) && !self.bring_forward(instance) {
            return None;
        }
        self.states.first_mut()
    }

    /// PERF: there is one instance mostly, and of more the last one is asked for several times in a row.
    #[inline]
    fn is_first(&self, instance: &Instance) -> bool {
        self.states
            .first()
            .is_some_and(|first| first.id == instance.id)
    }

    /// Has what is for an instance be the first, if there is any.
    #[cold]
    fn bring_forward(&mut self, instance: &Instance) -> bool {
        let at = self.states.iter().position(|state| state.id == instance.id);
        if let Some(at) = at {
            self.states.swap(0, at);
        }
        at.is_some()
    }

    /// What the thread has for an instance.
    #[inline]
    pub(crate) fn state(&mut self, instance: &Arc<Instance>) -> &mut ThreadState {
        if !self.is_first(instance) {
            self.connect(instance);
        }
        match self.states.first_mut() {
            Some(first) => first,
            None => unreachable!("it is connected"),
        }
    }

    #[cold]
    #[inline(never)]
    fn connect(&mut self, instance: &Arc<Instance>) {
        if self.bring_forward(instance) {
            return;
        }
        let thread = super::known_number();
        // Not for a tool: where the standard library notes it, it frees the note.
        alloc_tracker::excluded(AtTheEnd::is_to_come);
        alloc_tracker::raw::for_a_tool(|| {
            self.states
                .retain(|state| state.instance.strong_count() > 0);
            let (places_allowed, lean_allowed) =
                (instance.live_units.allow(), instance.spans.allow());
            self.states.push(ThreadState {
                id: instance.id,
                thread,
                instance: Arc::downgrade(instance),
                who_lives: *instance.spans.who_lives(),
                lasting: instance.lasting,
                outbox: instance.new_outbox(),
                looked_at: 0,
                begun: 0,
                places: Vec::with_capacity(places_allowed.most()),
                places_allowed,
                lean: Vec::with_capacity(lean_allowed.most()),
                lean_allowed,
                stack: Stack::new(),
                scratch: Some(Box::new(Finished::empty())),
                samples: Vec::new(),
                around: Vec::new(),
            });
        });
        self.bring_forward(instance);
    }
}
