//! Boundaries by number: their names are entered once in a process.

use alloc_tracker::raw::Lock;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// A boundary's number in this process. 0 is `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoundaryId(pub(crate) u32);

impl BoundaryId {
    pub(crate) const OTHER: BoundaryId = BoundaryId(0);
}

/// Boundaries that are kept apart; the calls of further ones are counted under `other`.
const MAX_BOUNDARIES: usize = 512;

/// The names of all boundaries of the process, in the order of their first use: read without a lock.
static NAMES: [OnceLock<&'static str>; MAX_BOUNDARIES] =
    [const { OnceLock::new() }; MAX_BOUNDARIES];
/// How many there are. Changes under `MAKING`.
static LEN: AtomicU32 = AtomicU32::new(0);
static MAKING: Lock<()> = Lock::new();

/// From a name's hash to its number plus one, or to one of the next places; 0: no further ones. It is never more than half
/// full.
static BY_HASH: [AtomicU32; 2 * MAX_BOUNDARIES] = [const { AtomicU32::new(0) }; 2 * MAX_BOUNDARIES];

/// The place of a name, and who is there: the boundary of that name, or none.
fn place_of(name: &str) -> (&'static AtomicU32, Option<BoundaryId>) {
    let mut at = hash(name);
    loop {
        let place = &BY_HASH[at % BY_HASH.len()];
        // Acquire the name.
        let found = match place.load(Acquire).checked_sub(1) {
            Some(found) => BoundaryId(found),
            None => return (place, None),
        };
        if found.name() == name {
            return (place, Some(found));
        }
        at += 1;
    }
}

/// FNV-1a: names are short, and there are few.
fn hash(name: &str) -> usize {
    const PRIME: u64 = 0x0100_0000_01B3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, step);
    (hash ^ hash >> 32) as usize
}

impl BoundaryId {
    pub(crate) fn name(self) -> &'static str {
        let at = (self.0 as usize).checked_sub(1);
        let name = at.and_then(|at| NAMES.get(at)?.get());
        name.copied().unwrap_or("other")
    }

    /// The boundary of this name; `None` if there are too many.
    pub(crate) fn of(name: &'static str) -> Option<Self> {
        register(name, |_| name)
    }

    /// The boundary of this name, which is not known at compile time; `None` if there are too many.
    pub(crate) fn named(name: &str) -> Option<Self> {
        // At most as many are leaked as there are boundaries.
        register(name, |name| name.to_owned().leak())
    }
}

fn register(name: &str, keep: impl FnOnce(&str) -> &'static str) -> Option<BoundaryId> {
    // Figures are known by name: those of a boundary that is named so are in the same ones.
    if name == BoundaryId::OTHER.name() {
        return Some(BoundaryId::OTHER);
    }
    let known = place_of(name).1;
    // Who has no room for one more asks no lock.
    if known.is_some() || LEN.load(Relaxed) as usize == MAX_BOUNDARIES {
        return known;
    }
    alloc_tracker::raw::for_a_tool(|| {
        let making = MAKING.lock();
        if !making.is_first() {
            // In the child of a fork that came while a name was entered: it has no further ones.
            return None;
        }
        // Another thread may have entered it just now.
        let (place, known) = place_of(name);
        if known.is_some() {
            return known;
        }
        let len = LEN.load(Relaxed);
        let _ = NAMES.get(len as usize)?.set(keep(name));
        LEN.store(len + 1, Relaxed);
        // Release the name to who reads the number.
        place.store(len + 2, Release);
        Some(BoundaryId(len + 1))
    })
}
