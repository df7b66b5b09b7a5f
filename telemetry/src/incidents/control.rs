//! Incidents begin and end.

use super::*;
use crate::instance::Instance;

impl Instance {
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
        let is_over = |active: &Active| all || active.ends <= now;
        let (over, active) = std::mem::take(&mut state.active)
            .into_iter()
            .partition(is_over);
        state.active = active;
        let over: Vec<Active> = over;
        let over = over.into_iter().map(|active| {
            let by = match active.ends {
                0 => EndedBy::Request,
                ends if all && ends > now => EndedBy::Shutdown,
                _ => EndedBy::Ttl,
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
        state.closing = None;
        let _ = self.apply(&mut state, self.clock.now());
    }

    /// Makes the records of incidents that are over, now that what was kept for them is written.
    pub(crate) fn close_incidents(&self) {
        loop {
            let mut state = self.incidents.state();
            // The report before may have panicked.
            state.closing = None;
            let Some((active, by, seconds)) = state.over.pop_front() else {
                return;
            };
            // The report takes time: until it is there, the incident is known as it began.
            state.closing = Some(active.record.clone());
            drop(state);
            let record = self.end_record(active, by, seconds);
            let mut state = self.incidents.state();
            state.closing = None;
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
    pub(super) fn begin_unasked(&self, incident: Incident) {
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
