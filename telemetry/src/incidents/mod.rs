//! Incident mode: detail is turned up for a bounded time, within a scope.
//!
//! ```text
//!   Telemetry::incident ─┐                                     ┌─► flags of kinds: exemplars, events
//!   a trigger ───────────┼─► begin ──► in progress ──► effects ┤
//!   a signal ────────────┘                │                    └─► heap profiler
//!                                         │ TTL, end(), shutdown: the background thread
//!                                         ▼
//!                                        end ──► report, and everything as before
//! ```
//!
//! The effects are those of all incidents in progress together. With none, every flag is as it was
//! before the first, and the thread that waits for their end waits for nothing.

#[cfg(feature = "profile")]
mod heap;
#[cfg(not(feature = "profile"))]
#[path = "heap_off.rs"]
mod heap;
#[cfg(all(feature = "signal", target_os = "linux"))]
pub(crate) mod signal;
mod spec;
mod trigger;

pub use spec::{Incident, IncidentError, IncidentId};
pub use trigger::Trigger;
pub(crate) use trigger::Watch;

use crate::core::Core;
use crate::export::{HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope};
use crate::rate::{Limiter, Rate};
use crate::snapshot::{UnitSnapshot, timestamp};
use crate::units::KindId;
use heap::{Before, Heap};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// In progress at once.
const MOST: usize = 8;
/// Ended ones that are remembered.
const REMEMBERED: usize = 8;
/// How often incidents in progress are looked at: what they cost, and new kinds of unit.
const LOOK_EVERY: u64 = 250_000_000;
/// Events over their call site's limit that pass for all incidents together.
const EVENTS: Rate = Rate::every_millis(10, 200);
/// Nothing is to be done.
const NEVER: u64 = u64::MAX;

/// Where incidents may go, and how long they may last.
#[derive(Clone, Debug)]
pub(crate) struct IncidentSettings {
    pub(crate) longest: Duration,
    pub(crate) directory: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Incidents {
    settings: IncidentSettings,
    state: Mutex<State>,
    /// When there is something to do, by the instance's clock.
    due: AtomicU64,
    /// When the last of those in progress ends, at the latest.
    end: AtomicU64,
    /// Whether events over their limits may pass.
    raises_events: AtomicBool,
    /// Whether any unit is told from others by its fields.
    by_fields: AtomicBool,
    events: Limiter,
    /// Bytes and number of exemplars that were written for the sake of an incident, and of events.
    written: AtomicU64,
    exemplars: AtomicU64,
    passed: AtomicU64,
    #[cfg(all(feature = "signal", target_os = "linux"))]
    listeners: Mutex<Vec<signal::Listener>>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    /// The background thread is gone: nothing would ever end.
    closed: bool,
    active: Vec<Active>,
    /// Over, by what and after how many seconds, and not told of.
    over: Vec<(Active, &'static str, f64)>,
    ended: VecDeque<IncidentRecord>,
    /// What is to be written.
    records: Vec<IncidentRecord>,
    heap: Heap,
    /// The mean is this many times what was asked for, to take less.
    shed_heap: u64,
    /// No unit is kept and no event passes for the sake of incidents, to take less.
    paused: bool,
    looked: Spent,
}

#[derive(Debug)]
struct Active {
    id: IncidentId,
    incident: Incident,
    begun: u64,
    ends: u64,
    record: IncidentRecord,
    before: Option<Before>,
    spent: Spent,
    shed: u64,
    out_of_bytes: bool,
}

/// What has been spent, at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    at: u64,
    background_ns: u64,
    samples: u64,
    sampling_ns: u64,
    bytes: u64,
    exemplars: u64,
    events: u64,
}

impl Spent {
    fn cpu_ns(self, since: Spent) -> u64 {
        let background = self.background_ns.saturating_sub(since.background_ns);
        background + self.sampling_ns.saturating_sub(since.sampling_ns)
    }
}

impl Incidents {
    pub(crate) fn new(settings: IncidentSettings) -> Self {
        Incidents {
            settings,
            state: Mutex::default(),
            due: AtomicU64::new(NEVER),
            end: AtomicU64::new(0),
            raises_events: AtomicBool::new(false),
            by_fields: AtomicBool::new(false),
            events: Limiter::default(),
            written: AtomicU64::new(0),
            exemplars: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            listeners: Mutex::default(),
        }
    }

    #[cfg(all(feature = "signal", target_os = "linux"))]
    fn listeners(&self) -> MutexGuard<'_, Vec<signal::Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When there is something to do; `None`: never.
    pub(crate) fn due(&self) -> Option<u64> {
        Some(self.due.load(Relaxed)).filter(|&due| due != NEVER)
    }

    /// Whether it matters which fields a unit begins with.
    #[inline]
    pub(crate) fn ask_for_fields(&self) -> bool {
        self.by_fields.load(Relaxed)
    }

    /// When the last of those in progress ends, at the latest, by the instance's clock.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }

    /// An exemplar was written for the sake of an incident.
    pub(crate) fn wrote_exemplar(&self, bytes: u64) {
        self.written.fetch_add(bytes, Relaxed);
        self.exemplars.fetch_add(1, Relaxed);
    }

    /// What is to be written.
    pub(crate) fn take_records(&self) -> Vec<IncidentRecord> {
        std::mem::take(&mut self.state().records)
    }

    /// Nobody has taken these: they are to be written again.
    pub(crate) fn put_back(&self, records: Vec<IncidentRecord>) {
        let mut state = self.state();
        let newer = std::mem::replace(&mut state.records, records);
        state.records.extend(newer);
        // Whom nobody listens to need not remember everything.
        let over = state.records.len().saturating_sub(4 * MOST);
        state.records.drain(..over);
    }

    /// Those in progress, as they began, and the last that ended.
    pub(crate) fn known(&self) -> Vec<IncidentRecord> {
        let state = self.state();
        let active = state.active.iter().map(|active| &active.record);
        state.ended.iter().chain(active).cloned().collect()
    }
}

impl Core {
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

    /// Begins an incident, on the calling thread.
    pub(crate) fn begin_incident(&self, incident: Incident) -> Result<IncidentId, IncidentError> {
        alloc_tracker::excluded(|| {
            let incidents = &self.incidents;
            incident.check(incidents.settings.longest)?;
            if self.background.is_stopping() || self.background.is_forked() {
                return Err(IncidentError::NotRunning);
            }
            // Before the lock: it takes a while if much is live.
            let before = incident.heap.map(|_| heap::before());
            let mut state = incidents.state();
            if state.closed {
                return Err(IncidentError::NotRunning);
            }
            if state.active.len() >= MOST {
                return Err(IncidentError::TooMany(MOST));
            }
            let now = self.clock.now();
            let id = IncidentId(state.last_id + 1);
            let record = self.incident_record(id, &incident);
            let ttl = u64::try_from(incident.ttl.as_nanos()).unwrap_or(NEVER);
            state.active.push(Active {
                id,
                begun: now,
                ends: now.saturating_add(ttl).min(NEVER - 1),
                record: record.clone(),
                before,
                spent: self.spent(now),
                shed: 0,
                out_of_bytes: false,
                incident,
            });
            if state.active.len() == 1 {
                state.shed_heap = 1;
                state.paused = false;
                state.looked = self.spent(now);
            }
            if let Err(why) = self.apply(&mut state, now) {
                state.active.pop();
                // What the others want, they had before.
                let _ = self.apply(&mut state, now);
                return Err(IncidentError::Heap(why));
            }
            state.last_id = id.0;
            state.records.push(record);
            Ok(id)
        })
        .inspect(|_| self.background.flush_soon())
    }

    /// Ends an incident before its time; false if it is not in progress.
    pub(crate) fn end_incident(&self, id: IncidentId) -> bool {
        let mut state = self.incidents.state();
        let Some(active) = state.active.iter_mut().find(|active| active.id == id) else {
            return false;
        };
        // The background thread does it: a report takes time.
        active.ends = 0;
        self.incidents.due.store(0, Relaxed);
        drop(state);
        self.background.flush_soon();
        true
    }

    /// Does what is due, on the background thread; `all`: ends everything. True: there are records to
    /// be written.
    pub(crate) fn attend_incidents(&self, all: bool) -> bool {
        let now = self.clock.now();
        if self.incidents.due.load(Relaxed) > now && !all {
            return false;
        }
        self.counters.note_own_cpu();
        let mut state = self.incidents.state();
        let state = &mut *state;
        state.closed |= all;
        self.shed(state, now);
        let is_over = |active: &mut Active| all || active.ends <= now;
        let over = state.active.extract_if(.., is_over).map(|active| {
            let by = match active.ends {
                0 => "request",
                ends if all && ends > now => "shutdown",
                _ => "ttl",
            };
            let seconds = now.saturating_sub(active.begun) as f64 / 1e9;
            (active, by, seconds)
        });
        state.over.extend(over);
        // Everything is as before from here on, however long the reports take.
        let _ = self.apply(state, now);
        !state.over.is_empty()
    }

    /// The background thread ends, however: everything is as before.
    pub(crate) fn abandon_incidents(&self) {
        let mut state = self.incidents.state();
        state.closed = true;
        state.active.clear();
        let _ = self.apply(&mut state, self.clock.now());
    }

    /// Makes the records of incidents that are over, now that what was kept for them is written.
    pub(crate) fn close_incidents(&self) {
        let over = std::mem::take(&mut self.incidents.state().over);
        for (active, by, seconds) in over {
            let record = self.end_record(active, by, seconds);
            let mut state = self.incidents.state();
            if state.ended.len() == REMEMBERED {
                state.ended.pop_front();
            }
            state.ended.push_back(record.clone());
            state.records.push(record);
        }
    }

    /// Looks whether a trigger fires, at the end of an interval.
    pub(crate) fn pull_triggers(&self, watches: &mut [Watch], units: &[UnitSnapshot]) {
        let now = self.clock.now();
        for watch in watches {
            if let Some(incident) = watch.look(units, now) {
                self.begin_unasked(incident);
            }
        }
    }

    /// Begins an incident that nobody waits for. If the heap cannot be profiled it begins without, and
    /// says so; if as many as may be are in progress, there is detail enough.
    fn begin_unasked(&self, incident: Incident) {
        if let Err(IncidentError::Heap(why)) = self.begin_incident(incident.clone()) {
            let why = format!("{} (the heap cannot be profiled: {why})", incident.why);
            let without = Incident {
                heap: None,
                ..incident.why(why)
            };
            let _ = self.begin_incident(without);
        }
    }

    /// Has the heap sampled less often if that takes too much, and more often again if it takes little;
    /// stops what has used up its bytes.
    fn shed(&self, state: &mut State, now: u64) {
        let spent = self.spent(now);
        let wall = spent.at.saturating_sub(state.looked.at);
        let share = spent.cpu_ns(state.looked) as f64 / wall.max(1) as f64;
        let shares = state.active.iter().map(|active| active.incident.cpu_share);
        let allowed = shares.fold(f64::INFINITY, f64::min);
        if wall >= LOOK_EVERY / 2 {
            let samples = spent.samples > state.looked.samples;
            state.looked = spent;
            if share > allowed {
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
    fn apply(&self, state: &mut State, now: u64) -> Result<(), String> {
        let (incidents, active, paused) = (&self.incidents, &state.active, state.paused);
        let writing = || {
            active
                .iter()
                .filter(|active| !active.out_of_bytes && !paused)
        };
        let mut any_fields = false;
        for (_, kind) in self.kinds.all() {
            let (name, target) = (kind.name(), kind.target());
            let mut within = writing().filter(|a| a.incident.scope.has_kind(name, target));
            let (mut all, mut some) = (false, false);
            within
                .by_ref()
                .for_each(|active| match active.incident.scope.fields.len() {
                    0 => all = true,
                    _ => some = true,
                });
            any_fields |= some;
            kind.chooser.set_incident(all);
        }
        incidents.by_fields.store(any_fields, Relaxed);
        incidents
            .raises_events
            .store(writing().next().is_some(), Relaxed);
        let end = active.iter().map(|active| active.ends).max();
        incidents.end.store(end.unwrap_or(0), Relaxed);
        let due = active.iter().map(|active| active.ends).min();
        let due = due.map_or(NEVER, |ends| ends.min(now.saturating_add(LOOK_EVERY)));
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
        let Ok(state) = self.incidents.state.try_lock() else {
            return false;
        };
        let active = state.active.iter().filter(|active| !active.out_of_bytes);
        let mut scopes = active.map(|active| &active.incident.scope);
        scopes.any(|scope| {
            !scope.fields.is_empty()
                && scope.has_kind(kind.name(), kind.target())
                && scope
                    .fields
                    .iter()
                    .all(|(name, value)| value_of(name).as_ref() == Some(value))
        })
    }

    fn spent(&self, at: u64) -> Spent {
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

    fn incident_record(&self, id: IncidentId, incident: &Incident) -> IncidentRecord {
        let scope = &incident.scope;
        IncidentRecord {
            v: 1,
            ts: timestamp(SystemTime::now()),
            service: self.service.clone(),
            phase: "begin".to_owned(),
            id: id.0,
            who: incident.who.clone(),
            why: incident.why.clone(),
            scope: IncidentScope {
                unit: scope.unit.clone(),
                target: scope.target.clone(),
                fields: scope.fields.iter().cloned().collect(),
            },
            ttl_seconds: incident.ttl.as_secs_f64(),
            heap_mean_bytes: incident.heap,
            end: None,
        }
    }

    fn end_record(&self, active: Active, by: &str, seconds: f64) -> IncidentRecord {
        let Active { id, before, .. } = active;
        let directory = &self.incidents.settings.directory;
        let heap = before.map(|before| {
            // It reads debug information, and draws: its panic ends nothing but itself.
            let report = || heap::report(&before, directory, &self.service, id);
            catch_unwind(AssertUnwindSafe(report)).unwrap_or_else(|_| HeapReport {
                error: Some("the report panicked".to_owned()),
                ..HeapReport::default()
            })
        });
        self.counters.note_own_cpu();
        let spent = self.spent(self.clock.now());
        // The report is not what others are given less for.
        self.incidents.state().looked = spent;
        let cpu = self
            .counters
            .own_cpu_ns()
            .map(|_| spent.cpu_ns(active.spent) as f64 / 1e9);
        IncidentRecord {
            ts: timestamp(SystemTime::now()),
            phase: "end".to_owned(),
            end: Some(IncidentEnd {
                by: by.to_owned(),
                seconds,
                cost: IncidentCost {
                    cpu_seconds: cpu,
                    bytes: spent.bytes - active.spent.bytes,
                    exemplars: spent.exemplars - active.spent.exemplars,
                    events: spent.events - active.spent.events,
                    heap_samples: spent.samples - active.spent.samples,
                    shed: active.shed,
                },
                heap,
            }),
            ..active.record
        }
    }
}
