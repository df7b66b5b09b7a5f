//! Log events: which are written, and exact counts of those that are not.
//!
//! ```text
//!   event ──► limit of its call site ──► share that fits the output ──► queue ──► writer
//!                 │ over                     │ not drawn                 │ full     │ over the output's limit
//!                 ▼                          ▼                           ▼          ▼
//!             rate_limited              sampled_out                   dropped    rate_limited
//!                 └──────────────┬───────────┴───────────────────────────┴──────────┘
//!                                ▼
//!                  `suppressed`, per call site, with first and last time
//! ```
//!
//! Times here are those of a [`CoarseClock`].

mod capture;
mod suppressed;

pub(crate) use capture::Captured;
pub(crate) use suppressed::SuppressedSite;

use crate::callsites::{CallSites, SiteId};
use crate::os::RANDOM_BITS;
use crate::subscriber::CallSite;
use crate::subscriber::filter::Interest;
use crate::tool::clock::{Clock, CoarseClock};
use crate::tool::rate::{Limiter, Rate};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// The limits of events, and what they kept back.
#[derive(Debug)]
pub(crate) struct Events {
    interest: Interest,
    clock: CoarseClock,
    rate: Rate,
    error_rate: Rate,
    sites: Box<[EventSite]>,
    /// [`SiteId::OTHER`] stands for call sites of all levels, but a call site has one.
    other_errors: Limiter,
    /// An event is written if its random number is below this. ERROR events always are.
    below: AtomicU64,
    sampled_out: AtomicU64,
    rate_limited_by_output: AtomicU64,
}

/// One call site of events.
#[derive(Debug, Default)]
struct EventSite {
    limiter: Limiter,
    /// UNKNOWN, WRITTEN or NOT_WRITTEN.
    written: AtomicU8,
    /// When the first event was kept back since the last report; 0 if none was.
    first: AtomicU64,
    /// Kept back by threads that are gone.
    retired: AtomicU64,
    /// Kept back not by the site's limit, but later.
    later: AtomicU64,
    /// The last time of either.
    last: AtomicU64,
    /// What the reports so far said together. Only the background thread writes it.
    reported: AtomicU64,
}

const UNKNOWN: u8 = 0;
const WRITTEN: u8 = 1;
const NOT_WRITTEN: u8 = 2;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its level or target is not one that is written.
    NotAsked,
    /// It may be written, at this time.
    Passes(u64),
    /// Its call site is over its limit, at this time.
    Suppressed(u64),
}

impl Events {
    pub(crate) fn new(interest: Interest, rate: Rate, error_rate: Rate, clock: &Clock) -> Self {
        Events {
            interest,
            clock: CoarseClock::new(rate.interval().min(error_rate.interval()), clock),
            rate,
            error_rate,
            sites: (0..SiteId::COUNT).map(|_| EventSite::default()).collect(),
            other_errors: Limiter::default(),
            below: AtomicU64::new(1 << RANDOM_BITS),
            sampled_out: AtomicU64::new(0),
            rate_limited_by_output: AtomicU64::new(0),
        }
    }

    /// The time by the clock of events, for which [`Clock`] is asked if the limits are too fine.
    #[inline]
    pub(crate) fn now(&self, clock: &Clock) -> u64 {
        self.clock.now(clock)
    }

    /// Whether any events are written.
    pub(crate) fn are_on(&self) -> bool {
        self.interest.writes_events()
    }

    /// Whether events of this call site are ever written.
    #[inline]
    pub(crate) fn are_written(&self, site: SiteId, call_site: CallSite) -> bool {
        match self.sites[site.index()].written.load(Relaxed) {
            UNKNOWN => self.classify(site, call_site),
            written => written == WRITTEN,
        }
    }

    #[cold]
    fn classify(&self, site: SiteId, call_site: CallSite) -> bool {
        let written = self.interest.writes(call_site.metadata());
        if site != SiteId::OTHER {
            let to_remember = if written { WRITTEN } else { NOT_WRITTEN };
            self.sites[site.index()].written.store(to_remember, Relaxed);
        }
        written
    }

    /// Decides about an event, before any of its fields is looked at. Who hears that it is
    /// suppressed counts that in the thread's outbox.
    ///
    /// PERF: always inlined: the verdict need not go through memory.
    #[inline(always)]
    pub(crate) fn decide(&self, site: SiteId, call_site: CallSite, clock: &Clock) -> Verdict {
        if !self.are_written(site, call_site) {
            return Verdict::NotAsked;
        }
        let now = self.now(clock);
        let of_site = &self.sites[site.index()];
        let (rate, limiter) = match call_site.is_error() {
            true if site == SiteId::OTHER => (self.error_rate, &self.other_errors),
            true => (self.error_rate, &of_site.limiter),
            false => (self.rate, &of_site.limiter),
        };
        if limiter.allows(rate, now) {
            return Verdict::Passes(now);
        }
        of_site.note_first(now);
        Verdict::Suppressed(now)
    }

    /// Whether an event that passed is one of the share that fits the output; by a random number of
    /// [`RANDOM_BITS`].
    pub(crate) fn is_drawn(
        &self,
        site: SiteId,
        call_site: CallSite,
        random: u64,
        now: u64,
    ) -> bool {
        let drawn = call_site.is_error() || random < self.below.load(Relaxed);
        if !drawn {
            self.sampled_out.fetch_add(1, Relaxed);
            self.keep_back(site, now);
        }
        drawn
    }

    /// The share of the events that passed their limit which is written.
    pub(crate) fn probability(&self) -> f64 {
        self.below.load(Relaxed) as f64 / (1u64 << RANDOM_BITS) as f64
    }

    /// Kept between one in a million and one.
    pub(crate) fn set_probability(&self, probability: f64) {
        let below = probability.clamp(1e-6, 1.0) * (1u64 << RANDOM_BITS) as f64;
        self.below.store(below as u64, Relaxed);
    }

    /// An event that passed its limit is not written after all.
    pub(crate) fn keep_back(&self, site: SiteId, now: u64) {
        let of_site = &self.sites[site.index()];
        of_site.note_first(now);
        of_site.last.fetch_max(now, Relaxed);
        of_site.later.fetch_add(1, Relaxed);
    }

    /// An event is over the limit of the whole output.
    pub(crate) fn limited_by_output(&self, site: SiteId, now: u64) {
        self.rate_limited_by_output.fetch_add(1, Relaxed);
        self.keep_back(site, now);
    }

    /// A thread that has no outbox, or none any more, kept back this many.
    pub(crate) fn retire(&self, site: SiteId, count: u64, last: u64) {
        let of_site = &self.sites[site.index()];
        of_site.last.fetch_max(last, Relaxed);
        of_site.retired.fetch_add(count, Relaxed);
    }

    pub(crate) fn sampled_out(&self) -> u64 {
        self.sampled_out.load(Relaxed)
    }
}

impl EventSite {
    /// PERF: mostly one look. The line is written once per report.
    #[inline]
    fn note_first(&self, now: u64) {
        if self.first.load(Relaxed) == 0 {
            let _ = (self.first).compare_exchange(0, now, Relaxed, Relaxed);
        }
    }
}

impl Events {
    /// The sites that kept events back, with what each thread says of a site.
    fn known<'a>(&'a self, sites: &'a CallSites) -> impl Iterator<Item = (SiteId, &'a EventSite)> {
        let known = sites.seen().chain([SiteId::OTHER]);
        known.map(|id| (id, &self.sites[id.index()]))
    }
}
