//! Kinds of unit: one for each span call site that has been one, or for each [`class`] of it that its fields
//! name; call sites of the same name and target share theirs, also those that are not kept apart.

pub(crate) mod class;
mod kind;
mod path;
mod text;

pub(crate) use kind::Kind;

use self::class::{Class, Parts, Plan, Rank};
use crate::budgets::Budgets;
use crate::callsites::SiteId;
use crate::cost::KindId;
use crate::subscriber::CallSite;
use crate::subscriber::filter::UnitFilter;
use alloc_tracker::raw::Lock;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Whether a kind is in an incident.
type IsInIncident = dyn Fn(&Kind) -> bool + Send;

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
    /// By call site: UNKNOWN, NOT_A_UNIT, the kind's number plus FIRST_KIND, or that of a plan with BY_FIELDS.
    of_sites: Box<[AtomicU32]>,
    /// By call site: whether its spans are units also inside of others: YES or NO, or neither so far.
    anywhere: Box<[AtomicU8]>,
    /// Fields that name a class by the builder, the first before the others.
    kind_by: Vec<String>,
    /// Call sites whose fields name a class, and how.
    plans: Box<[OnceLock<Plan>]>,
    plans_len: AtomicU32,
    /// A hash table of the kinds' numbers by name, target and class, half empty at least; 0: a free place.
    by_name: Box<[AtomicU32]>,
    /// Kinds by the path that was asked for, which anybody may choose. Changes under `making`.
    by_path: AtomicU32,
    /// Whether something was put into `other`.
    has_others: AtomicBool,
}

const UNKNOWN: u32 = 0;
const NOT_A_UNIT: u32 = 1;
const FIRST_KIND: u32 = 2;
const BY_FIELDS: u32 = 1 << 31;

const YES: u8 = 1;
const NO: u8 = 2;

/// The most call sites whose fields name classes. Of further ones all units are of one kind.
const MOST_PLANS: usize = 256;

/// What spans of a call site are, where they are units.
#[derive(Clone, Copy, Debug)]
enum OfSite<'a> {
    /// They are none.
    NoUnit,
    Kind(KindId),
    ByFields(&'a Plan),
}

impl Kinds {
    pub(crate) fn new(
        filter: UnitFilter,
        budgets: Budgets,
        kind_by: Vec<String>,
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
            anywhere: (0..SiteId::COUNT).map(|_| AtomicU8::new(0)).collect(),
            by_name: (0..(2 * max).next_power_of_two())
                .map(|_| AtomicU32::new(0))
                .collect(),
            kind_by,
            plans: (0..MOST_PLANS).map(|_| OnceLock::new()).collect(),
            plans_len: AtomicU32::new(0),
            by_path: AtomicU32::new(0),
            has_others: AtomicBool::new(false),
        }
    }

    /// The kind of unit that an outermost span of this call site is; `None` if it is none. `record`: hands over
    /// what its fields are, if that makes a difference.
    #[inline]
    pub(crate) fn of(
        &self,
        site: SiteId,
        call_site: CallSite,
        record: impl FnOnce(&mut Parts<'_>),
    ) -> Option<KindId> {
        match self.of_sites[site.index()].load(Acquire) {
            NOT_A_UNIT => None,
            kind @ FIRST_KIND..BY_FIELDS => Some(KindId(kind - FIRST_KIND)),
            word => self.of_others(word, site, call_site, record),
        }
    }

    #[inline(never)]
    fn of_others(
        &self,
        word: u32,
        site: SiteId,
        call_site: CallSite,
        record: impl FnOnce(&mut Parts<'_>),
    ) -> Option<KindId> {
        match self.of_site(word, site, call_site) {
            OfSite::NoUnit => None,
            OfSite::Kind(kind) => Some(kind),
            OfSite::ByFields(plan) => {
                let mut parts = Parts::new(plan);
                record(&mut parts);
                Some(self.of_class(call_site, parts.class(None)))
            }
        }
    }

    fn of_site(&self, word: u32, site: SiteId, call_site: CallSite) -> OfSite<'_> {
        match word {
            UNKNOWN => self.classify(site, call_site),
            NOT_A_UNIT => OfSite::NoUnit,
            FIRST_KIND..BY_FIELDS => OfSite::Kind(KindId(word - FIRST_KIND)),
            _ => match self.plans[(word - BY_FIELDS) as usize].get() {
                Some(plan) => OfSite::ByFields(plan),
                None => OfSite::NoUnit,
            },
        }
    }

    /// Whether an outermost span of this call site is a unit.
    pub(crate) fn is_unit(&self, site: SiteId, call_site: CallSite) -> bool {
        let word = self.of_sites[site.index()].load(Acquire);
        !matches!(self.of_site(word, site, call_site), OfSite::NoUnit)
    }

    /// Whether spans of this call site are units also inside of other units.
    #[inline]
    pub(crate) fn are_units_anywhere(&self, site: SiteId, call_site: CallSite) -> bool {
        match self.anywhere[site.index()].load(Relaxed) {
            YES => true,
            NO => false,
            _ => self.find_out_whether_anywhere(site, call_site),
        }
    }

    #[cold]
    fn find_out_whether_anywhere(&self, site: SiteId, call_site: CallSite) -> bool {
        let are = self.filter.means_a_unit(call_site.metadata());
        if site != SiteId::OTHER {
            self.anywhere[site.index()].store(if are { YES } else { NO }, Relaxed);
        }
        are
    }

    /// Whether the fields of a call site's spans are known to name their class.
    #[inline]
    pub(crate) fn are_by_fields(&self, site: SiteId) -> bool {
        self.of_sites[site.index()].load(Relaxed) >= BY_FIELDS
    }

    /// Whether the fields of any span name a class.
    #[inline]
    pub(crate) fn have_classes(&self) -> bool {
        self.plans_len.load(Relaxed) > 0
    }

    /// The kind that a unit of this one is after more of its fields were recorded; `None` if that is the same.
    pub(crate) fn of_more(
        &self,
        kind: KindId,
        site: SiteId,
        call_site: CallSite,
        record: impl FnOnce(&mut Parts<'_>),
    ) -> Option<KindId> {
        let word = self.of_sites[site.index()].load(Acquire);
        if word < BY_FIELDS {
            return None;
        }
        let OfSite::ByFields(plan) = self.of_site(word, site, call_site) else {
            return None;
        };
        let mut parts = Parts::new(plan);
        record(&mut parts);
        let class = parts.class(self.get(kind).class_of_units())?;
        Some(self.of_class(call_site, Some(class))).filter(|found| *found != kind)
    }

    /// Whether outermost spans of this call site, which may have a number, would be units, and none was seen.
    pub(crate) fn would_be_units(&self, site: Option<SiteId>, call_site: CallSite) -> bool {
        let word = site.map(|site| self.of_sites[site.index()].load(Relaxed));
        word.is_none_or(|word| word == UNKNOWN) && self.filter.lets_pass(call_site.metadata())
    }

    /// Whether the filter of units says something of the spans of this target, so that somebody chose what they are.
    pub(crate) fn are_told(&self, call_site: CallSite) -> bool {
        self.filter.names_target_of(call_site.metadata())
    }

    /// Whether any unit was seen.
    pub(crate) fn were_seen(&self) -> bool {
        self.len.load(Relaxed) > 1 || self.has_others()
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
        named.retain(|name| !seen().any(|(_, kind)| kind.is_called(name)));
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

    /// Has kinds that are seen from here on be in an incident if `is_in` says so.
    pub(crate) fn set_newcomers(&self, is_in: Box<IsInIncident>) {
        *self.newcomers.lock() = Newcomers(Some(is_in));
    }

    #[cold]
    fn classify(&self, site: SiteId, call_site: CallSite) -> OfSite<'_> {
        let remember = |word| {
            // `OTHER` stands for many call sites: each is looked at every time.
            if site != SiteId::OTHER {
                // Release the kind's name to whoever finds its number.
                self.of_sites[site.index()].store(word, Release);
            }
        };
        if !self.filter.lets_pass(call_site.metadata()) {
            remember(NOT_A_UNIT);
            return OfSite::NoUnit;
        }
        if let Some((number, plan)) = self.plan_of(site, call_site) {
            remember(BY_FIELDS | number);
            return OfSite::ByFields(plan);
        }
        let kind = self.of_class(call_site, None);
        remember(kind.0 + FIRST_KIND);
        OfSite::Kind(kind)
    }

    /// What the fields of a call site say of a class, if anything and if there is room for one more plan.
    fn plan_of(&self, site: SiteId, call_site: CallSite) -> Option<(u32, &Plan)> {
        if site == SiteId::OTHER {
            return None;
        }
        let fields = call_site.field_names();
        let plan = Plan::of(fields, &self.kind_by)?;
        // Two threads that see a call site first at once take two places, and go by either.
        let number = self.plans_len.fetch_add(1, Relaxed);
        let Some(place) = self.plans.get(number as usize) else {
            self.plans_len.fetch_sub(1, Relaxed);
            return None;
        };
        let _ = place.set(plan);
        Some((number, place.get()?))
    }

    /// The kind of the units of a class.
    fn of_class(&self, call_site: CallSite, class: Option<Class>) -> KindId {
        let kind = match self.find(call_site, class.as_ref()) {
            Ok(known) => known,
            // PERF: without the lock, for what is looked at every time.
            Err(_) if self.is_full() => KindId::OTHER,
            Err(_) => self.make(call_site, class),
        };
        if kind == KindId::OTHER && !self.has_others() {
            self.has_others.store(true, Relaxed);
        }
        kind
    }

    fn is_full(&self) -> bool {
        self.len.load(Relaxed) as usize == self.kinds.len()
    }

    /// The kind of this name, target and class, or the free place for its number.
    fn find(&self, call_site: CallSite, class: Option<&Class>) -> Result<KindId, &AtomicU32> {
        let mut at = hash(call_site, class);
        loop {
            // A power of two.
            let place = &self.by_name[at & (self.by_name.len() - 1)];
            match place.load(Acquire) {
                0 => return Err(place),
                number if self.kinds[number as usize].is_of(call_site, class) => {
                    return Ok(KindId(number));
                }
                _ => at = at.wrapping_add(1),
            }
        }
    }

    /// Once per kind: two threads must not both make it.
    #[cold]
    fn make(&self, call_site: CallSite, class: Option<Class>) -> KindId {
        let making = self.making.lock();
        if !making.is_first() {
            // In the child of a fork that came while a kind was made, which never will be.
            return KindId::OTHER;
        }
        let is_by_path = class
            .as_ref()
            .is_some_and(|class| class.rank() == Rank::Uri);
        let by_path = self.by_path.load(Relaxed);
        if is_by_path && by_path as usize >= self.kinds.len() / 2 {
            // Whoever asks for what is not there takes no room from what is.
            drop(making);
            return self.of_class(call_site, None);
        }
        let place = match self.find(call_site, class.as_ref()) {
            Ok(known) => return known,
            Err(free) => free,
        };
        let len = self.len.load(Relaxed);
        let Some(fresh) = self.kinds.get(len as usize) else {
            return KindId::OTHER;
        };
        self.by_path.store(by_path + u32::from(is_by_path), Relaxed);
        fresh.begin(call_site, class, &self.budgets);
        if let Some(is_in) = &self.newcomers.lock().0 {
            fresh.chooser.set_incident(is_in(fresh));
        }
        // A kind that was not there is as rare as can be.
        (fresh.chooser).learn_share(0, self.last_interval.load(Relaxed));
        self.len.store(len + 1, Release);
        // Release the kind's name to whoever finds its number.
        place.store(len, Release);
        KindId(len)
    }
}

/// Where a kind is looked for first.
///
/// PERF: no hash that withstands whoever chooses the values: there are few kinds, and a search ends after as many steps.
fn hash(call_site: CallSite, class: Option<&Class>) -> usize {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = 0u64;
    let mut take = |bytes: &[u8]| {
        let words = bytes.chunks_exact(8);
        let rest = words.remainder();
        for word in words.filter_map(|word| word.try_into().ok()) {
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(ODD);
            hash ^= hash >> 32;
        }
        for byte in rest {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(ODD);
        }
        hash ^= hash >> 32;
    };
    take(call_site.name().as_bytes());
    take(class.map_or(&[][..], Class::as_bytes));
    hash as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;
    use crate::subscriber::made_up as span;

    fn kinds(max: usize) -> Kinds {
        let budgets = "[unit.pay]\nwakeups.max = 1".parse().unwrap();
        Kinds::new(UnitFilter::default(), budgets, Vec::new(), Vec::new(), max)
    }

    fn of(kinds: &Kinds, site: SiteId, call_site: CallSite) -> Option<KindId> {
        kinds.of(site, call_site, |_| {
            unreachable!("no field of it names a class")
        })
    }

    #[test]
    fn a_call_site_that_is_not_told_apart_is_of_the_kind_that_has_its_name_and_target() {
        let kinds = kinds(2);
        let of = |site, name, target| of(&kinds, site, span(name, target, Level::Info)).unwrap();
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
        assert!(!kinds.is_unit(other, span("pay", "shop", Level::Debug)));
    }

    #[test]
    fn every_kind_is_found_again_however_many_there_are() {
        let kinds = kinds(300);
        let names: Vec<&str> = (0..300).map(|n| &*n.to_string().leak()).collect();
        let of = |name: &&'static str| of(&kinds, SiteId::OTHER, span(name, "", Level::Info));
        let found: Vec<_> = names.iter().map(of).collect();
        assert!(found.iter().flatten().map(|kind| kind.0).eq(1..=300));
        assert_eq!(names.iter().map(of).collect::<Vec<_>>(), found);
    }

    #[test]
    fn what_nobody_saw_is_told_when_all_that_was_seen_is_other() {
        let kinds = kinds(0);
        assert!(kinds.unseen().is_empty(), "nothing was seen so far");
        let buy = span("buy", "shop", Level::Info);
        assert_eq!(of(&kinds, SiteId::OTHER, buy), Some(KindId::OTHER));
        assert_eq!(kinds.unseen(), ["pay"]);
    }
}
