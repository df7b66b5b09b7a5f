//! Spans that nobody takes for units, where they may be what somebody looks for.
//!
//! A root span of another layer is counted, by its call site. A call site that is seen when it is registered, and of
//! which nobody has a span made, is in the list as well: no interest is raised to count it.

use crate::subscriber::CallSite;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
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

    /// The call sites, and how many root spans of each there were; those with the most first.
    pub(crate) fn all(&self) -> Vec<(CallSite, u64)> {
        let of = |place: &Place| Some((*place.site.get()?, place.roots.load(Relaxed)));
        let mut all: Vec<_> = self.sites.iter().filter_map(of).collect();
        all.sort_by_key(|(site, roots)| (std::cmp::Reverse(*roots), site.target(), site.name()));
        all
    }
}
