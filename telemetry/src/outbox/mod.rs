//! What one thread hands to an instance, each part written by that thread alone: the units that it
//! ends, the detail of what it does, and how many events it kept back.

mod ring;

use self::ring::Ring;
use crate::callsites::SiteId;
use crate::cost::KindId;
use crate::details::DetailRing;
use crate::live::SpanOwner;
use std::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) units: Ring,
    /// Outlives the thread for a while.
    pub(crate) details: Arc<DetailRing>,
    /// For each kind the units begun by the thread less those ended by it.
    in_flight: Box<[InFlight]>,
    /// Spans of units that the thread has made, by [`SpanOwner`].
    spans: [AtomicU64; SpanOwner::ALL.len()],
    /// What other layers have allocated while they were told of something: how often, and bytes.
    of_others: [AtomicU64; 2],
    /// Events kept back by the limit of their call site, in pages as they are needed.
    suppressed: [OnceLock<Box<Page>>; PAGES],
}

#[derive(Debug, Default)]
struct InFlight {
    now: AtomicI64,
    highest: AtomicI64,
}

const PAGE: usize = 64;
const PAGES: usize = SiteId::COUNT.div_ceil(PAGE);

type Page = [Suppressed; PAGE];

/// Events of one call site that one thread kept back, since its start.
#[derive(Debug, Default)]
pub(crate) struct Suppressed {
    count: AtomicU64,
    last: AtomicU64,
}

impl Suppressed {
    /// One more, at `now`. Called by the one thread.
    #[inline]
    fn add(&self, now: u64) {
        self.last.store(now, Relaxed);
        // Release the time with the count.
        self.count.store(self.count.load(Relaxed) + 1, Release);
    }

    /// How many, and when the last one was.
    pub(crate) fn read(&self) -> (u64, u64) {
        let count = self.count.load(Acquire);
        (count, self.last.load(Relaxed))
    }
}

impl Outbox {
    pub(crate) fn new(kinds: usize, detail_words: usize) -> Self {
        Outbox {
            units: Ring::new(),
            details: Arc::new(DetailRing::new(detail_words)),
            in_flight: (0..kinds).map(|_| InFlight::default()).collect(),
            spans: Default::default(),
            of_others: Default::default(),
            suppressed: [const { OnceLock::new() }; PAGES],
        }
    }

    /// The thread has made a span of a unit.
    #[inline]
    pub(crate) fn made_span(&self, owner: SpanOwner) {
        let made = &self.spans[owner as usize];
        made.store(made.load(Relaxed) + 1, Relaxed);
    }

    /// Other layers have allocated while they were told of something.
    pub(crate) fn others_allocated(&self, allocs: u64, bytes: u64) {
        for (sum, n) in self.of_others.iter().zip([allocs, bytes]) {
            sum.store(sum.load(Relaxed) + n, Relaxed);
        }
    }

    /// How often they did, and how many bytes.
    pub(crate) fn of_others(&self) -> [u64; 2] {
        [0, 1].map(|n: usize| self.of_others[n].load(Relaxed))
    }

    /// How many it has made.
    pub(crate) fn spans(&self, owner: SpanOwner) -> u64 {
        self.spans[owner as usize].load(Relaxed)
    }

    /// The thread has begun a unit, or ended one: `change` is 1 or -1. True if it never had as many
    /// in progress.
    #[inline]
    pub(crate) fn in_flight_changes(&self, kind: KindId, change: i64) -> bool {
        let Some(in_flight) = self.in_flight.get(kind.0 as usize) else {
            return false;
        };
        let now = in_flight.now.load(Relaxed) + change;
        in_flight.now.store(now, Relaxed);
        let is_new = now > in_flight.highest.load(Relaxed);
        if is_new {
            in_flight.highest.store(now, Relaxed);
        }
        is_new
    }

    /// May be below zero, for a thread that ends what others begin.
    pub(crate) fn in_flight(&self, kind: KindId) -> i64 {
        let in_flight = self.in_flight.get(kind.0 as usize);
        in_flight.map_or(0, |in_flight| in_flight.now.load(Relaxed))
    }

    /// The thread keeps back an event of this call site.
    #[inline]
    pub(crate) fn suppress(&self, site: SiteId, now: u64) {
        let page = &self.suppressed[site.index() / PAGE];
        let page = match page.get() {
            Some(page) => page,
            None => page.get_or_init(|| {
                alloc_tracker::raw::for_a_tool(|| {
                    Box::new(std::array::from_fn(|_| Suppressed::default()))
                })
            }),
        };
        page[site.index() % PAGE].add(now);
    }

    /// What the thread kept back, of each call site near one that was over its limit.
    pub(crate) fn all_suppressed(&self) -> impl Iterator<Item = (SiteId, &Suppressed)> {
        let pages = self.suppressed.iter().enumerate();
        let pages = pages.filter_map(|(n, page)| Some((n * PAGE, page.get()?)));
        pages.flat_map(|(first, page)| {
            let site = move |n: usize| SiteId::from_index((first + n) as u64);
            page.iter().enumerate().map(move |(n, of)| (site(n), of))
        })
    }

    /// What the thread kept back of this call site; `None` if nothing near it.
    pub(crate) fn suppressed(&self, site: SiteId) -> Option<&Suppressed> {
        Some(&self.suppressed[site.index() / PAGE].get()?[site.index() % PAGE])
    }
}
