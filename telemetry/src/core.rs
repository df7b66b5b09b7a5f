//! The state that the layer, the handle and the background thread share.

use crate::aggregate::{Aggregate, KindCosts, Metric};
use crate::background::Background;
use crate::budgets::{Budgets, Over};
use crate::callsites::CallSites;
use crate::clock::Clock;
use crate::costs::{Costs, Distributed, TotalCosts};
use crate::details::DetailRing;
use crate::events::{Events, SuppressedSite};
use crate::exemplars::{self, Chooser, HeadSample, Kept};
use crate::filter::UnitFilter;
use crate::ledger::{Counters, Ledger, UnitCounts, UnitDrop};
use crate::output::Queue;
use crate::shard::Shard;
use crate::snapshot::{Snapshot, UnitSnapshot};
use crate::system::Sampling;
use crate::units::{Ended, Finished, KindId, Kinds, Slots, SpanTable};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Core {
    /// Tells instances apart in the thread-locals.
    pub(crate) id: usize,
    pub(crate) service: String,
    pub(crate) clock: Clock,
    pub(crate) sampling: Sampling,
    pub(crate) callsites: CallSites,
    pub(crate) kinds: Kinds,
    pub(crate) spans: SpanTable,
    pub(crate) slots: Slots,
    pub(crate) events: Events,
    pub(crate) head_sample: HeadSample,
    /// Somebody reads what is written: exemplars and events are not for nobody.
    pub(crate) has_exporters: bool,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    pub(crate) background: Background,
    detail_words: usize,
    exemplar_ids: AtomicU64,
    shards: Mutex<Vec<Arc<Shard>>>,
    /// The details of threads that have ended: a unit that they worked for may not have.
    ended_details: Mutex<VecDeque<Arc<DetailRing>>>,
    /// What came in since the last flush. Held for as long as it takes to read one ring, or one
    /// kind's histograms; never for a report.
    incoming: Mutex<Aggregate<Costs>>,
    totals: Mutex<Totals>,
}

struct Totals {
    /// All before the last flush.
    flushed: Aggregate<TotalCosts>,
    /// Empty: what takes the place of a kind that is flushed.
    spare: Box<KindCosts<Costs>>,
    interval_start: u64,
}

/// Threads that have ended whose details are remembered.
const MOST_ENDED_DETAILS: usize = 8;

/// What an instance is made of; see the builder.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) service: String,
    pub(crate) units: UnitFilter,
    pub(crate) budgets: Budgets,
    pub(crate) events: Events,
    pub(crate) sampling: Sampling,
    pub(crate) head_sample: HeadSample,
    pub(crate) has_exporters: bool,
    pub(crate) bounds: Bounds,
}

/// Bounds on memory; see the builder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) kinds: usize,
    pub(crate) spans: usize,
    pub(crate) units: usize,
    /// Bytes of detail per thread.
    pub(crate) detail: usize,
}

/// What the units that ended between two flushes cost.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) seconds: f64,
    /// The kinds that had units, the one with the most wall time in all first.
    pub(crate) units: Vec<UnitSnapshot>,
    pub(crate) broken: Vec<Broken>,
}

/// A limit that did not hold for an interval.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) kind: KindId,
    /// Its place in the kind's budget.
    pub(crate) limit: usize,
    pub(crate) over: Over,
}

impl Core {
    pub(crate) fn new(setup: Setup) -> Self {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(0);
        let Setup { bounds, .. } = setup;
        Core {
            id: NEXT_ID.fetch_add(1, Relaxed),
            service: setup.service,
            clock: Clock::new(),
            sampling: setup.sampling,
            callsites: CallSites::new(),
            kinds: Kinds::new(setup.units, setup.budgets, bounds.kinds),
            spans: SpanTable::new(bounds.spans),
            slots: Slots::new(bounds.units),
            events: setup.events,
            head_sample: setup.head_sample,
            has_exporters: setup.has_exporters,
            queue: Queue::new(),
            counters: Counters::default(),
            background: Background::new(),
            // Nobody would read it.
            detail_words: if setup.has_exporters {
                bounds.detail / 8
            } else {
                0
            },
            exemplar_ids: AtomicU64::new(first_exemplar_id()),
            shards: Mutex::default(),
            ended_details: Mutex::default(),
            incoming: Mutex::default(),
            totals: Mutex::new(Totals {
                flushed: Aggregate::default(),
                spare: Box::new(KindCosts::new()),
                interval_start: 0,
            }),
        }
    }

    /// What is known of a unit that is kept: its entries in the rings of all threads.
    pub(crate) fn capture(
        &self,
        unit: &Finished,
        ended: &Ended,
        kept: Kept,
    ) -> exemplars::Captured {
        let mut entries = Vec::new();
        let mut whole = self.keeps_details();
        let live = self.shards();
        let gone = lock(&self.ended_details).clone();
        for details in live.iter().map(|shard| &shard.details).chain(&gone) {
            whole &= details.entries_of(ended.reference, ended.started, &mut entries);
        }
        exemplars::Captured {
            id: self.exemplar_ids.fetch_add(1, Relaxed),
            kept,
            unit: *unit,
            ended: SystemTime::now(),
            started: ended.started,
            entries,
            whole,
        }
    }

    /// Whether spans and events of units leave entries in the rings.
    #[inline]
    pub(crate) fn keeps_details(&self) -> bool {
        self.detail_words > 0
    }

    /// A shard for a thread that is new here.
    pub(crate) fn new_shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::new(self.kinds.most(), self.detail_words));
        lock(&self.shards).push(Arc::clone(&shard));
        shard
    }

    /// The thread of a shard ends: what is in the shard is kept, the shard is not.
    pub(crate) fn retire(&self, shard: &Arc<Shard>) {
        self.drain(shard);
        let mut shards = lock(&self.shards);
        for (id, kind) in self.kinds.all() {
            kind.add_elsewhere(shard.in_flight(id));
        }
        self.events.retire_shard(&self.callsites, shard);
        shards.retain(|other| !Arc::ptr_eq(other, shard));
        drop(shards);
        if self.keeps_details() {
            let mut ended = lock(&self.ended_details);
            if ended.len() == MOST_ENDED_DETAILS {
                ended.pop_front();
            }
            ended.push_back(Arc::clone(&shard.details));
        }
    }

    /// Units of a kind in progress: now, and the most that were seen.
    pub(crate) fn in_flight(&self, kind: KindId) -> (u64, u64) {
        self.in_flight_of(kind, &lock(&self.shards))
    }

    /// A thread has more units of a kind in progress than ever: perhaps all threads together have.
    #[cold]
    pub(crate) fn look_at_in_flight(&self, kind: KindId) {
        // Somebody else is looking: at a figure that is as good.
        if let Ok(shards) = self.shards.try_lock() {
            self.in_flight_of(kind, &shards);
        }
    }

    fn in_flight_of(&self, kind: KindId, shards: &[Arc<Shard>]) -> (u64, u64) {
        let in_shards = shards.iter().map(|shard| shard.in_flight(kind)).sum();
        self.kinds.get(kind).in_flight(in_shards)
    }

    /// The shards that there are now.
    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).clone()
    }

    /// Moves what is in one shard's ring into the histograms.
    pub(crate) fn drain(&self, shard: &Shard) {
        self.drain_into(shard, &mut lock(&self.incoming));
    }

    /// The same, unless somebody else is at the histograms.
    pub(crate) fn drain_if_free(&self, shard: &Shard) {
        match self.incoming.try_lock() {
            Ok(mut incoming) => self.drain_into(shard, &mut incoming),
            Err(TryLockError::Poisoned(poisoned)) => {
                self.drain_into(shard, &mut poisoned.into_inner());
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Takes in a unit that ended where no ring can be had.
    pub(crate) fn take_in(&self, unit: &Finished) {
        let mut incoming = lock(&self.incoming);
        let mut counts = UnitCounts::default();
        alloc_tracker::excluded(|| self.record(unit, &mut incoming, &mut counts));
        self.counters.add(&counts);
    }

    fn drain_into(&self, shard: &Shard, incoming: &mut Aggregate<Costs>) {
        let mut counts = UnitCounts::default();
        // A histogram that grows allocates: not at the expense of a unit around this one.
        alloc_tracker::excluded(|| {
            (shard.units).drain(|unit| self.record(unit, incoming, &mut counts));
        });
        self.counters.add(&counts);
    }

    fn record(&self, unit: &Finished, incoming: &mut Aggregate<Costs>, counts: &mut UnitCounts) {
        let limits = self.kinds.get(unit.kind).limits();
        incoming.at(unit.kind).record(unit, self.sampling, limits);
        counts.count(unit);
    }

    /// Brings the histograms up to date.
    fn collect(&self) {
        let shards = self.shards();
        // Ring by ring: a thread that waits for the histograms does not wait for all rings.
        for shard in &shards {
            self.drain(shard);
        }
        for (kind, _) in self.kinds.all() {
            self.in_flight_of(kind, &shards);
        }
    }

    /// Everything since the start.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // Bringing up to date is telemetry's expense; the snapshot is the caller's.
        alloc_tracker::excluded(|| self.collect());
        let totals = lock(&self.totals);
        let units = self.kinds.all().filter_map(|(id, _)| {
            let costs = alloc_tracker::excluded(|| self.costs_of(id, &totals.flushed));
            let unit = costs
                .as_ref()
                .map(|costs| UnitSnapshot::of(self, id, costs));
            alloc_tracker::excluded(|| drop(costs));
            // Or none has ended, and some are in progress.
            unit.or_else(|| {
                (self.in_flight(id).0 > 0)
                    .then(|| UnitSnapshot::of(self, id, &KindCosts::<TotalCosts>::new()))
            })
        });
        Snapshot::new(self, units.collect(), self.clock.now())
    }

    /// What a kind has cost since the start; `None` if it had no units.
    fn costs_of(
        &self,
        kind: KindId,
        flushed: &Aggregate<TotalCosts>,
    ) -> Option<KindCosts<TotalCosts>> {
        let incoming = lock(&self.incoming).of(kind).cloned();
        let mut costs = match flushed.of(kind) {
            Some(flushed) => flushed.clone(),
            None => KindCosts::new(),
        };
        if let Some(incoming) = incoming {
            costs.merge(&incoming);
        }
        (costs.count > 0).then_some(costs)
    }

    /// Ends an interval; `None` if it had no units, or nobody to be told of.
    pub(crate) fn end_interval(&self) -> Option<Interval> {
        self.collect();
        let mut totals = lock(&self.totals);
        let totals = &mut *totals;
        let now = self.clock.now();
        let lasted = now.saturating_sub(std::mem::replace(&mut totals.interval_start, now));
        let mut interval = Interval {
            seconds: lasted as f64 / 1e9,
            units: Vec::new(),
            broken: Vec::new(),
        };
        let mut counts = Vec::new();
        for (id, kind) in self.kinds.all() {
            {
                let mut incoming = lock(&self.incoming);
                if incoming.of(id).is_none() {
                    counts.push(0);
                    continue;
                }
                std::mem::swap(incoming.at(id), &mut totals.spare);
            }
            let (costs, flushed) = (&totals.spare, totals.flushed.at(id));
            flushed.merge(costs);
            counts.push(costs.count);
            if let Some(p99) = p99(costs).or_else(|| p99(flushed)) {
                kind.chooser.learn_p99(p99);
            }
            if self.has_exporters {
                interval.units.push(UnitSnapshot::of(self, id, costs));
                let limits = kind.limits().iter().zip(&costs.over).enumerate();
                let broken = limits.filter(|(_, (limit, over))| over.breaks(limit));
                interval.broken.extend(broken.map(|(n, (_, over))| Broken {
                    kind: id,
                    limit: n,
                    over: *over,
                }));
            }
            totals.spare.clear();
        }
        self.kinds.learn_shares(&counts);
        UnitSnapshot::sort(&mut interval.units);
        (!interval.units.is_empty()).then_some(interval)
    }

    /// What each call site of events kept back since this was last called, `most` of them.
    pub(crate) fn take_suppressed(&self, most: usize) -> Vec<SuppressedSite> {
        // The lock: a thread that ends moves its counts.
        let shards = lock(&self.shards);
        self.events.take_suppressed(&self.callsites, &shards, most)
    }

    /// A unit is not counted. The ledger has that to say, even if no unit ever ends.
    pub(crate) fn drop_unit(&self, why: UnitDrop) {
        self.counters.unit_dropped(why);
        self.background.something_happened();
    }

    pub(crate) fn ledger(&self) -> Ledger {
        alloc_tracker::excluded(|| self.collect());
        self.ledger_so_far()
    }

    /// The ledger without what is still in the rings.
    pub(crate) fn ledger_so_far(&self) -> Ledger {
        let rate_limited = alloc_tracker::excluded(|| {
            if self.background.has_stopped() {
                // What was handed over too late: nobody writes it any more.
                for item in self.queue.drain() {
                    self.counters.shut_down(&item);
                }
            }
            let shards = lock(&self.shards);
            self.events.rate_limited(&self.callsites, &shards)
        });
        self.counters.ledger(&self.events, rate_limited)
    }
}

/// Ids of exemplars count up from here: a process that starts later has other ones.
fn first_exemplar_id() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_millis() as u64 * 1000
}

fn p99<C: Distributed>(costs: &KindCosts<C>) -> Option<u64> {
    Chooser::is_enough(costs.count).then(|| costs.metric(Metric::Wall).quantile(0.99))
}

/// A panic while a lock is held leaves figures that are a unit short, not broken ones.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("id", &self.id)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
