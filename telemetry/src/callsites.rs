//! The call sites of spans and events, numbered: found without a lock, entered once each.
//!
//! A quarter of the places stays empty, so a search ends after a few steps, whether it finds its call
//! site or not: a program with more call sites than are kept apart pays no more for each of them.

use crate::subscriber::CallSite;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU8, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// A call site's number. The last stands for all that found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SiteId(u16);

impl SiteId {
    pub(crate) const OTHER: SiteId = SiteId(CallSites::PLACES as u16);
    /// How many numbers there are.
    pub(crate) const COUNT: usize = CallSites::PLACES + 1;

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// A number that was packed into a larger one.
    pub(crate) fn from_index(index: u64) -> Self {
        SiteId((index as usize).min(CallSites::PLACES) as u16)
    }
}

/// A fixed hash table of call sites.
#[derive(Debug)]
pub(crate) struct CallSites {
    sites: Box<[Site]>,
    /// Places that are taken, or about to be.
    taken: AtomicUsize,
}

#[derive(Debug, Default)]
struct Site {
    /// The call site's address.
    key: AtomicUsize,
    call_site: OnceLock<CallSite>,
    /// Whether it has a field that may say that a span failed: YES or NO, or neither so far.
    tells_errors: AtomicU8,
}

const YES: u8 = 1;
const NO: u8 = 2;

impl CallSites {
    /// A power of two.
    const PLACES: usize = 8192;
    /// Call sites that are kept apart.
    pub(crate) const MOST: usize = Self::PLACES / 4 * 3;

    pub(crate) fn new() -> Self {
        CallSites {
            sites: (0..Self::PLACES).map(|_| Site::default()).collect(),
            taken: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(crate) fn id(&self, call_site: CallSite) -> SiteId {
        let key = call_site.address();
        let home = home(key);
        // Acquire: what is known of a call site was stored before its key is seen by others.
        match self.sites.get(home) {
            Some(site) if site.key.load(Acquire) == key => SiteId(home as u16),
            _ => self.find_or_enter(key, call_site),
        }
    }

    #[cold]
    fn find_or_enter(&self, key: usize, call_site: CallSite) -> SiteId {
        let mut has_room = false;
        for at in places(key) {
            let site = &self.sites[at];
            let mut found = site.key.load(Acquire);
            if found == 0 {
                has_room = has_room || self.take_room();
                if !has_room {
                    return SiteId::OTHER;
                }
                match site.key.compare_exchange(0, key, AcqRel, Acquire) {
                    Ok(_) => {
                        let _ = site.call_site.set(call_site);
                        return SiteId(at as u16);
                    }
                    Err(winner) => found = winner,
                }
            }
            if found == key {
                if has_room {
                    // Another thread entered it meanwhile.
                    self.taken.fetch_sub(1, Relaxed);
                }
                return SiteId(at as u16);
            }
        }
        SiteId::OTHER
    }

    /// Whether one more call site is kept apart. Relaxed: the count stands for itself.
    fn take_room(&self) -> bool {
        let more = |taken| (taken < Self::MOST).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Whether a span of this call site has a field that may say that it failed.
    #[inline]
    pub(crate) fn tells_errors(&self, id: SiteId, call_site: CallSite) -> bool {
        let known = self.sites.get(id.index()).map(|site| &site.tells_errors);
        match known.map(|known| known.load(Relaxed)) {
            Some(YES) => true,
            Some(NO) => false,
            _ => {
                let tells = call_site.tells_errors();
                if let Some(known) = known {
                    known.store(if tells { YES } else { NO }, Relaxed);
                }
                tells
            }
        }
    }

    /// The number that the call site with this address has, if it has one.
    pub(crate) fn known(&self, key: usize) -> Option<SiteId> {
        for at in places(key) {
            match self.sites[at].key.load(Acquire) {
                0 => return None,
                found if found == key => return Some(SiteId(at as u16)),
                _ => {}
            }
        }
        None
    }

    /// Room for something about each number.
    pub(crate) fn table<T: Default>(&self) -> Box<[T]> {
        (0..SiteId::COUNT).map(|_| T::default()).collect()
    }

    /// `None` for [`SiteId::OTHER`], and while a call site is just being entered by another thread.
    pub(crate) fn get(&self, id: SiteId) -> Option<CallSite> {
        self.sites.get(id.index())?.call_site.get().copied()
    }

    /// The numbers that were given, of which some may say nothing yet.
    pub(crate) fn seen(&self) -> impl Iterator<Item = SiteId> + '_ {
        let sites = self.sites.iter().enumerate();
        let seen = sites.filter(|(_, site)| site.key.load(Acquire) != 0);
        seen.map(|(n, _)| SiteId(n as u16))
    }
}

/// Where a call site is looked for first.
#[inline]
fn home(key: usize) -> usize {
    let shift = usize::BITS - CallSites::PLACES.trailing_zeros();
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize) >> shift
}

/// Where it is looked for, one after the other: every place once, in steps that grow, so that what lies
/// close together does not make a long row.
fn places(key: usize) -> impl Iterator<Item = usize> {
    let home = home(key);
    (0..CallSites::PLACES).map(move |n| (home + n * (n + 1) / 2) % CallSites::PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;
    use crate::subscriber::made_up;

    fn sites(count: usize) -> Vec<CallSite> {
        let site = |_| made_up("site", "target", Level::Info);
        (0..count).map(site).collect()
    }

    #[test]
    fn every_call_site_has_its_own_number_until_there_are_too_many() {
        let table = CallSites::new();
        let sites = sites(CallSites::MOST + 3);
        let ids: Vec<SiteId> = sites.iter().map(|site| table.id(*site)).collect();
        let (told_apart, rest) = ids.split_at(CallSites::MOST);
        for (site, id) in sites.iter().zip(told_apart) {
            assert_eq!(table.id(*site), *id);
            assert_eq!(table.known(site.address()), Some(*id));
            assert_eq!(table.get(*id).unwrap().address(), site.address());
        }
        assert!(rest.iter().all(|id| *id == SiteId::OTHER));
        assert_eq!(table.known(sites[CallSites::MOST].address()), None);
        assert!(table.get(SiteId::OTHER).is_none());
        assert_eq!(table.seen().count(), CallSites::MOST);
    }

    #[test]
    fn a_search_takes_few_steps_however_many_call_sites_there_are() {
        let table = CallSites::new();
        let sites = sites(100_000);
        for site in &sites {
            table.id(*site);
        }
        let steps = |site: &CallSite| {
            let key = site.address();
            let ends = |at: usize| [0, key].contains(&table.sites[at].key.load(Relaxed));
            1 + places(key).position(ends).unwrap()
        };
        let (known, others) = sites.split_at(CallSites::MOST);
        for sites in [known, others] {
            let all: usize = sites.iter().map(steps).sum();
            let most = sites.iter().map(steps).max().unwrap();
            assert!(all <= 6 * sites.len(), "{all} for {}", sites.len());
            assert!(most <= 100, "{most}");
        }
    }

    #[test]
    fn every_place_is_looked_at_once() {
        let mut all: Vec<usize> = places(7).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..CallSites::PLACES));
    }

    #[test]
    fn threads_that_enter_the_same_call_sites_at_once_find_the_same_numbers() {
        let table = CallSites::new();
        let sites = sites(CallSites::MOST);
        let ids = || -> Vec<SiteId> { sites.iter().map(|site| table.id(*site)).collect() };
        let of_threads: Vec<_> = std::thread::scope(|threads| {
            let threads: Vec<_> = (0..4).map(|_| threads.spawn(ids)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let all = ids();
        for of_thread in of_threads {
            // A thread may have taken room for what another was entering: the last few are `other` then,
            // for once.
            let differ = all.iter().zip(&of_thread).filter(|(a, b)| a != b);
            assert!(differ.clone().all(|(_, found)| *found == SiteId::OTHER));
            assert!(differ.count() <= 4);
        }
        assert_eq!(table.seen().count(), CallSites::MOST);
    }
}
