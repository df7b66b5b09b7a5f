//! What is to be told, as records.

use crate::callsites::SiteId;
use crate::cost::Metric;
use crate::details::Fields;
use crate::events::SuppressedSite;
use crate::instance::{Broken, Instance};
use crate::record::{
    BoundaryCost, BrokenBudget, Envelope, EventRecord, ExemplarRecord, FindingKind, FindingRecord,
    Level, OuterUnit, PassedBy, Record, SuppressedRecord, UnitRecord, UnitSnapshot,
};
use crate::subscriber::CallSite;
use crate::tool::calendar::timestamp;
use crate::{events, exemplars};
use alloc_tracker::raw::escaped;
use serde::Serialize;
use std::io;
use std::time::{Duration, SystemTime};

/// The records of one flush.
pub(super) struct Batch<'a> {
    pub(super) instance: &'a Instance,
    /// Of all that is about the end of the interval.
    pub(super) envelope: Envelope,
    /// By the instance's clock.
    pub(super) now: u64,
    /// By the calendar, when the clock of events was at its start.
    pub(super) epoch: SystemTime,
    pub(super) records: Vec<Record>,
}

impl Batch<'_> {
    pub(super) fn unit(&self, figures: UnitSnapshot, seconds: f64) -> Record {
        Record::Unit(UnitRecord::new(self.envelope.clone(), seconds, figures))
    }

    pub(super) fn event(&self, event: &events::Captured) -> Record {
        let mut fields = Fields::default();
        fields.read(event.call_site, &event.fields);
        Record::Event(EventRecord {
            envelope: self.envelope_at(event.at),
            level: event.call_site.level(),
            target: event.call_site.target().to_owned(),
            location: event.call_site.location(),
            message: fields.message,
            fields: fields.others,
            unit: event
                .unit
                .map(|kind| self.instance.kinds.get(kind).name().to_owned()),
            weight: event.weight,
            trace_id: event.trace.map(|ids| ids.trace_id()),
            span_id: event.trace.map(|ids| ids.span_id()),
        })
    }

    pub(super) fn exemplar(&self, exemplar: &exemplars::Captured) -> Record {
        let kind = self.instance.kinds.get(exemplar.kind());
        let unit = &exemplar.unit;
        let (spans, events, complete) = exemplars::tree(exemplar, &self.instance.callsites);
        let costs = Metric::ALL.map(|metric| (metric.name().to_owned(), unit.costs.get(metric)));
        let boundaries = unit.boundaries.iter().map(|boundary| {
            let name = boundary.id.name().to_owned();
            (name, BoundaryCost::from(boundary))
        });
        Record::Exemplar(ExemplarRecord {
            envelope: self.envelope_at(exemplar.ended),
            id: id(exemplar),
            unit: kind.name().to_owned(),
            unit_id: exemplar.reference.to_string(),
            outer: exemplar.outer.map(|(outer, kind)| {
                OuterUnit::new(self.instance.kinds.get(kind).name(), outer.to_string())
            }),
            trace_id: exemplar.trace.map(|ids| ids.trace_id()),
            span_id: exemplar.trace.map(|ids| ids.span_id()),
            target: kind.target().to_owned(),
            why: exemplar.kept.why().collect(),
            weight: exemplar.kept.weight(),
            error: unit.error,
            costs: costs.into(),
            boundaries: boundaries.collect(),
            spans,
            events,
            complete,
        })
    }

    pub(super) fn over_budget(&self, broken: &Broken, example: Option<String>) -> Record {
        let kind = self.instance.kinds.get(broken.kind);
        let limit = &kind.limits()[broken.limit];
        let figures = limit.told(&broken.over);
        let unit = kind.name();
        let (name, key) = (escaped(unit), limit.key());
        let message = format!("{name}: {key} is over its budget: {}", figures.describe());
        let budget = BrokenBudget::new(limit.metric.clone(), limit.name.into(), figures);
        let unit = (unit, kind.target());
        self.finding(
            FindingKind::OverBudget,
            unit,
            message,
            Some(budget),
            example,
        )
    }

    pub(super) fn unknown_unit(&self, unit: &str) -> Record {
        let kinds = self
            .instance
            .kinds
            .all()
            .filter(|(_, kind)| kind.is_known());
        let names: Vec<&str> = kinds.map(|(_, kind)| kind.name()).take(10).collect();
        let among = match self.instance.kinds.has_others() {
            true => "; it may be among `other`, where units are whose kinds found no room",
            false => "",
        };
        let message = format!(
            "there is a budget, a trigger or an incident for the unit {unit:?}, and no unit of this name has been told \
             apart so far; seen were {names:?}{among}"
        );
        self.finding(FindingKind::UnknownUnit, (unit, ""), message, None, None)
    }

    pub(super) fn passed_by(&self, passed_by: &PassedBy) -> Record {
        let made = match passed_by.roots {
            _ if passed_by.hidden => "spans that would be units are made for nobody".to_owned(),
            0 => "no unit was seen so far, and these spans are none".to_owned(),
            roots => format!("{roots} root spans were no units"),
        };
        let at = passed_by
            .location
            .as_deref()
            .map(|at| format!(", at {}", escaped(at)));
        let message = format!("{made}: {}{}", passed_by.describe(), at.unwrap_or_default());
        let unit = (passed_by.span.as_str(), passed_by.target.as_str());
        self.finding(FindingKind::Setup, unit, message, None, None)
    }

    pub(super) fn finding(
        &self,
        finding: FindingKind,
        (unit, target): (&str, &str),
        message: String,
        budget: Option<BrokenBudget>,
        exemplar: Option<String>,
    ) -> Record {
        Record::Finding(FindingRecord {
            envelope: self.envelope.clone(),
            finding,
            unit: unit.to_owned(),
            target: target.to_owned(),
            message,
            budget,
            exemplar,
        })
    }

    pub(super) fn suppressed(&self, suppressed: SuppressedSite) -> Record {
        let call_site = match suppressed.site {
            SiteId::OTHER => None,
            site => self.instance.callsites.get(site),
        };
        Record::Suppressed(SuppressedRecord {
            envelope: self.envelope.clone(),
            level: call_site.map_or(Level::Other, CallSite::level),
            target: call_site.map_or("", CallSite::target).to_owned(),
            location: call_site.and_then(CallSite::location),
            count: suppressed.count,
            first: self.time_of(suppressed.first),
            last: self.time_of(suppressed.last),
        })
    }

    fn envelope_at(&self, at: SystemTime) -> Envelope {
        Envelope::new(self.envelope.resource.clone(), at)
    }

    /// A time of the clock of events as one of the calendar.
    pub(super) fn time_of(&self, moment: u64) -> String {
        let at = self.epoch.checked_add(Duration::from_nanos(moment));
        timestamp(at.unwrap_or(self.epoch))
    }
}

pub(super) fn id(exemplar: &exemplars::Captured) -> String {
    format!("{:x}", exemplar.id)
}

/// Bytes that a record takes as a line of JSON.
pub(super) fn size_of_json(record: &impl Serialize) -> u64 {
    struct Count(u64);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(1);
    // It cannot fail: the keys are texts, and the writer takes everything.
    let _ = serde_json::to_writer(&mut count, record);
    count.0
}
