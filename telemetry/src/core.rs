//! The state that the layer, the handle and the background thread share.

use crate::aggregate::Aggregate;
use crate::background::Background;
use crate::clock::Clock;
use crate::ledger::{Counters, Ledger, UnitDrop};
use crate::ring::Ring;
use crate::snapshot::Snapshot;
use crate::system::Sampling;
use crate::units::{Finished, KindId, Kinds, Slots, SpanTable, UnitFilter};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub(crate) struct Core {
    /// Tells instances apart in the thread-locals.
    pub(crate) id: usize,
    pub(crate) service: String,
    pub(crate) clock: Clock,
    pub(crate) sampling: Sampling,
    pub(crate) kinds: Kinds,
    pub(crate) spans: SpanTable,
    pub(crate) slots: Slots,
    pub(crate) counters: Counters,
    pub(crate) background: Background,
    rings: Mutex<Vec<Arc<Ring>>>,
    /// What came in since it was last collected. Held for as long as it takes to read one ring or
    /// to swap it out, never for a report.
    incoming: Mutex<Aggregate>,
    totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    /// Since the start.
    all: Aggregate,
    /// Since the last export.
    interval: Aggregate,
    /// Empty, and swapped with `incoming`.
    spare: Aggregate,
    interval_start: u64,
}

/// Bounds on memory; see the builder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) kinds: usize,
    pub(crate) spans: usize,
    pub(crate) units: usize,
}

impl Core {
    pub(crate) fn new(
        service: String,
        units: UnitFilter,
        bounds: Bounds,
        sampling: Sampling,
    ) -> Self {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(0);
        Core {
            id: NEXT_ID.fetch_add(1, Relaxed),
            service,
            clock: Clock::new(),
            sampling,
            kinds: Kinds::new(units, bounds.kinds),
            spans: SpanTable::new(bounds.spans),
            slots: Slots::new(bounds.units),
            counters: Counters::default(),
            background: Background::new(),
            rings: Mutex::default(),
            incoming: Mutex::default(),
            totals: Mutex::default(),
        }
    }

    /// A ring for a thread that is new here.
    pub(crate) fn new_ring(&self) -> Arc<Ring> {
        let ring = Arc::new(Ring::new(self.kinds.most()));
        lock(&self.rings).push(Arc::clone(&ring));
        ring
    }

    /// The thread of a ring ends: what is in the ring is kept, the ring is not.
    pub(crate) fn retire(&self, ring: &Arc<Ring>) {
        self.drain(ring);
        let mut rings = lock(&self.rings);
        for (id, kind) in self.kinds.all() {
            kind.add_elsewhere(ring.in_flight(id));
        }
        rings.retain(|other| !Arc::ptr_eq(other, ring));
    }

    /// Units of a kind in progress: now, and the most that were seen.
    pub(crate) fn in_flight(&self, kind: KindId) -> (u64, u64) {
        self.in_flight_of(kind, &lock(&self.rings))
    }

    /// A thread has more units of a kind in progress than ever: perhaps all threads together have.
    #[cold]
    pub(crate) fn look_at_in_flight(&self, kind: KindId) {
        // Somebody else is looking: at a figure that is as good.
        if let Ok(rings) = self.rings.try_lock() {
            self.in_flight_of(kind, &rings);
        }
    }

    fn in_flight_of(&self, kind: KindId, rings: &[Arc<Ring>]) -> (u64, u64) {
        let in_rings = rings.iter().map(|ring| ring.in_flight(kind)).sum();
        self.kinds.get(kind).in_flight(in_rings)
    }

    /// Moves what is in one ring into the histograms.
    pub(crate) fn drain(&self, ring: &Ring) {
        self.drain_into(ring, &mut lock(&self.incoming));
    }

    /// The same, unless somebody else is at the histograms.
    pub(crate) fn drain_if_free(&self, ring: &Ring) {
        match self.incoming.try_lock() {
            Ok(mut incoming) => self.drain_into(ring, &mut incoming),
            Err(TryLockError::Poisoned(poisoned)) => {
                self.drain_into(ring, &mut poisoned.into_inner());
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Takes in a unit that ended where no ring can be had.
    pub(crate) fn take_in(&self, unit: &Finished) {
        let mut incoming = lock(&self.incoming);
        alloc_tracker::excluded(|| self.count(unit, &mut incoming));
    }

    fn drain_into(&self, ring: &Ring, incoming: &mut Aggregate) {
        // A histogram that grows allocates: not at the expense of a unit around this one.
        alloc_tracker::excluded(|| ring.drain(|unit| self.count(unit, incoming)));
    }

    fn count(&self, unit: &Finished, incoming: &mut Aggregate) {
        incoming.record(unit, self.sampling);
        self.counters.unit_kept(unit.telemetry_ns);
    }

    /// Brings the totals up to date.
    fn collect(&self) -> MutexGuard<'_, Totals> {
        let mut totals = lock(&self.totals);
        let rings = lock(&self.rings).clone();
        // Ring by ring: a thread that waits for the histograms does not wait for all rings.
        for ring in &rings {
            self.drain(ring);
        }
        for (kind, _) in self.kinds.all() {
            self.in_flight_of(kind, &rings);
        }
        std::mem::swap(&mut *lock(&self.incoming), &mut totals.spare);
        let Totals {
            all,
            interval,
            spare,
            ..
        } = &mut *totals;
        all.merge(spare);
        interval.merge(spare);
        spare.clear();
        totals
    }

    /// Everything since the start.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // Bringing up to date is telemetry's expense; the snapshot is the caller's.
        let totals = alloc_tracker::excluded(|| self.collect());
        Snapshot::of(self, &totals.all, self.clock.now()).with_units_in_progress(self, &totals.all)
    }

    /// What came since the last call of this; `None` if there was nothing.
    pub(crate) fn take_interval(&self) -> Option<Snapshot> {
        let mut totals = self.collect();
        let now = self.clock.now();
        let lasted = now.saturating_sub(std::mem::replace(&mut totals.interval_start, now));
        let any = totals.interval.kinds().next().is_some();
        let interval = any.then(|| Snapshot::of(self, &totals.interval, lasted));
        totals.interval.clear();
        interval
    }

    /// As [`Core::take_interval`], for nobody.
    pub(crate) fn discard_interval(&self) {
        let mut totals = self.collect();
        totals.interval_start = self.clock.now();
        totals.interval.clear();
    }

    /// A unit is not counted. The ledger has that to say, even if no unit ever ends.
    pub(crate) fn drop_unit(&self, why: UnitDrop) {
        self.counters.unit_dropped(why);
        self.background.something_happened();
    }

    pub(crate) fn ledger(&self) -> Ledger {
        alloc_tracker::excluded(|| drop(self.collect()));
        self.counters.ledger()
    }
}

/// A panic while a lock is held leaves figures that are a unit short, not broken ones.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("id", &self.id)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
