//! A span that nobody but telemetry has.

use super::pool::{Pooled, Taken};
use super::refs::Refs;
use super::spans::Membership;
use crate::callsites::SiteId;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A lean span by the place of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeanRef(pub(super) u32);

/// A span that nobody but telemetry has.
///
/// All accesses but those of `refs` are relaxed: a span is handed from thread to thread by something
/// that orders memory.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct LeanSpan {
    next_free: AtomicU32,
    /// The lean span that it is inside of, by index plus one, of which it holds a handle; 0: none.
    parent: AtomicU32,
    site: AtomicU32,
    /// Of the blank; the record's for good.
    id: AtomicU64,
    /// Its handles, and the spans inside it; 0 while it is free.
    refs: Refs,
    member: AtomicU64,
    /// The innermost span around it that others see; 0: there is none. If it is inside no lean span
    /// itself, it holds a handle of this one.
    outer: AtomicU64,
    /// How many spans it was, and that are over.
    generation: AtomicU64,
}

impl Pooled for LeanSpan {
    fn new() -> Self {
        LeanSpan {
            next_free: AtomicU32::new(0),
            parent: AtomicU32::new(0),
            site: AtomicU32::new(0),
            id: AtomicU64::new(0),
            refs: Refs::none(),
            member: AtomicU64::new(0),
            outer: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

impl LeanSpan {
    /// From here on it has the blank with this id.
    pub(super) fn lend(&self, blank: u64) {
        self.id.store(blank, Relaxed);
    }

    #[inline]
    pub(super) fn begin(&self, start: LeanStart) {
        let LeanStart {
            site,
            member,
            parent,
            outer,
        } = start;
        let parent = parent.map_or(0, |parent| parent.0 + 1);
        self.parent.store(parent, Relaxed);
        self.site.store(site.index() as u32, Relaxed);
        self.member.store(member.0, Relaxed);
        self.outer.store(outer.unwrap_or(0), Relaxed);
        self.refs.begin();
    }

    #[inline]
    pub(super) fn hold(&self) {
        self.refs.hold();
    }

    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.refs.are_held()
    }

    /// A handle less. What it was and what it held, if that was the last.
    #[inline]
    pub(super) fn release(&self) -> Option<(Membership, Held)> {
        if !self.refs.release() {
            return None;
        }
        let generation = self.generation.load(Relaxed);
        self.generation.store(generation + 1, Relaxed);
        let holds = match (self.parent.load(Relaxed).checked_sub(1), self.outer()) {
            (Some(parent), _) => Held::Lean(LeanRef(parent)),
            (None, None) => Held::Nothing,
            (None, Some(outer)) => Held::Shared(outer),
        };
        Some((self.member(), holds))
    }

    pub(super) fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    pub(super) fn site(&self) -> SiteId {
        SiteId::from_index(u64::from(self.site.load(Relaxed)))
    }

    #[inline]
    pub(super) fn member(&self) -> Membership {
        Membership(self.member.load(Relaxed))
    }

    #[inline]
    pub(super) fn outer(&self) -> Option<u64> {
        let outer = self.outer.load(Relaxed);
        (outer != 0).then_some(outer)
    }

    /// A blank is lent to many spans of a unit: what tells them apart in the details. Registries
    /// count up from 1, this counts down.
    #[inline]
    pub(super) fn detail(&self, lean: LeanRef) -> u64 {
        !(self.generation.load(Relaxed) << 32 | u64::from(lean.0))
    }
}

/// A lean span that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeanStart {
    pub(crate) site: SiteId,
    pub(crate) member: Membership,
    /// The caller has taken a handle of it for this one.
    pub(crate) parent: Option<LeanRef>,
    /// The innermost span around it that others see.
    pub(crate) outer: Option<u64>,
}

/// A lean span that has ended, and what it held.
#[derive(Debug)]
pub(crate) struct LeanEnd {
    pub(crate) member: Membership,
    pub(crate) holds: Held,
    pub(crate) record: Taken,
}

/// What a lean span keeps from ending: the span around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Nothing,
    Lean(LeanRef),
    /// A span of the subscriber.
    Shared(u64),
}
