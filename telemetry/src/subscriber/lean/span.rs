//! A span that nobody but telemetry has.

use crate::callsites::SiteId;
use crate::live::UnitOfSpan;
use crate::live::refs::Refs;
use crate::tool::pool::{Chunk, PoolItem, Pooled};
use alloc_tracker::raw::Lock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A lean span by the place of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeanRef(pub(crate) u32);

/// A span that nobody but telemetry has.
///
/// All accesses but those of `refs` are relaxed: a span is handed from thread to thread by something
/// that orders memory.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct LeanSpan {
    next_free: AtomicU32,
    /// The lean span that it is inside of, by index plus one, of which it holds a handle; 0: none.
    parent: AtomicU32,
    site: AtomicU32,
    /// Of the stand-in; the record's for good.
    id: AtomicU64,
    /// Its handles, and the spans inside it; 0 while it is free.
    refs: Refs,
    in_unit: AtomicU64,
    /// The innermost span around it that others see; 0: there is none. If it is inside no lean span
    /// itself, it holds a handle of this one.
    outer: AtomicU64,
    /// What the details call it: see [`LeanSpan::detail`].
    detail: AtomicU64,
}

impl Pooled for LeanSpan {
    fn new() -> Self {
        LeanSpan {
            next_free: AtomicU32::new(0),
            parent: AtomicU32::new(0),
            site: AtomicU32::new(0),
            id: AtomicU64::new(0),
            refs: Refs::none(),
            in_unit: AtomicU64::new(0),
            outer: AtomicU64::new(0),
            detail: AtomicU64::new(u64::MAX),
        }
    }

    fn forget(&self) {
        self.refs.forget();
        self.be_another();
    }

    fn spare() -> &'static Lock<Vec<&'static Chunk<Self>>> {
        static SPARE: Lock<Vec<&'static Chunk<LeanSpan>>> = Lock::new();
        &SPARE
    }

    fn next_free(&self) -> &AtomicU32 {
        &self.next_free
    }
}

impl LeanSpan {
    /// From here on it is the record at this place, and has the stand-in with this id.
    pub(crate) fn lend(&self, lean: LeanRef, stand_in: u64) {
        self.id.store(stand_in, Relaxed);
        let spans_before = self.detail.load(Relaxed) >> 32 << 32;
        self.detail
            .store(spans_before | u64::from(!lean.0), Relaxed);
    }

    /// What comes next has another name in the details.
    #[inline]
    fn be_another(&self) {
        self.detail
            .store(self.detail.load(Relaxed).wrapping_sub(1 << 32), Relaxed);
    }

    #[inline]
    pub(crate) fn begin(&self, start: LeanStart) {
        let LeanStart {
            site,
            in_unit,
            parent,
            outer,
        } = start;
        let parent = parent.map_or(0, |parent| parent.0 + 1);
        self.parent.store(parent, Relaxed);
        self.site.store(site.index() as u32, Relaxed);
        self.in_unit.store(in_unit.0, Relaxed);
        self.outer.store(outer.unwrap_or(0), Relaxed);
        self.refs.begin();
    }

    #[inline]
    pub(crate) fn hold(&self) {
        self.refs.hold();
    }

    /// One more handle, for a span inside it; the innermost span around both that others see.
    #[inline]
    pub(crate) fn hold_for_child(&self) -> Option<u64> {
        self.hold();
        self.outer()
    }

    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.refs.are_held()
    }

    /// A handle less. What it was and what it held, if that was the last.
    #[inline]
    pub(crate) fn release(&self) -> Option<(UnitOfSpan, HeldParent)> {
        if !self.refs.release() {
            return None;
        }
        self.be_another();
        let holds = match (self.parent.load(Relaxed).checked_sub(1), self.outer()) {
            (Some(parent), _) => HeldParent::Lean(LeanRef(parent)),
            (None, None) => HeldParent::Nothing,
            (None, Some(outer)) => HeldParent::Shared(outer),
        };
        Some((self.in_unit(), holds))
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    pub(crate) fn site(&self) -> SiteId {
        SiteId::from_index(u64::from(self.site.load(Relaxed)))
    }

    #[inline]
    pub(crate) fn in_unit(&self) -> UnitOfSpan {
        UnitOfSpan(self.in_unit.load(Relaxed))
    }

    #[inline]
    pub(crate) fn outer(&self) -> Option<u64> {
        let outer = self.outer.load(Relaxed);
        (outer != 0).then_some(outer)
    }

    /// A stand-in is lent to many spans of a unit: what tells them apart in the details. Registries count up from 1,
    /// this counts down: how many spans the record was and its place, bit by bit the other way round.
    #[inline]
    pub(crate) fn detail(&self) -> u64 {
        self.detail.load(Relaxed)
    }
}

/// A lean span that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeanStart {
    pub(crate) site: SiteId,
    pub(crate) in_unit: UnitOfSpan,
    /// The caller has taken a handle of it for this one.
    pub(crate) parent: Option<LeanRef>,
    /// The innermost span around it that others see.
    pub(crate) outer: Option<u64>,
}

/// A lean span that has ended, and what it held.
#[derive(Debug)]
pub(crate) struct LeanEnd {
    pub(crate) in_unit: UnitOfSpan,
    pub(crate) holds: HeldParent,
    pub(crate) record: PoolItem<LeanSpan>,
}

/// What a lean span keeps from ending: the span around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldParent {
    Nothing,
    Lean(LeanRef),
    /// A span of the subscriber.
    Shared(u64),
}
