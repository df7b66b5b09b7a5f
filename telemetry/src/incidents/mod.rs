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

mod effects;
#[cfg(feature = "profile")]
mod heap;
#[cfg(not(feature = "profile"))]
#[path = "heap_off.rs"]
mod heap;
mod records;
#[cfg(all(feature = "signal", target_os = "linux"))]
pub(crate) mod signal;
mod spec;
mod text;
mod trigger;

pub use spec::{Incident, IncidentError, IncidentId};
pub use trigger::Trigger;
pub(crate) use trigger::Watch;

use crate::core::Core;
use crate::export::IncidentRecord;
use crate::rate::{Limiter, Rate};
use crate::snapshot::UnitSnapshot;
use alloc_tracker::raw::{Guard, Lock};
use effects::Spent;
use heap::{Before, Heap};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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
    state: Lock<State>,
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
    listeners: Lock<Vec<signal::Listener>>,
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

impl Incidents {
    pub(crate) fn new(settings: IncidentSettings) -> Self {
        Incidents {
            settings,
            state: Lock::new(),
            due: AtomicU64::new(NEVER),
            end: AtomicU64::new(0),
            raises_events: AtomicBool::new(false),
            by_fields: AtomicBool::new(false),
            events: Limiter::default(),
            written: AtomicU64::new(0),
            exemplars: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            listeners: Lock::new(),
        }
    }

    #[cfg(all(feature = "signal", target_os = "linux"))]
    fn listeners(&self) -> Guard<'_, Vec<signal::Listener>> {
        self.listeners.lock()
    }

    fn state(&self) -> Guard<'_, State> {
        self.state.lock()
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
    /// Begins an incident, on the calling thread.
    pub(crate) fn begin_incident(&self, incident: Incident) -> Result<IncidentId, IncidentError> {
        alloc_tracker::raw::for_a_tool(|| {
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
            let now = self.clock.now();
            // Those that are over may not have been attended to yet.
            let in_progress = state.active.iter().filter(|active| active.ends > now);
            if in_progress.count() >= MOST || state.active.len() >= 16 * MOST {
                return Err(IncidentError::TooMany(MOST));
            }
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
        if self.background.is_forked() {
            // It is the parent's, and its report too.
            return false;
        }
        let mut state = self.incidents.state();
        let now = self.clock.now();
        let mut in_progress = state.active.iter_mut().filter(|active| active.ends > now);
        let Some(active) = in_progress.find(|active| active.id == id) else {
            return false;
        };
        active.ends = 0;
        let _ = self.apply(&mut state, now);
        drop(state);
        // The background thread does the rest: a report takes time.
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

    /// Everything is as before the first of them, whatever happened. `closed`: the background thread
    /// ends, and with it incidents.
    pub(crate) fn abandon_incidents(&self, closed: bool) {
        // First: what follows may panic as well.
        self.incidents.due.store(NEVER, Relaxed);
        let mut state = self.incidents.state();
        state.closed |= closed;
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
}
