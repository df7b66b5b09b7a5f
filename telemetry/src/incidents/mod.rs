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

mod control;
mod effects;
#[cfg(feature = "profile")]
mod heap;
#[cfg(not(feature = "profile"))]
#[path = "heap_off.rs"]
mod heap;
#[cfg(all(feature = "signal", target_os = "linux"))]
mod listener;
mod records;
#[cfg(all(feature = "signal", target_os = "linux"))]
pub(crate) mod signal;
mod spec;
mod text;
mod trigger;

pub use spec::{Incident, IncidentError, IncidentId};
pub use trigger::Trigger;
pub(crate) use trigger::Watch;

use crate::record::UnitSnapshot;
use crate::record::{EndedBy, IncidentRecord};
use crate::tool::rate::{Limiter, Rate};
use alloc_tracker::raw::{Guard, Lock};
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
    /// Whether any unit is known from others by its fields.
    by_fields: AtomicBool,
    events: Limiter,
    /// Bytes and number of exemplars that were written for the sake of an incident, and of events.
    written: AtomicU64,
    exemplars: AtomicU64,
    passed: AtomicU64,
    #[cfg(all(feature = "signal", target_os = "linux"))]
    listeners: Lock<Vec<listener::Listener>>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    /// The background thread is gone: nothing would ever end.
    closed: bool,
    active: Vec<Active>,
    /// Over, by what and after how many seconds, and not told of.
    over: VecDeque<(Active, EndedBy, f64)>,
    /// The one whose report is being made.
    closing: Option<IncidentRecord>,
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
    fn listeners(&self) -> Guard<'_, Vec<listener::Listener>> {
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

    /// Those in progress or with a report to come, as they began, and the last that ended.
    pub(crate) fn known(&self) -> Vec<IncidentRecord> {
        let state = self.state();
        let over = state.over.iter().map(|(active, ..)| &active.record);
        let active = state.active.iter().map(|active| &active.record);
        let begun = state.closing.iter().chain(over).chain(active);
        state.ended.iter().chain(begun).cloned().collect()
    }
}

/// What has been spent, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) at: u64,
    pub(super) background_ns: u64,
    pub(super) samples: u64,
    pub(super) sampling_ns: u64,
    pub(super) bytes: u64,
    pub(super) exemplars: u64,
    pub(super) events: u64,
}

impl Spent {
    pub(super) fn cpu_ns(self, since: Spent) -> u64 {
        let background = self.background_ns.saturating_sub(since.background_ns);
        background + self.sampling_ns.saturating_sub(since.sampling_ns)
    }
}
