//! Spans that nobody takes for units, where they may be what somebody looks for.
//!
//! A root span of another layer is counted, by its call site. A call site that is seen when it is registered, and of
//! which nobody has a span made, is in the list as well: no interest is raised to count it. So is one whose spans would be
//! units, and that a filter hides from all layers.

use crate::subscriber::CallSite;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// Call sites that are kept apart.
const PLACES: usize = 64;

#[derive(Debug)]
pub(crate) struct PassedBy {
    sites: [Place; PLACES],
}

#[derive(Debug, Default)]
struct Place {
    /// The call site's address; 0: the place is free.
    key: AtomicUsize,
    site: OnceLock<CallSite>,
    roots: AtomicU64,
    is_hidden: AtomicBool,
}

/// What is known of one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passer {
    pub(crate) site: CallSite,
    /// Root spans that were made.
    pub(crate) roots: u64,
    /// They would be units, and a filter hides them from all layers.
    pub(crate) is_hidden: bool,
}

impl PassedBy {
    pub(crate) fn new() -> Self {
        PassedBy {
            sites: std::array::from_fn(|_| Place::default()),
        }
    }

    /// A call site is registered whose spans nobody takes for units. True if it is new.
    pub(crate) fn registered(&self, site: CallSite) -> bool {
        self.place(site).is_some_and(|(_, is_new)| is_new)
    }

    /// There is a root span of it. True if it is the first.
    pub(crate) fn root(&self, site: CallSite) -> bool {
        let Some((place, _)) = self.place(site) else {
            return false;
        };
        place.roots.fetch_add(1, Relaxed) == 0
    }

    /// Its spans would be units, and a filter hides them from all layers, or does so no longer.
    pub(crate) fn hidden(&self, site: CallSite, is_hidden: bool) {
        let known = || {
            let mut places = self.sites.iter();
            places.find(|place| place.key.load(Acquire) == site.address())
        };
        let place = match is_hidden {
            true => self.place(site).map(|(place, _)| place),
            false => known(),
        };
        if let Some(place) = place {
            place.is_hidden.store(is_hidden, Relaxed);
        }
    }

    /// Its place, and whether it was not there. `None`: there are too many others.
    fn place(&self, site: CallSite) -> Option<(&Place, bool)> {
        let key = site.address();
        let home = key / 8;
        for n in 0..PLACES {
            let place = &self.sites[(home + n) % PLACES];
            let found = match place.key.load(Acquire) {
                0 => match place.key.compare_exchange(0, key, AcqRel, Acquire) {
                    Ok(_) => {
                        let _ = place.site.set(site);
                        return Some((place, true));
                    }
                    Err(winner) => winner,
                },
                found => found,
            };
            if found == key {
                return Some((place, false));
            }
        }
        None
    }

    /// The call sites; those with the most root spans first.
    pub(crate) fn all(&self) -> Vec<Passer> {
        let of = |place: &Place| {
            Some(Passer {
                site: *place.site.get()?,
                roots: place.roots.load(Relaxed),
                is_hidden: place.is_hidden.load(Relaxed),
            })
        };
        let mut all: Vec<Passer> = self.sites.iter().filter_map(of).collect();
        all.sort_by_key(|passer| {
            let (roots, site) = (std::cmp::Reverse(passer.roots), passer.site);
            (roots, site.target(), site.name())
        });
        all
    }
}
