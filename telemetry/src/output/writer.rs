//! Makes the records of a flush, on the background thread, and keeps the output under its limit.
//!
//! What summarises (unit, finding, suppressed and ledger records) is always written; it is bounded
//! by the kinds and call sites that there are, and what it takes is missing to the rest. Of that,
//! events may take up half of what is allowed at once, ERROR events another quarter, and exemplars
//! what is left.

use super::allowance::{Allowance, OutputLimit};
use super::{Item, MOST_ITEMS};
use crate::aggregate::Metric;
use crate::callsites::SiteId;
use crate::core::{Broken, Core, Interval};
use crate::details::Fields;
use crate::events::SuppressedSite;
use crate::export::{
    BoundaryCost, BrokenBudget, EventRecord, ExemplarRecord, FindingRecord, LedgerRecord, Record,
    SuppressedRecord, UnitRecord,
};
use crate::snapshot::{BudgetSnapshot, UnitSnapshot, timestamp};
use crate::units::KindId;
use crate::{events, exemplars};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, SystemTime};
use tracing::{Level, Metadata};

/// The most `suppressed` records of one flush; further call sites are in the next.
const MOST_SUPPRESSED: usize = 256;
/// The shares of what is allowed at once that are left for others.
const EVENTS_LEAVE: f64 = 0.5;
const ERRORS_LEAVE: f64 = 0.25;
/// The share of events that is written is looked at again after so many seconds.
const ADJUST_AFTER: f64 = 1.0;

/// What one flush has to tell.
#[derive(Debug)]
pub(crate) struct Writer {
    allowance: Allowance,
    /// Events that passed their limit since the share of them was last looked at.
    offered: u64,
    offered_bytes: u64,
    sampled_out: u64,
    adjusted_at: u64,
    /// The last exemplar that broke a limit, by kind and the limit's place in the budget.
    examples: BTreeMap<(KindId, usize), String>,
    /// Units with a budget that nobody has seen, and that were told of.
    unknown: BTreeSet<String>,
}

/// The records of one flush.
struct Batch<'a> {
    core: &'a Core,
    ts: String,
    /// By the instance's clock, by that of events, and by the calendar.
    now: u64,
    now_of_events: u64,
    at: SystemTime,
    records: Vec<Record>,
}

impl Writer {
    pub(crate) fn new(limit: OutputLimit, flush_every: Duration, now: u64) -> Self {
        Writer {
            allowance: Allowance::new(limit, flush_every.as_secs_f64(), now),
            offered: 0,
            offered_bytes: 0,
            sampled_out: 0,
            adjusted_at: now,
            examples: BTreeMap::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// What is to be written now, but for the ledger.
    pub(crate) fn records(&mut self, core: &Core, interval: Option<Interval>) -> Vec<Record> {
        let mut batch = Batch {
            core,
            ts: timestamp(SystemTime::now()),
            now: core.clock.now(),
            now_of_events: core.events.now(&core.clock),
            at: SystemTime::now(),
            records: Vec::new(),
        };
        self.allowance.refill(batch.now);
        let (broken, had_units) = match interval {
            None => (Vec::new(), false),
            Some(interval) => {
                for figures in interval.units {
                    let record = batch.unit(figures, interval.seconds);
                    self.write(&mut batch, record);
                }
                (interval.broken, true)
            }
        };
        let (mut events, mut exemplars) = (Vec::new(), Vec::new());
        for item in core.queue.drain() {
            match item {
                Item::Event(event) => events.push(event),
                Item::Exemplar(exemplar) => exemplars.push(exemplar),
            }
        }
        let (errors, events): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| *event.metadata.level() == Level::ERROR);
        for event in events {
            self.event(&mut batch, &event, EVENTS_LEAVE);
        }
        for event in errors {
            self.event(&mut batch, &event, ERRORS_LEAVE);
        }
        for exemplar in exemplars {
            self.exemplar(&mut batch, &exemplar);
        }
        for broken in broken {
            let finding = batch.over_budget(&broken, &self.examples);
            self.write(&mut batch, finding);
        }
        if had_units {
            self.unknown_units(&mut batch);
        }
        for suppressed in core.take_suppressed(MOST_SUPPRESSED) {
            let record = batch.suppressed(suppressed);
            self.write(&mut batch, record);
        }
        self.adjust_probability(&batch);
        batch.records
    }

    /// The last record of a flush.
    pub(crate) fn ledger(&mut self, core: &Core) -> Record {
        Record::Ledger(LedgerRecord {
            v: 1,
            ts: timestamp(SystemTime::now()),
            service: core.service.clone(),
            ledger: core.ledger_so_far(),
        })
    }

    /// Writes whether it is allowed or not.
    fn write(&mut self, batch: &mut Batch<'_>, record: Record) {
        self.allowance.charge(size_of_json(&record));
        batch.records.push(record);
    }

    fn event(&mut self, batch: &mut Batch<'_>, event: &events::Captured, leave: f64) {
        let record = batch.event(event);
        let size = size_of_json(&record);
        if *event.metadata.level() != Level::ERROR {
            self.offered += 1;
            self.offered_bytes += size;
        }
        if self.allowance.take(size, leave) {
            batch.core.counters.events.keep();
            batch.records.push(record);
        } else {
            batch.core.events.limited_by_output(event.site, event.now);
        }
    }

    fn exemplar(&mut self, batch: &mut Batch<'_>, exemplar: &exemplars::Captured) {
        let core = batch.core;
        let kind = core.kinds.get(exemplar.kind());
        let record = batch.exemplar(exemplar);
        if !self.allowance.take(size_of_json(&record), 0.0) {
            core.counters.exemplar_rate_limited();
            kind.chooser.lose(&exemplar.kept);
            return;
        }
        core.counters.exemplars.keep();
        for (n, limit) in kind.limits().iter().enumerate() {
            if limit.counts(&exemplar.unit) {
                self.examples.insert((exemplar.kind(), n), id(exemplar));
            }
        }
        batch.records.push(record);
    }

    /// Tells once of each unit that has a budget and never was seen, when others were.
    fn unknown_units(&mut self, batch: &mut Batch<'_>) {
        let core = batch.core;
        let is_known = |name: &str| core.kinds.all().any(|(_, kind)| kind.name() == name);
        for unit in core.kinds.budgets().units() {
            if !is_known(unit) && self.unknown.insert(unit.to_owned()) {
                let finding = batch.unknown_unit(unit);
                self.write(batch, finding);
            }
        }
    }

    /// So many events as fit into half of the output are drawn from now on, if as many come again.
    fn adjust_probability(&mut self, batch: &Batch<'_>) {
        let seconds = batch.now.saturating_sub(self.adjusted_at) as f64 / 1e9;
        if seconds < ADJUST_AFTER {
            return;
        }
        let events = &batch.core.events;
        let sampled_out = events.sampled_out();
        let offered = self.offered + (sampled_out - self.sampled_out);
        let bytes_each = self.offered_bytes as f64 / self.offered.max(1) as f64;
        let fit = (1.0 - EVENTS_LEAVE) * self.allowance.records_in(seconds, bytes_each);
        // The queue holds what comes until the next flush.
        let fit = fit.min(MOST_ITEMS as f64 / 2.0);
        let share = (fit / offered.max(1) as f64).min(2.0 * events.probability());
        events.set_probability(share);
        (self.offered, self.offered_bytes, self.sampled_out) = (0, 0, sampled_out);
        self.adjusted_at = batch.now;
    }
}

impl Batch<'_> {
    fn unit(&self, figures: UnitSnapshot, seconds: f64) -> Record {
        Record::Unit(UnitRecord {
            v: 1,
            ts: self.ts.clone(),
            service: self.core.service.clone(),
            seconds,
            figures,
        })
    }

    fn event(&self, event: &events::Captured) -> Record {
        let mut fields = Fields::default();
        fields.read(event.metadata, &event.fields);
        Record::Event(EventRecord {
            v: 1,
            ts: timestamp(event.at),
            service: self.core.service.clone(),
            level: event.metadata.level().as_str().to_owned(),
            target: event.metadata.target().to_owned(),
            location: location(event.metadata),
            message: fields.message,
            fields: fields.others,
            unit: event
                .unit
                .map(|kind| self.core.kinds.get(kind).name().to_owned()),
            weight: event.weight,
        })
    }

    fn exemplar(&self, exemplar: &exemplars::Captured) -> Record {
        let kind = self.core.kinds.get(exemplar.kind());
        let unit = &exemplar.unit;
        let (spans, events, complete) = exemplars::tree(exemplar, &self.core.callsites);
        let costs = Metric::ALL.map(|metric| (metric.name().to_owned(), metric.of(unit)));
        let boundaries = unit.boundaries.iter().map(|boundary| {
            let cost = BoundaryCost {
                calls: boundary.calls,
                bytes_sent: boundary.sent,
                bytes_received: boundary.received,
            };
            (boundary.id.name().to_owned(), cost)
        });
        Record::Exemplar(ExemplarRecord {
            v: 1,
            ts: timestamp(exemplar.ended),
            service: self.core.service.clone(),
            id: id(exemplar),
            unit: kind.name().to_owned(),
            target: kind.target().to_owned(),
            why: exemplar.kept.reasons.names().map(str::to_owned).collect(),
            weight: exemplar.kept.weight(),
            error: unit.error,
            costs: costs.into(),
            boundaries: boundaries.collect(),
            spans,
            events,
            complete,
        })
    }

    fn over_budget(&self, broken: &Broken, examples: &BTreeMap<(KindId, usize), String>) -> Record {
        let kind = self.core.kinds.get(broken.kind);
        let limit = &kind.limits()[broken.limit];
        let figures = BudgetSnapshot::of(limit, &broken.over);
        let (unit, key) = (kind.name(), limit.key());
        let message = format!("{unit}: {key} is over its budget: {}", figures.describe());
        let budget = BrokenBudget {
            metric: limit.metric.clone(),
            statistic: limit.name.to_owned(),
            figures,
        };
        let example = examples.get(&(broken.kind, broken.limit)).cloned();
        self.finding("over_budget", unit, message, Some(budget), example)
    }

    fn unknown_unit(&self, unit: &str) -> Record {
        let kinds = self.core.kinds.all().filter(|(_, kind)| kind.is_known());
        let names: Vec<&str> = kinds.map(|(_, kind)| kind.name()).take(10).collect();
        let message = format!(
            "there is a budget for the unit {unit:?}, and no unit of this name has begun so far; \
             seen were {names:?}"
        );
        self.finding("unknown_unit", unit, message, None, None)
    }

    fn finding(
        &self,
        finding: &str,
        unit: &str,
        message: String,
        budget: Option<BrokenBudget>,
        exemplar: Option<String>,
    ) -> Record {
        Record::Finding(FindingRecord {
            v: 1,
            ts: self.ts.clone(),
            service: self.core.service.clone(),
            finding: finding.to_owned(),
            unit: unit.to_owned(),
            message,
            budget,
            exemplar,
        })
    }

    fn suppressed(&self, suppressed: SuppressedSite) -> Record {
        let metadata = match suppressed.site {
            SiteId::OTHER => None,
            site => self.core.callsites.metadata(site),
        };
        Record::Suppressed(SuppressedRecord {
            v: 1,
            ts: self.ts.clone(),
            service: self.core.service.clone(),
            level: metadata.map_or("other", |m| m.level().as_str()).to_owned(),
            target: metadata.map_or("", |m| m.target()).to_owned(),
            location: metadata.and_then(location),
            count: suppressed.count,
            first: self.time_of(suppressed.first),
            last: self.time_of(suppressed.last),
        })
    }

    /// A time of the clock of events as one of the calendar.
    fn time_of(&self, moment: u64) -> String {
        let ago = Duration::from_nanos(self.now_of_events.saturating_sub(moment));
        timestamp(self.at.checked_sub(ago).unwrap_or(self.at))
    }
}

fn id(exemplar: &exemplars::Captured) -> String {
    format!("{:x}", exemplar.id)
}

fn location(metadata: &Metadata<'_>) -> Option<String> {
    let file = metadata.file()?;
    Some(match metadata.line() {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    })
}

/// Bytes that a record takes as a line of JSON.
fn size_of_json(record: &Record) -> u64 {
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
