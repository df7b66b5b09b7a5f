//! What incidents in progress raise, and what that takes.

use super::spec::Scope;
use super::{Active, EVENTS, LOOK_EVERY, NEVER, Spent, State, heap};
use crate::cost::KindId;
use crate::instance::Instance;
use crate::kinds::Kind;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl Instance {
    /// Whether an event that is over its limit passes, `now` by the clock of events: one of a unit within
    /// the scope of an incident.
    #[inline]
    pub(crate) fn raise_event(&self, is_in_scope: impl FnOnce() -> bool, now: u64) -> bool {
        self.incidents.raises_events.load(Relaxed) && self.raise(is_in_scope, now)
    }

    #[cold]
    fn raise(&self, is_in_scope: impl FnOnce() -> bool, now: u64) -> bool {
        let incidents = &self.incidents;
        let passes = self.clock.now() < incidents.end()
            && is_in_scope()
            && incidents.events.allows(EVENTS, now);
        incidents.passed.fetch_add(u64::from(passes), Relaxed);
        passes
    }

    /// Has the heap sampled less often if that takes too much, and more often again if it takes little;
    /// stops what has used up its bytes.
    pub(super) fn shed(&self, state: &mut State, now: u64) {
        let spent = self.spent(now);
        let wall = spent.at.saturating_sub(state.looked.at);
        let share = spent.cpu_ns(state.looked) as f64 / wall.max(1) as f64;
        let shares = state.active.iter().map(|active| active.incident.cpu_share);
        let allowed = shares.fold(f64::INFINITY, f64::min);
        if wall >= LOOK_EVERY / 2 {
            let samples = spent.samples > state.looked.samples;
            state.looked = spent;
            if heap::is_crowded() {
                // What is live stays; what comes is to fit beside it.
                state.shed_heap = state.shed_heap.saturating_mul(2).min(1 << 20);
                state.active.iter_mut().for_each(|active| active.shed += 1);
            } else if share > allowed {
                let times = (share / allowed).ceil() as u64;
                if samples && state.shed_heap < 1 << 20 {
                    state.shed_heap = state.shed_heap.saturating_mul(times.max(2)).min(1 << 20);
                } else {
                    state.paused = true;
                }
                state.active.iter_mut().for_each(|active| active.shed += 1);
            } else if share < allowed / 4.0 {
                state.shed_heap = (state.shed_heap / 2).max(1);
                state.paused = false;
            }
        }
        for active in &mut state.active {
            let bytes = spent.bytes - active.spent.bytes;
            if !active.out_of_bytes && bytes >= active.incident.max_bytes {
                active.out_of_bytes = true;
                active.shed += 1;
            }
        }
    }

    /// Has the effects be those of the incidents in progress.
    pub(super) fn apply(&self, state: &mut State, now: u64) -> Result<(), String> {
        let (incidents, paused) = (&self.incidents, state.paused);
        // Those that somebody ended wait for their report, and raise nothing any more.
        let active: Vec<&Active> = (state.active.iter())
            .filter(|active| active.ends != 0)
            .collect();
        let waits = active.len() < state.active.len();
        let writing = || {
            active
                .iter()
                .filter(|active| !active.out_of_bytes && !paused)
        };
        let scopes = || writing().map(|active| &active.incident.scope);
        let whole_kinds: Vec<_> = scopes().filter(|s| s.fields.is_empty()).cloned().collect();
        // First: a kind that is made meanwhile is in it by the one or by the other.
        (self.kinds).set_newcomers(Box::new(move |kind| {
            whole_kinds.iter().any(|scope| has_kind(scope, kind))
        }));
        for (_, kind) in self.kinds.all() {
            let mut whole = scopes().filter(|scope| scope.fields.is_empty());
            kind.chooser
                .set_incident(whole.any(|scope| has_kind(scope, kind)));
        }
        let any_fields = scopes().any(|scope| !scope.fields.is_empty());
        incidents.by_fields.store(any_fields, Relaxed);
        incidents
            .raises_events
            .store(writing().next().is_some(), Relaxed);
        let end = active.iter().map(|active| active.ends).max();
        incidents.end.store(end.unwrap_or(0), Relaxed);
        let due = active.iter().map(|active| active.ends).min();
        let due = due.map_or(NEVER, |ends| ends.min(now.saturating_add(LOOK_EVERY)));
        let due = if waits { 0 } else { due };
        incidents.due.store(due, Relaxed);
        let heap = || {
            active
                .iter()
                .filter(|active| active.incident.heap.is_some())
        };
        let mean = heap().filter_map(|active| active.incident.heap).min();
        let last = heap().map(|active| active.ends).max().unwrap_or(now);
        let for_ = Duration::from_nanos(last.saturating_sub(now).max(1));
        let mean = mean.map(|mean| mean.saturating_mul(state.shed_heap).min(1 << 40));
        state.heap.want(mean, for_)
    }

    /// Whether a unit that begins with these fields is one that an incident is about.
    pub(crate) fn incident_has_fields(
        &self,
        kind: KindId,
        value_of: impl Fn(&str) -> Option<String>,
    ) -> bool {
        let kind = self.kinds.get(kind);
        // An application's thread does not wait for it.
        let Some(state) = self.incidents.state.try_lock() else {
            return false;
        };
        let active = state.active.iter().filter(|active| !active.out_of_bytes);
        let mut scopes = active.map(|active| &active.incident.scope);
        scopes.any(|scope| has_kind(scope, kind) && scope.has_fields(&value_of))
    }

    pub(super) fn spent(&self, at: u64) -> Spent {
        let (samples, sampling_ns) = heap::spent();
        Spent {
            at,
            background_ns: self.counters.own_cpu_ns().unwrap_or(0),
            samples,
            sampling_ns,
            bytes: self.incidents.written.load(Relaxed),
            exemplars: self.incidents.exemplars.load(Relaxed),
            events: self.incidents.passed.load(Relaxed),
        }
    }
}

fn has_kind(scope: &Scope, kind: &Kind) -> bool {
    scope.has_kind([kind.name(), kind.span_name()], kind.target())
}
