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
const MAX_BOUNDARIES: usize = 64;

/// The names of all boundaries of the process, in the order of their first use: read without a lock.
static NAMES: [OnceLock<&'static str>; MAX_BOUNDARIES] =
    [const { OnceLock::new() }; MAX_BOUNDARIES];
/// How many there are. Changes under `MAKING`.
static LEN: AtomicU32 = AtomicU32::new(0);
static MAKING: Lock<()> = Lock::new();

fn names() -> impl Iterator<Item = &'static str> {
    // Acquire the names.
    let len = LEN.load(Acquire) as usize;
    NAMES.iter().take(len).filter_map(OnceLock::get).copied()
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
    alloc_tracker::raw::for_a_tool(|| {
        let known = || {
            let known = names().position(|known| known == name)?;
            Some(BoundaryId(known as u32 + 1))
        };
        if let Some(known) = known() {
            return Some(known);
        }
        let making = MAKING.lock();
        if !making.is_first() {
            // In the child of a fork that came while a name was entered: it has no further ones.
            return None;
        }
        // Another thread may have entered it just now.
        if let Some(known) = known() {
            return Some(known);
        }
        let len = LEN.load(Relaxed);
        let _ = NAMES.get(len as usize)?.set(keep(name));
        // Release the name to who reads the number.
        LEN.store(len + 1, Release);
        Some(BoundaryId(len + 1))
    })
}
