//! What is written of incidents.

use super::{Active, Incident, IncidentId, heap};
use crate::instance::Instance;
use crate::record::{
    EndedBy, HeapReport, IncidentCost, IncidentEnd, IncidentRecord, IncidentScope, Phase,
};
use crate::tool::panics::caught;

impl Instance {
    pub(super) fn incident_record(&self, id: IncidentId, incident: &Incident) -> IncidentRecord {
        let scope = &incident.scope;
        IncidentRecord {
            envelope: self.envelope(),
            phase: Phase::Begin,
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

    pub(super) fn end_record(&self, active: Active, by: EndedBy, seconds: f64) -> IncidentRecord {
        let spent = self.spent(self.clock.now());
        let Active { id, before, .. } = active;
        let directory = &self.incidents.settings.directory;
        let heap = before.map(|before| {
            // It reads debug information, and draws: its panic ends nothing but itself.
            caught(|| heap::report(&before, directory, &self.resource.service, id)).unwrap_or_else(
                || {
                    self.counters.panicked();
                    HeapReport {
                        error: Some("the report panicked".to_owned()),
                        ..HeapReport::default()
                    }
                },
            )
        });
        self.counters.note_own_cpu();
        let after = self.spent(self.clock.now());
        // The report is not what others are given less for.
        self.incidents.state().looked = after;
        let cpu = self
            .counters
            .own_cpu_ns()
            .map(|_| spent.cpu_ns(active.spent) as f64 / 1e9);
        IncidentRecord {
            envelope: self.envelope(),
            phase: Phase::End,
            end: Some(IncidentEnd {
                by,
                seconds,
                cost: IncidentCost {
                    cpu_seconds: cpu,
                    report_cpu_seconds: (self.counters.own_cpu_ns())
                        .map(|_| after.cpu_ns(spent) as f64 / 1e9),
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
