//! Kinds of unit: one for each span call site that has been one; call sites of the same name and
//! target share theirs.

use super::UnitFilter;
use std::ptr;
use std::sync::atomic::{
    AtomicI64, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing::Metadata;

/// A kind's number. 0 is `other`, where the units go whose call site found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KindId(pub(crate) u32);

impl KindId {
    const OTHER: KindId = KindId(0);
}

/// What is known of a kind besides its histograms.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    site: OnceLock<&'static Metadata<'static>>,
    /// Units begun less units ended by threads that have no ring, or none any more.
    elsewhere: AtomicI64,
    in_flight_max: AtomicU64,
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        self.site.get().map_or("other", |site| site.name())
    }

    pub(crate) fn target(&self) -> &'static str {
        self.site.get().map_or("", |site| site.target())
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

/// All kinds, and a fixed hash table from call sites to them: found without a lock, filled once
/// per call site.
#[derive(Debug)]
pub(crate) struct Kinds {
    filter: UnitFilter,
    kinds: Box<[Kind]>,
    /// How many of `kinds` are taken, `other` included. Changes under `making`.
    len: AtomicU32,
    making: Mutex<()>,
    sites: Box<[Site]>,
}

#[derive(Debug, Default)]
struct Site {
    /// The address of the call site's metadata, which is static.
    key: AtomicUsize,
    /// UNKNOWN, NOT_A_UNIT, or the kind's number plus FIRST_KIND.
    kind: AtomicU32,
}

const UNKNOWN: u32 = 0;
const NOT_A_UNIT: u32 = 1;
const FIRST_KIND: u32 = 2;

/// Span call sites that can be remembered, a power of two.
const SITES: usize = 4096;

impl Kinds {
    pub(crate) fn new(filter: UnitFilter, max: usize) -> Self {
        Kinds {
            filter,
            kinds: (0..=max).map(|_| Kind::default()).collect(),
            len: AtomicU32::new(1),
            making: Mutex::new(()),
            sites: (0..SITES).map(|_| Site::default()).collect(),
        }
    }

    /// The kind of unit that an outermost span of this call site is; `None` if it is none.
    pub(crate) fn of(&self, metadata: &'static Metadata<'static>) -> Option<KindId> {
        let Some(site) = self.site(metadata) else {
            return self.filter.lets_pass(metadata).then_some(KindId::OTHER);
        };
        match site.kind.load(Acquire) {
            UNKNOWN => self.classify(site, metadata),
            NOT_A_UNIT => None,
            kind => Some(KindId(kind - FIRST_KIND)),
        }
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

    fn site(&self, metadata: &'static Metadata<'static>) -> Option<&Site> {
        let key = ptr::from_ref(metadata) as usize;
        let start = key.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize) >> (usize::BITS - 12);
        (0..SITES)
            .map(|step| &self.sites[(start + step) % SITES])
            .find(|site| {
                // AcqRel: nothing is published with the key itself; its kind has its own ordering.
                let found = site.key.load(Acquire);
                found == key
                    || (found == 0
                        && match site.key.compare_exchange(0, key, AcqRel, Acquire) {
                            Ok(_) => true,
                            Err(winner) => winner == key,
                        })
            })
    }

    #[cold]
    fn classify(&self, site: &Site, metadata: &'static Metadata<'static>) -> Option<KindId> {
        if !self.filter.lets_pass(metadata) {
            site.kind.store(NOT_A_UNIT, Release);
            return None;
        }
        // Once per call site: two sites of one kind must not both make it.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let len = self.len.load(Relaxed);
        let same = |kind: &Kind| {
            let known = kind.site.get();
            known.is_some_and(|k| k.name() == metadata.name() && k.target() == metadata.target())
        };
        let kind = match self.kinds[..len as usize].iter().position(same) {
            Some(known) => KindId(known as u32),
            None => match self.kinds.get(len as usize) {
                Some(fresh) => {
                    let _ = fresh.site.set(metadata);
                    self.len.store(len + 1, Release);
                    KindId(len)
                }
                None => KindId::OTHER,
            },
        };
        // Release the kind's name to whoever finds its number.
        site.kind.store(kind.0 + FIRST_KIND, Release);
        Some(kind)
    }
}
