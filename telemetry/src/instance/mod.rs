//! The state that the layer, the handle and the background thread share: what the threads hand over
//! ([`outboxes`]), and what is made of it ([`intervals`]).

mod aggregate;
mod figures;
mod in_progress;
mod intervals;
mod lasting;
mod outboxes;
mod outside;

use intervals::Totals;
pub(crate) use intervals::{Broken, Interval};
pub(crate) use lasting::Lasting;
use outboxes::Outboxes;
use outside::Before;

use self::aggregate::Aggregate;
use crate::background::Background;
use crate::budgets::Budgets;
use crate::callsites::CallSites;
use crate::events::Events;
use crate::exemplars::HeadSample;
use crate::incidents::{IncidentSettings, Incidents};
use crate::kinds::Kinds;
use crate::ledger::{Counters, UnitDrop};
use crate::live::{KnownSpan, LiveUnits, Spans};
use crate::os::{self, Sampling};
use crate::outbox::Outbox;
use crate::output::{Item, Queue};
use crate::passed_by::PassedBy;
use crate::record::{Envelope, Ledger, Resource, TraceIds};
use crate::subscriber::filter::UnitFilter;
use crate::subscriber::{Attached, CallSite};
use crate::tool::calendar::Calendar;
use crate::tool::clock::Clock;
use crate::tool::panics::caught;
use alloc_tracker::raw::{Lock, Own};
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What it has is no work of the program's, the end of it neither.
pub(crate) struct Instance(Own<State>);

pub(crate) struct State {
    /// Tells instances apart in the thread-locals.
    pub(crate) id: usize,
    pub(crate) lasting: &'static Lasting,
    pub(crate) resource: Resource,
    pub(crate) clock: Clock,
    pub(crate) calendar: Calendar,
    pub(crate) sampling: Sampling,
    pub(crate) callsites: CallSites,
    pub(crate) kinds: Kinds,
    pub(crate) passed_by: PassedBy,
    pub(crate) attached: Attached,
    /// Says where the calling thread is in a trace.
    trace: TraceSource,
    /// Whether it does, and somebody is to be told.
    pub(crate) is_traced: bool,
    pub(crate) spans: Spans,
    pub(crate) live_units: LiveUnits,
    pub(crate) events: Events,
    pub(crate) head_sample: HeadSample,
    /// Somebody reads what is written: exemplars and events are not for nobody.
    pub(crate) has_exporters: bool,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    pub(crate) background: Background,
    pub(crate) incidents: Incidents,
    /// What a reading of the CPU clock takes, in nanoseconds; `None`: units are not asked about.
    cpu_reading: Option<u64>,
    detail_words: usize,
    before: Before,
    exemplar_ids: AtomicU64,
    /// The time until which the pool of units counts as full, without a look at it.
    full_until: AtomicU64,
    /// What the calling thread hands over, if it ever did.
    own_outbox: fn(&Instance) -> Option<Arc<Outbox>>,
    // A panic while one of these is held leaves figures that are a unit short, not broken ones.
    outboxes: Lock<Outboxes>,
    /// What came in since the last flush. Held for as long as it takes to read one ring, or one
    /// kind's histograms; never for a report.
    incoming: Lock<Aggregate>,
    totals: Lock<Totals>,
}

type TraceOfThread = dyn Fn() -> Option<TraceIds> + Send + Sync;

/// What says where a thread is in a trace, if anything does.
#[derive(Clone, Default)]
pub(crate) struct TraceSource(pub(crate) Option<Arc<TraceOfThread>>);

impl TraceSource {
    fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// It was the program's before it was here.
impl Drop for TraceSource {
    fn drop(&mut self) {
        alloc_tracker::raw::for_the_program(|| drop(self.0.take()));
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceSource").field(&self.is_some()).finish()
    }
}

/// What an instance is made of; see the builder.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) resource: Resource,
    pub(crate) clock: Clock,
    pub(crate) calendar: Calendar,
    pub(crate) units: UnitFilter,
    pub(crate) budgets: Budgets,
    /// Fields that name a class of units.
    pub(crate) kind_by: Vec<String>,
    pub(crate) trace: TraceSource,
    /// Units that triggers are about.
    pub(crate) watched: Vec<String>,
    pub(crate) events: Events,
    pub(crate) sampling: Sampling,
    pub(crate) head_sample: HeadSample,
    /// Their names.
    pub(crate) exporters: Vec<String>,
    pub(crate) bounds: Bounds,
    pub(crate) incidents: IncidentSettings,
    /// How a thread finds its own outbox, should the list of them be lost: in the child of a fork.
    pub(crate) own_outbox: fn(&Instance) -> Option<Arc<Outbox>>,
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

impl Deref for Instance {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.0
    }
}

impl Instance {
    pub(crate) fn new(setup: Setup) -> Self {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(0);
        let (bounds, has_exporters) = (setup.bounds, !setup.exporters.is_empty());
        let lasting = Lasting::new(setup.clock.clone());
        Instance(Own::new(State {
            id: NEXT_ID.fetch_add(1, Relaxed),
            lasting,
            resource: setup.resource,
            clock: setup.clock,
            calendar: setup.calendar,
            sampling: setup.sampling,
            callsites: CallSites::new(),
            kinds: Kinds::new(
                setup.units,
                setup.budgets,
                setup.kind_by,
                setup.watched,
                bounds.kinds,
            ),
            passed_by: PassedBy::new(),
            attached: Attached::default(),
            is_traced: has_exporters && setup.trace.is_some(),
            trace: setup.trace,
            spans: Spans::new(bounds.spans),
            live_units: LiveUnits::new(bounds.units),
            events: setup.events,
            head_sample: setup.head_sample,
            queue: Queue::new(),
            has_exporters,
            counters: Counters::new(setup.exporters, &lasting.untold),
            background: Background::new(&lasting.bell),
            incidents: Incidents::new(setup.incidents),
            cpu_reading: (!setup.sampling.is_off()).then(os::calibrate).flatten(),
            // Nobody would read it.
            detail_words: if has_exporters { bounds.detail / 8 } else { 0 },
            before: Before::now(),
            exemplar_ids: AtomicU64::new(first_exemplar_id()),
            full_until: AtomicU64::new(0),
            own_outbox: setup.own_outbox,
            outboxes: Lock::new(),
            incoming: Lock::new(),
            totals: Lock::new(),
        }))
    }

    /// Of a record about this moment.
    pub(crate) fn envelope(&self) -> Envelope {
        Envelope::new(self.resource.clone(), self.calendar.now())
    }

    /// A call site is registered whose spans nobody takes for units.
    #[cold]
    pub(crate) fn passes_by(&self, site: CallSite) {
        let is_new = !self.kinds.are_told(site) && self.passed_by.registered(site);
        // Where that is all that happens, it is to be said.
        if is_new && !self.kinds.were_seen() {
            self.background.something_happened();
        }
    }

    /// A root span of this call site is no unit.
    pub(crate) fn root_passes_by(&self, site: CallSite) {
        if !self.kinds.are_told(site) && self.passed_by.root(site) {
            self.background.something_happened();
        }
    }

    /// Finds out which spans would be units and are hidden from all layers. Not in a callback of the subscriber's.
    pub(crate) fn look_for_hidden(&self) {
        let would_be_units = |site: CallSite| {
            let id = self.callsites.known(site.address());
            self.kinds.would_be_units(id, site)
        };
        let tell = |site, is_hidden| self.passed_by.hidden(site, is_hidden);
        self.attached.ask(would_be_units, tell);
    }

    /// Does something on one of the application's threads that no timed callback has.
    pub(crate) fn apart<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = self.clock.now();
        let (done, by_cpu) = os::cpu_of(work);
        let by_wall = || self.clock.now().saturating_sub(start);
        self.counters.took_apart(by_cpu, by_wall);
        done
    }

    /// Where the calling thread is in a trace. What is asked is the program's code.
    #[cold]
    pub(crate) fn trace_ids(&self) -> Option<TraceIds> {
        thread_local! {
            /// What is asked may have spans and events of its own.
            static IS_ASKED: Cell<bool> = const { Cell::new(false) };
        }
        let ask = self.trace.0.as_ref().filter(|_| self.is_traced)?;
        if IS_ASKED.replace(true) {
            return None;
        }
        let told = alloc_tracker::excluded(|| caught(|| ask()));
        IS_ASKED.set(false);
        if told.is_none() {
            self.counters.panicked();
        }
        told.flatten()
    }

    /// Whether some of the units are drawn for something.
    #[inline]
    pub(crate) fn draws_units(&self) -> bool {
        self.has_exporters || !self.sampling.is_off()
    }

    /// What is known of a span, and where its unit is.
    #[inline]
    pub(crate) fn known(&self, span: u64) -> Option<KnownSpan> {
        let known = self.spans.get(span)?;
        Some(known.at(self.live_units.place(known.in_unit.unit())))
    }

    /// Whether spans and events of units leave entries in the rings.
    #[inline]
    pub(crate) fn keeps_details(&self) -> bool {
        self.detail_words > 0
    }

    /// A unit is not counted. The ledger has that to say, even if no unit ever ends.
    pub(crate) fn drop_unit(&self, why: UnitDrop) {
        self.counters.unit_dropped(why);
        self.background.something_happened();
    }

    pub(crate) fn ledger(&self) -> Ledger {
        alloc_tracker::raw::for_a_tool(|| self.collect());
        self.ledger_so_far()
    }

    /// The ledger without what is still in the rings.
    pub(crate) fn ledger_so_far(&self) -> Ledger {
        let rate_limited = alloc_tracker::raw::for_a_tool(|| {
            // A child does not read the queue.
            if self.background.has_stopped() && !self.background.is_forked() {
                // What was handed over too late: nobody writes it any more.
                for item in self.queue.drain() {
                    match item {
                        Item::Event(_) => self.counters.events.shut_down(),
                        Item::Exemplar(_) => self.counters.exemplars.shut_down(),
                    }
                }
            }
            self.events_rate_limited()
        });
        let mut ledger = self.counters.ledger(&self.events, rate_limited);
        ledger.forked = self.background.is_forked();
        ledger.spans = self.spans_made();
        ledger.outside = self.outside_sums();
        ledger.cost.cpu_reading_ns = self.cpu_reading;
        ledger
    }
}

/// Ids of exemplars count up from here: another instance, or process, has other ones.
fn first_exemplar_id() -> u64 {
    // The standard library's keys are random.
    RandomState::new().build_hasher().finish() >> 8
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("service", &self.resource.service)
            .finish_non_exhaustive()
    }
}
