//! Kinds of unit: one for each span call site that has been one; call sites of the same name and
//! target share theirs, also those that are not kept apart.

use crate::budgets::{Budgets, Limit};
use crate::callsites::SiteId;
use crate::cost::KindId;
use crate::exemplars::Chooser;
use crate::subscriber::CallSite;
use crate::subscriber::filter::UnitFilter;
use alloc_tracker::raw::{Lock, UnitName};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// What is known of a kind, without its histograms.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    site: OnceLock<CallSite>,
    /// What heap profiles call its units.
    unit_name: OnceLock<UnitName>,
    /// Its budget.
    limits: OnceLock<Box<[Limit]>>,
    /// Which of its units are kept.
    pub(crate) chooser: Chooser,
    /// Units begun less units ended by threads that have no ring, or none any more.
    elsewhere: AtomicI64,
    in_flight_max: AtomicU64,
}

impl Kind {
    fn numbered(number: usize) -> Self {
        let kind = Kind::default();
        if number == KindId::OTHER.0 as usize {
            let _ = kind.unit_name.set(UnitName::of("other"));
        }
        kind
    }

    pub(crate) fn name(&self) -> &'static str {
        self.site.get().map_or("other", |site| site.name())
    }

    pub(crate) fn target(&self) -> &'static str {
        self.site.get().map_or("", |site| site.target())
    }

    fn is_of(&self, call_site: CallSite) -> bool {
        let known = self.site.get();
        known.is_some_and(|k| k.name() == call_site.name() && k.target() == call_site.target())
    }

    /// Whether it is a kind of its own, not `other`.
    pub(crate) fn is_known(&self) -> bool {
        self.site.get().is_some()
    }

    /// What heap profiles call its units.
    #[inline]
    pub(crate) fn unit_name(&self) -> UnitName {
        self.unit_name.get().copied().unwrap_or_default()
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        self.limits.get().map_or(&[], |limits| limits)
    }

    pub(crate) fn add_elsewhere(&self, units: i64) {
        self.elsewhere.fetch_add(units, Relaxed);
    }

    /// Units in progress: now, and at most so far. `in_rings` is the sum over all threads.
    pub(crate) fn in_flight(&self, in_rings: i64) -> (u64, u64) {
        let now = self.elsewhere.load(Relaxed) + in_rings;
        // The threads are read one after the other: a unit that ended here and began there
        // meanwhile may be missing on both sides.
        let now = now.max(0) as u64;
        let before = self.in_flight_max.fetch_max(now, Relaxed);
        (now, before.max(now))
    }
}

/// Whether a kind of this name and target is in an incident.
type IsInIncident = dyn Fn(&str, &str) -> bool + Send;

/// What is asked about a kind that is seen for the first time.
#[derive(Default)]
struct Newcomers(Option<Box<IsInIncident>>);

impl fmt::Debug for Newcomers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Newcomers").field(&self.0.is_some()).finish()
    }
}

/// All kinds, and which call site is of which: found without a lock, filled once per call site.
#[derive(Debug)]
pub(crate) struct Kinds {
    filter: UnitFilter,
    budgets: Budgets,
    /// Units that triggers and prepared incidents are about.
    watched: Vec<String>,
    kinds: Box<[Kind]>,
    /// How many of `kinds` are taken, `other` included. Changes under `making`.
    len: AtomicU32,
    making: Lock<()>,
    newcomers: Lock<Newcomers>,
    /// Units of the last interval.
    last_interval: AtomicU64,
    /// By call site: UNKNOWN, NOT_A_UNIT, or the kind's number plus FIRST_KIND.
    of_sites: Box<[AtomicU32]>,
    /// A hash table of the kinds' numbers by name and target, half empty at least; 0: a free place.
    by_name: Box<[AtomicU32]>,
    /// Whether something was put into `other`.
    has_others: AtomicBool,
}

const UNKNOWN: u32 = 0;
const NOT_A_UNIT: u32 = 1;
const FIRST_KIND: u32 = 2;

impl Kinds {
    pub(crate) fn new(
        filter: UnitFilter,
        budgets: Budgets,
        watched: Vec<String>,
        max: usize,
    ) -> Self {
        Kinds {
            filter,
            budgets,
            watched,
            kinds: (0..=max).map(Kind::numbered).collect(),
            len: AtomicU32::new(1),
            making: Lock::new(),
            newcomers: Lock::new(),
            last_interval: AtomicU64::new(0),
            of_sites: (0..SiteId::COUNT).map(|_| AtomicU32::new(0)).collect(),
            by_name: (0..(2 * max).next_power_of_two())
                .map(|_| AtomicU32::new(0))
                .collect(),
            has_others: AtomicBool::new(false),
        }
    }

    /// The kind of unit that an outermost span of this call site is; `None` if it is none.
    #[inline]
    pub(crate) fn of(&self, site: SiteId, call_site: CallSite) -> Option<KindId> {
        match self.of_sites[site.index()].load(Acquire) {
            UNKNOWN => self.classify(site, call_site),
            NOT_A_UNIT => None,
            kind => Some(KindId(kind - FIRST_KIND)),
        }
    }

    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Units that a budget, a trigger or an incident is about and that nobody saw, when others were seen: a name
    /// that is wrong looks like this, and so does one whose units [are among `other`](Self::has_others).
    pub(crate) fn unseen(&self) -> Vec<&str> {
        let seen = || self.all().filter(|(_, kind)| kind.is_known());
        if seen().next().is_none() && !self.has_others() {
            return Vec::new();
        }
        let watched = self.watched.iter().map(String::as_str);
        let mut named: Vec<&str> = self.budgets.units().chain(watched).collect();
        named.retain(|name| !seen().any(|(_, kind)| kind.name() == *name));
        named.sort_unstable();
        named.dedup();
        named
    }

    /// Whether there are units whose names are not told.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others.load(Relaxed)
    }

    pub(crate) fn get(&self, id: KindId) -> &Kind {
        self.kinds.get(id.0 as usize).unwrap_or(&self.kinds[0])
    }

    /// How many kinds there may be, `other` included.
    pub(crate) fn most(&self) -> usize {
        self.kinds.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (KindId, &Kind)> {
        let taken = self.kinds.iter().take(self.len.load(Acquire) as usize);
        taken.enumerate().map(|(n, kind)| (KindId(n as u32), kind))
    }

    /// How many units each kind had in the last interval.
    pub(crate) fn learn_shares(&self, counts: &[u64]) {
        let all = counts.iter().sum();
        self.last_interval.store(all, Relaxed);
        for (kind, count) in self.kinds.iter().zip(counts) {
            kind.chooser.learn_share(*count, all);
        }
    }

    /// Has kinds that are seen from here on be in an incident if `is_in` says so, by their name and target.
    pub(crate) fn set_newcomers(&self, is_in: Box<IsInIncident>) {
        *self.newcomers.lock() = Newcomers(Some(is_in));
    }

    #[cold]
    fn classify(&self, site: SiteId, call_site: CallSite) -> Option<KindId> {
        let remember = |word| {
            // `OTHER` stands for many call sites: each is looked at every time.
            if site != SiteId::OTHER {
                // Release the kind's name to whoever finds its number.
                self.of_sites[site.index()].store(word, Release);
            }
        };
        if !self.filter.lets_pass(call_site.metadata()) {
            remember(NOT_A_UNIT);
            return None;
        }
        let kind = match self.find(call_site) {
            Ok(known) => known,
            // PERF: without the lock, for call sites that are looked at every time.
            Err(_) if self.len.load(Relaxed) as usize == self.kinds.len() => KindId::OTHER,
            Err(_) => self.make(call_site),
        };
        if kind == KindId::OTHER && !self.has_others() {
            self.has_others.store(true, Relaxed);
        }
        remember(kind.0 + FIRST_KIND);
        Some(kind)
    }

    /// The kind of this name and target, or the free place for its number.
    fn find(&self, call_site: CallSite) -> Result<KindId, &AtomicU32> {
        let mut hasher = DefaultHasher::new();
        (call_site.name(), call_site.target()).hash(&mut hasher);
        let mut at = hasher.finish() as usize;
        loop {
            // A power of two.
            let place = &self.by_name[at & (self.by_name.len() - 1)];
            match place.load(Acquire) {
                0 => return Err(place),
                number if self.kinds[number as usize].is_of(call_site) => {
                    return Ok(KindId(number));
                }
                _ => at = at.wrapping_add(1),
            }
        }
    }

    /// Once per kind: two call sites of one kind must not both make it.
    fn make(&self, call_site: CallSite) -> KindId {
        let making = self.making.lock();
        if !making.is_first() {
            // In the child of a fork that came while a kind was made, which never will be.
            return KindId::OTHER;
        }
        let place = match self.find(call_site) {
            Ok(known) => return known,
            Err(free) => free,
        };
        let len = self.len.load(Relaxed);
        let Some(fresh) = self.kinds.get(len as usize) else {
            return KindId::OTHER;
        };
        let _ = fresh.site.set(call_site);
        let _ = fresh.unit_name.set(UnitName::of(call_site.name()));
        if let Some(is_in) = &self.newcomers.lock().0 {
            let is_in = is_in(call_site.name(), call_site.target());
            fresh.chooser.set_incident(is_in);
        }
        // A kind that was not there is as rare as can be.
        (fresh.chooser).learn_share(0, self.last_interval.load(Relaxed));
        let limits = self.budgets.of(call_site.name());
        let _ = fresh
            .limits
            .set(alloc_tracker::raw::for_a_tool(|| limits.into()));
        self.len.store(len + 1, Release);
        // Release the kind's name to whoever finds its number.
        place.store(len, Release);
        KindId(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;
    use crate::subscriber::made_up as span;

    fn kinds(max: usize) -> Kinds {
        let budgets = "[unit.pay]\nwakeups.max = 1".parse().unwrap();
        Kinds::new(UnitFilter::default(), budgets, Vec::new(), max)
    }

    #[test]
    fn a_call_site_that_is_not_told_apart_is_of_the_kind_that_has_its_name_and_target() {
        let kinds = kinds(2);
        let of = |site, name, target| kinds.of(site, span(name, target, Level::Info)).unwrap();
        let (first, other) = (SiteId::from_index(0), SiteId::OTHER);
        let pay = of(first, "pay", "shop");
        assert_eq!(of(other, "pay", "shop"), pay);
        let namesake = of(other, "pay", "jobs");
        assert!(![pay, KindId::OTHER].contains(&namesake));
        assert_eq!(of(other, "pay", "jobs"), namesake);
        assert_eq!(kinds.get(namesake).limits().len(), 1);
        assert!(!kinds.has_others());
        assert_eq!(of(other, "buy", "shop"), KindId::OTHER, "there is no room");
        assert!(kinds.has_others());
        assert_eq!(kinds.of(other, span("pay", "shop", Level::Debug)), None);
    }

    #[test]
    fn every_kind_is_found_again_however_many_there_are() {
        let kinds = kinds(300);
        let names: Vec<&str> = (0..300).map(|n| &*n.to_string().leak()).collect();
        let of = |name: &&'static str| kinds.of(SiteId::OTHER, span(name, "", Level::Info));
        let found: Vec<_> = names.iter().map(of).collect();
        assert!(found.iter().flatten().map(|kind| kind.0).eq(1..=300));
        assert_eq!(names.iter().map(of).collect::<Vec<_>>(), found);
    }

    #[test]
    fn what_nobody_saw_is_told_when_all_that_was_seen_is_other() {
        let kinds = kinds(0);
        assert!(kinds.unseen().is_empty(), "nothing was seen so far");
        let buy = span("buy", "shop", Level::Info);
        assert_eq!(kinds.of(SiteId::OTHER, buy), Some(KindId::OTHER));
        assert_eq!(kinds.unseen(), ["pay"]);
    }
}
