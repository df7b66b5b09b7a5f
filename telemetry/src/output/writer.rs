//! Makes the records of a flush, on the background thread, and keeps the output under its limit.
//!
//! What summarises (unit, finding, suppressed and ledger records) is always written; it is bounded
//! by the kinds and call sites that there are, and what it takes is missing to the rest. The rest
//! has a quarter of the limit in any case: ERROR events, exemplars and other events each have a
//! quarter of it, and then what the others leave, in this order. Within each, the first of every call
//! site, or kind and reason, comes before the second of any.

use super::allowance::{Allowance, OutputLimit};
use super::records::{Batch, id, size_of_json};
use super::turns::{Turns, in_turns};
use super::{Item, MOST_ITEMS};
use crate::budgets::Over;
use crate::cost::KindId;
use crate::events::SuppressedSite;
use crate::instance::{Broken, Instance, Interval};
use crate::record::{FindingKind, IncidentRecord, LedgerRecord, Record, UnitSnapshot};
use crate::tool::rate::{Limiter, Rate};
use crate::{events, exemplars};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// The most `suppressed` records of one flush; further call sites are in the next.
const MOST_SUPPRESSED: usize = 256;
/// The buckets of a distribution in a record: within an eighth of the value.
const BITS: u8 = 3;
/// The share of the output that units' records may take before their buckets get coarser.
const FOR_UNITS: f64 = 0.75;
/// Bytes of a unit's record that are neither its figures nor its envelope.
const ENVELOPE: u64 = 64;
/// Bytes of a unit's record, as large as they come.
const MOST_OF_A_UNIT: f64 = 32_768.0;
/// How often a budget that does not hold is written of.
const FINDINGS: Rate = Rate::every(10, 10);
/// The share of the output for which events are drawn.
const FOR_EVENTS: f64 = 0.5;
/// The share of events that is written is looked at again after this many seconds.
const ADJUST_AFTER: f64 = 1.0;

/// What one flush has to tell.
#[derive(Debug)]
pub(super) struct Writer {
    allowance: Allowance,
    /// Events that passed their limit since the share of them was last looked at.
    offered: u64,
    offered_bytes: u64,
    sampled_out: u64,
    adjusted_at: u64,
    /// The last exemplar that broke a limit, by kind and the limit's place in the budget.
    examples: BTreeMap<(KindId, usize), String>,
    /// By the same: how often it may be told that the limit does not hold, and what is untold.
    findings: BTreeMap<(KindId, usize), (Limiter, Over)>,
    /// Units with a budget that nobody has seen, and that were told of.
    unknown: BTreeSet<String>,
    /// Spans that are no units, by name and target, that were told of.
    passed_by: BTreeSet<(String, String)>,
    /// What of the environment could not be read, until that was told.
    untold: Vec<String>,
    /// By the calendar, when the clock of events was at its start.
    epoch: Option<SystemTime>,
    told: Told,
}

/// What the last flush told once and for all, should nobody have heard it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Taken from the queue, and nothing was decided of them yet.
    undecided: (u64, u64),
    events: u64,
    exemplars: u64,
    suppressed: Vec<SuppressedSite>,
    unknown: Vec<String>,
    passed_by: Vec<(String, String)>,
    of_environment: Vec<String>,
    incidents: Vec<IncidentRecord>,
}

impl Writer {
    pub(super) fn new(
        limit: OutputLimit,
        flush_every: Duration,
        now: u64,
        untold: Vec<String>,
    ) -> Self {
        Writer {
            allowance: Allowance::new(limit, flush_every.as_secs_f64(), now),
            offered: 0,
            offered_bytes: 0,
            sampled_out: 0,
            adjusted_at: now,
            examples: BTreeMap::new(),
            findings: BTreeMap::new(),
            unknown: BTreeSet::new(),
            passed_by: BTreeSet::new(),
            untold,
            epoch: None,
            told: Told::default(),
        }
    }

    /// What is to be written now, but for the ledger.
    pub(super) fn records(
        &mut self,
        instance: &Instance,
        interval: Option<Interval>,
        last: bool,
    ) -> Vec<Record> {
        self.told = Told::default();
        let epoch = self.follow_the_calendar(instance);
        let mut batch = Batch {
            instance,
            envelope: instance.envelope(),
            now: instance.clock.now(),
            epoch,
            records: Vec::new(),
        };
        self.allowance.refill(batch.now);
        let had_units = interval.is_some();
        let (units, broken, seconds) = match interval {
            None => (Vec::new(), Vec::new(), 0.0),
            Some(interval) => (interval.units, interval.broken, interval.seconds),
        };
        for record in self.units(&batch, units, seconds) {
            self.write(&mut batch, record);
        }
        self.incidents(&mut batch);
        self.allowance.share_out();
        self.single_records(&mut batch);
        // What was kept for those that are over is written now.
        instance.close_incidents();
        self.incidents(&mut batch);
        for broken in broken {
            self.over_budget(&mut batch, broken);
        }
        if had_units {
            self.unknown_units(&mut batch);
        }
        self.of_environment(&mut batch);
        self.passed_by(&mut batch);
        let most = if last { usize::MAX } else { MOST_SUPPRESSED };
        self.told.suppressed = instance.take_suppressed(most);
        if self.told.suppressed.len() == most {
            instance.background.something_happened();
        }
        for suppressed in self.told.suppressed.clone() {
            let record = batch.suppressed(suppressed);
            self.write(&mut batch, record);
        }
        self.adjust_probability(&batch);
        batch.records
    }

    /// The finest buckets with which the units' records take no more than their share of the output.
    fn units(&self, batch: &Batch<'_>, units: Vec<UnitSnapshot>, seconds: f64) -> Vec<Record> {
        let share = self.allowance.bytes_of_an_interval() * FOR_UNITS;
        let mut units: Vec<UnitSnapshot> = units;
        for bits in (0..=BITS).rev().map(Some).chain([None]) {
            units.iter_mut().for_each(|unit| unit.set_bits(bits));
            // Mostly a few kinds: far from what would have to be looked at.
            if bits.is_none() || units.len() as f64 * MOST_OF_A_UNIT <= share {
                break;
            }
            let envelope = ENVELOPE + size_of_json(&batch.envelope);
            let size: u64 = units.iter().map(|unit| envelope + size_of_json(unit)).sum();
            if size as f64 <= share {
                break;
            }
        }
        let records = units.into_iter();
        records
            .map(|figures| batch.unit(figures, seconds))
            .collect()
    }

    fn incidents(&mut self, batch: &mut Batch<'_>) {
        for incident in batch.instance.incidents.take_records() {
            self.told.incidents.push(incident.clone());
            self.write(batch, Record::Incident(incident));
        }
    }

    /// A limit did not hold: told now, or with the next time that it does not.
    fn over_budget(&mut self, batch: &mut Batch<'_>, broken: Broken) {
        let place = (broken.kind, broken.limit);
        let (limiter, so_far) = self.findings.entry(place).or_default();
        so_far.merge(&broken.over);
        if limiter.allows(FINDINGS, batch.now) {
            let over = std::mem::take(so_far);
            let example = self.examples.get(&place).cloned();
            let finding = batch.over_budget(&Broken { over, ..broken }, example);
            self.write(batch, finding);
        }
    }

    /// What the records of the last flush told.
    pub(super) fn take_told(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    /// No exporter took the records of a flush, or they were not all made: what they told once is said again, and
    /// single records are lost.
    pub(super) fn nothing_was_written(&mut self, instance: &Instance, told: Told) {
        instance.counters.events.write_failed(told.events);
        instance.counters.exemplars.write_failed(told.exemplars);
        let (events, exemplars) = told.undecided;
        instance.counters.events.lose(events);
        instance.counters.exemplars.lose(exemplars);
        for report in &told.suppressed {
            instance.events.take_back(report);
        }
        instance.incidents.put_back(told.incidents);
        for site in &told.passed_by {
            self.passed_by.remove(site);
        }
        self.untold.extend(told.of_environment);
        for unit in &told.unknown {
            self.unknown.remove(unit);
        }
    }

    /// ERROR events, exemplars and other events, as far as they are allowed.
    fn single_records(&mut self, batch: &mut Batch<'_>) {
        let (mut errors, mut events, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
        for item in batch.instance.queue.drain() {
            match item {
                Item::Exemplar(exemplar) => exemplars.push(exemplar),
                Item::Event(event) if event.call_site.is_error() => errors.push(event),
                Item::Event(event) => events.push(event),
            }
        }
        let events_in_all = errors.len() + events.len();
        self.told.undecided = (events_in_all as u64, exemplars.len() as u64);
        let mut errors = in_turns(errors, |event| event.site.index());
        let mut events = in_turns(events, |event| event.site.index());
        let mut exemplars = in_turns(exemplars, |exemplar| exemplar.group());
        for leave in [[0.75, 0.5, 0.25], [0.0; 3]] {
            self.events(batch, &mut errors, leave[0]);
            self.exemplars(batch, &mut exemplars, leave[1]);
            self.events(batch, &mut events, leave[2]);
        }
        for event in errors.chain(events) {
            self.told.undecided.0 -= 1;
            batch
                .instance
                .events
                .limited_by_output(event.site, event.now);
        }
        for exemplar in exemplars {
            let kind = batch.instance.kinds.get(exemplar.kind());
            self.told.undecided.1 -= 1;
            batch.instance.counters.exemplar_rate_limited();
            kind.chooser.lose(&exemplar.kept);
        }
    }

    fn events(&mut self, batch: &mut Batch<'_>, events: &mut Turns<events::Captured>, leave: f64) {
        while let Some(event) = events.next() {
            let record = batch.event(&event);
            let size = size_of_json(&record);
            if !self.allowance.take(size, leave) {
                events.put_back(event);
                return;
            }
            self.told.undecided.0 -= 1;
            batch.instance.counters.events.keep();
            self.told.events += 1;
            if !event.call_site.is_error() {
                self.offered += 1;
                self.offered_bytes += size;
            }
            batch.records.push(record);
        }
    }

    fn exemplars(
        &mut self,
        batch: &mut Batch<'_>,
        exemplars: &mut Turns<exemplars::Captured>,
        leave: f64,
    ) {
        while let Some(exemplar) = exemplars.next() {
            let record = batch.exemplar(&exemplar);
            let size = size_of_json(&record);
            if !self.allowance.take(size, leave) {
                exemplars.put_back(exemplar);
                return;
            }
            self.told.undecided.1 -= 1;
            batch.instance.counters.exemplars.keep();
            self.told.exemplars += 1;
            if exemplar.kept.is_for_incident() {
                batch.instance.incidents.wrote_exemplar(size);
            }
            let limits = batch.instance.kinds.get(exemplar.kind()).limits();
            for (n, limit) in limits.iter().enumerate() {
                if limit.counts(&exemplar.unit) {
                    self.examples.insert((exemplar.kind(), n), id(&exemplar));
                }
            }
            batch.records.push(record);
        }
    }

    /// The two clocks tick at different moments, and one may be set: only that is followed.
    fn follow_the_calendar(&mut self, instance: &Instance) -> SystemTime {
        const SET: Duration = Duration::from_millis(100);
        let start = Duration::from_nanos(instance.events.now(&instance.clock));
        let now = instance.calendar.now();
        let epoch = now.checked_sub(start).unwrap_or(now);
        let apart = |known: SystemTime| match epoch.duration_since(known) {
            Ok(later) => later,
            Err(earlier) => earlier.duration(),
        };
        let known = self.epoch.filter(|known| apart(*known) <= SET);
        *self.epoch.insert(known.unwrap_or(epoch))
    }

    /// The last record of a flush.
    pub(super) fn ledger(&mut self, instance: &Instance) -> Record {
        let record = LedgerRecord::new(instance.envelope(), instance.ledger_so_far());
        let record = Record::Ledger(record);
        self.allowance.charge(size_of_json(&record));
        record
    }

    /// Writes whether it is allowed or not.
    fn write(&mut self, batch: &mut Batch<'_>, record: Record) {
        self.allowance.charge(size_of_json(&record));
        batch.records.push(record);
    }

    /// Tells once of each unit that has a budget, a trigger or an incident and never was seen, when others were.
    fn unknown_units(&mut self, batch: &mut Batch<'_>) {
        for unit in batch.instance.kinds.unseen() {
            if self.unknown.insert(unit.to_owned()) {
                let finding = batch.unknown_unit(unit);
                self.write(batch, finding);
                self.told.unknown.push(unit.to_owned());
            }
        }
    }

    /// Tells once of what could not be read.
    fn of_environment(&mut self, batch: &mut Batch<'_>) {
        for message in std::mem::take(&mut self.untold) {
            let finding = batch.finding(FindingKind::Setup, ("", ""), message.clone(), None, None);
            self.write(batch, finding);
            self.told.of_environment.push(message);
        }
    }

    /// Tells once of each span call site that may be what somebody looks for.
    fn passed_by(&mut self, batch: &mut Batch<'_>) {
        for passed_by in batch.instance.who_passed_by() {
            let key = (passed_by.span.clone(), passed_by.target.clone());
            if self.passed_by.insert(key.clone()) {
                let finding = batch.passed_by(&passed_by);
                self.write(batch, finding);
                self.told.passed_by.push(key);
            }
        }
    }

    /// This many events as fit into half of the output are drawn from now on, if as many come again.
    fn adjust_probability(&mut self, batch: &Batch<'_>) {
        let seconds = batch.now.saturating_sub(self.adjusted_at) as f64 / 1e9;
        if seconds < ADJUST_AFTER {
            return;
        }
        let events = &batch.instance.events;
        let sampled_out = events.sampled_out();
        let offered = self.offered + (sampled_out - self.sampled_out);
        let bytes_each = self.offered_bytes as f64 / self.offered.max(1) as f64;
        let fit = FOR_EVENTS * self.allowance.records_in(seconds, bytes_each);
        // The queue holds what comes until the next flush.
        let fit = fit.min(MOST_ITEMS as f64 / 2.0);
        let share = (fit / offered.max(1) as f64).min(2.0 * events.probability());
        events.set_probability(share);
        (self.offered, self.offered_bytes, self.sampled_out) = (0, 0, sampled_out);
        self.adjusted_at = batch.now;
    }
}
