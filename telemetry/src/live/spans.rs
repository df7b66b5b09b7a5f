//! From a span's id to the unit that it belongs to.
//!
//! A span that others see as well is in the table with its unit. A *lean* one, which nobody but
//! telemetry wants, has a record of its own; the table leads to the record. Its id is that of a
//! *stand-in*: a span that the subscriber made, that no layer ever saw, and that is lent to one lean
//! span after the other. So ids of both are never the same, and whoever asks the subscriber for a
//! lean span finds one that is hidden from him.

use super::in_unit::{UNIT_SHIFT, UnitOfSpan, UnitRef};
use super::span_table::{Places, SpanTable, TableIndex};
use super::unit::LiveUnit;
use crate::callsites::SiteId;
use crate::subscriber::lean::{LeanEnd, LeanRef, LeanSpan, LeanStart};
use crate::tool::pool::{Allowed, Pool, PoolItem};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// In the table: the rest of the word is the index of a lean span. A [`UnitOfSpan`] leaves it free.
const LEAN: u64 = 1 << 63;
const _: () = assert!((UnitRef::MASK << UNIT_SHIFT) & LEAN == 0);

/// A span that is in a unit.
///
/// PERF: where its record and its unit lie, so that they need not be looked up; and words, as what is entered is
/// copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownSpan {
    pub(crate) in_unit: UnitOfSpan,
    /// What the details call it: no other span of the unit is called that.
    pub(crate) detail: u64,
    /// Its record, marked as in the table, if nobody but telemetry has it; else its place in the table.
    at: u64,
    /// Its record, if nobody but telemetry has it.
    record: Option<&'static LeanSpan>,
    /// The place of its unit, where another one may be by now.
    place: Option<&'static LiveUnit>,
}

impl KnownSpan {
    /// Of a span that is in no unit.
    pub(crate) const NOTHING: KnownSpan = KnownSpan {
        in_unit: UnitOfSpan::NONE,
        detail: 0,
        at: 0,
        record: None,
        place: None,
    };

    /// Its record, if nobody but telemetry has it.
    #[inline]
    pub(crate) fn lean(&self) -> Option<LeanRef> {
        (self.at & LEAN != 0).then_some(LeanRef(self.at as u32))
    }

    #[inline]
    pub(crate) fn record(&self) -> Option<&'static LeanSpan> {
        self.record
    }

    #[inline]
    pub(crate) fn is_lean(&self) -> bool {
        self.record.is_some()
    }

    /// Its unit, unless that is over.
    #[inline]
    pub(crate) fn live(&self) -> Option<&'static LiveUnit> {
        self.place.filter(|place| place.is(self.in_unit.unit()))
    }

    /// The same, with the place of its unit.
    #[inline]
    pub(crate) fn at(mut self, place: Option<&'static LiveUnit>) -> Self {
        self.place = place;
        self
    }

    /// Where its unit is, or was.
    #[inline]
    pub(crate) fn place(&self) -> Option<&'static LiveUnit> {
        self.place
    }
}

/// Where anything lies does not matter.
impl PartialEq for KnownSpan {
    fn eq(&self, other: &Self) -> bool {
        (self.in_unit, self.detail, self.at) == (other.in_unit, other.detail, other.at)
    }
}

/// Who has a span: the subscriber as well, or telemetry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOwner {
    Subscriber,
    Telemetry,
}

impl SpanOwner {
    pub(crate) const ALL: [SpanOwner; 2] = [SpanOwner::Subscriber, SpanOwner::Telemetry];

    #[inline]
    pub(crate) fn has(self, known: &KnownSpan) -> bool {
        known.is_lean() == (self == SpanOwner::Telemetry)
    }
}

/// Says which spans are over; also where nobody knows whether the telemetry whose they are is still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhoLives {
    places: Places,
}

impl WhoLives {
    /// Whether the span is not over. `span`: its id.
    #[inline]
    pub(crate) fn lives(&self, span: u64, known: &KnownSpan) -> bool {
        match known.record {
            Some(record) => record.detail() == known.detail,
            // What is in no unit is nowhere.
            None => (self.places).is_at(TableIndex(known.at as u32), span, known.in_unit.0),
        }
    }
}

/// The spans that belong to units.
#[derive(Debug)]
pub(crate) struct Spans {
    table: SpanTable,
    who_lives: WhoLives,
    lean: Pool<LeanSpan>,
    /// The index plus one of a record for which there was no room in the table; 0: there is none.
    spare: AtomicU32,
}

impl Spans {
    /// Room for at least `spans` live spans, of which half may be lean: a stand-in keeps its place in the
    /// table, which is never more than three quarters full.
    pub(crate) fn new(spans: usize) -> Self {
        let table = SpanTable::new(spans);
        Spans {
            who_lives: WhoLives {
                places: table.places(),
            },
            table,
            lean: Pool::new(spans / 2),
            spare: AtomicU32::new(0),
        }
    }

    /// Without the place of its unit, which is not known here.
    ///
    /// PERF: always inlined, as in the table.
    #[inline(always)]
    pub(crate) fn get(&self, span: u64) -> Option<KnownSpan> {
        let (word, place) = self.table.get(span)?;
        if word & LEAN == 0 {
            return Some(KnownSpan {
                in_unit: UnitOfSpan(word),
                detail: span,
                at: u64::from(place.0),
                record: None,
                place: None,
            });
        }
        let record = self.lean.at(word as u32)?;
        // Otherwise a stand-in that nobody borrows. Whoever asks for it has kept an id for too long.
        record.is_held().then(|| KnownSpan {
            in_unit: record.in_unit(),
            detail: record.detail(),
            at: word,
            record: Some(record),
            place: None,
        })
    }

    #[inline(always)]
    pub(crate) fn who_lives(&self) -> &WhoLives {
        &self.who_lives
    }

    /// Adds a span that others see, too. `None` if there is no room.
    #[inline]
    pub(crate) fn insert(&self, span: u64, in_unit: UnitOfSpan) -> Option<KnownSpan> {
        let at = self.table.insert(span, in_unit.0)?;
        Some(KnownSpan {
            in_unit,
            detail: span,
            at: at.0.into(),
            record: None,
            place: None,
        })
    }

    #[inline]
    pub(crate) fn remove(&self, span: u64) -> Option<UnitOfSpan> {
        self.table.remove(span).map(UnitOfSpan)
    }

    /// The lean span with this id. Of an id that was kept for too long, any that has the stand-in.
    #[inline]
    pub(crate) fn lean(&self, span: u64) -> Option<LeanRef> {
        let (word, _) = self.table.get(span)?;
        // PERF: whether somebody has it is not asked: who lets a handle of it go finds out.
        (word & LEAN != 0).then_some(LeanRef(word as u32))
    }

    /// How many records without a span one more thread may keep at hand.
    pub(crate) fn allow(&self) -> Allowed {
        self.lean.allow()
    }

    pub(crate) fn give_up(&self, allowed: Allowed) {
        self.lean.give_up(allowed);
    }

    /// A record that has a stand-in and no span.
    pub(crate) fn take_again(&self) -> Option<PoolItem<LeanSpan>> {
        self.lean.take_again()
    }

    /// Whether there may be room for one more stand-in.
    pub(crate) fn has_room(&self) -> bool {
        self.spare.load(Relaxed) > 0 || self.lean.has_fresh()
    }

    /// A fresh record for the stand-in with this id; `None` if there is no room for one more.
    #[cold]
    pub(crate) fn adopt(&self, id: u64) -> Option<PoolItem<LeanSpan>> {
        let taken = match self.spare.swap(0, Relaxed).checked_sub(1) {
            Some(spare) => PoolItem::of(spare, self.lean.at(spare)?),
            // What idle threads keep at hand is not made up for: others have the subscriber.
            None => self.lean.take_fresh(|| true)?,
        };
        let word = LEAN | u64::from(taken.index());
        taken.thing().lend(LeanRef(taken.index()), id);
        if self.table.insert(id, word).is_none() {
            self.spare.store(taken.index() + 1, Relaxed);
            return None;
        }
        Some(taken)
    }

    pub(crate) fn give_back(&self, record: PoolItem<LeanSpan>) {
        self.lean.give_back(record);
    }

    /// Begins a lean span with one handle: its id, and what is known of it.
    #[inline]
    pub(crate) fn begin(record: PoolItem<LeanSpan>, start: LeanStart) -> (u64, KnownSpan) {
        let lean = LeanRef(record.index());
        let record = record.thing();
        record.begin(start);
        let known = KnownSpan {
            in_unit: start.in_unit,
            detail: record.detail(),
            at: LEAN | u64::from(lean.0),
            record: Some(record),
            place: None,
        };
        (record.id(), known)
    }

    /// One more handle of a lean span, of which the caller has one or which is entered.
    #[inline]
    pub(crate) fn hold(&self, lean: LeanRef) {
        if let Some(record) = self.lean.at(lean.0) {
            record.hold();
        }
    }

    /// A handle less. After the last one the span has ended, and the record is the caller's.
    #[inline]
    pub(crate) fn release(&self, lean: LeanRef) -> Option<LeanEnd> {
        release(lean, self.lean.at(lean.0)?)
    }

    /// The same of one that is known.
    #[inline]
    pub(crate) fn release_known(known: &KnownSpan) -> Option<LeanEnd> {
        release(LeanRef(known.at as u32), known.record?)
    }

    /// The innermost span around a lean one that others see.
    #[inline]
    pub(crate) fn outer(&self, lean: LeanRef) -> Option<u64> {
        self.lean.at(lean.0)?.outer()
    }

    /// The id of a lean span.
    pub(crate) fn id(&self, lean: LeanRef) -> Option<u64> {
        Some(self.lean.at(lean.0)?.id())
    }

    /// The call site of a lean span.
    pub(crate) fn site(&self, lean: LeanRef) -> Option<SiteId> {
        Some(self.lean.at(lean.0)?.site())
    }
}

#[inline]
fn release(lean: LeanRef, record: &'static LeanSpan) -> Option<LeanEnd> {
    let (in_unit, holds) = record.release()?;
    Some(LeanEnd {
        in_unit,
        holds,
        record: PoolItem::of(lean.0, record),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::lean::HeldParent;

    fn start(parent: Option<LeanRef>, outer: Option<u64>) -> LeanStart {
        LeanStart {
            site: SiteId::OTHER,
            in_unit: match parent {
                None => UnitOfSpan::of_root(UnitRef(77), false),
                Some(_) => UnitOfSpan::of_root(UnitRef(77), false).of_child(),
            },
            parent,
            outer,
        }
    }

    #[test]
    fn a_lean_span_is_known_by_its_stand_in_while_somebody_has_it() {
        let spans = Spans::new(64);
        assert!(spans.take_again().is_none());
        let record = spans.adopt(500).expect("there is room");
        assert_eq!(spans.get(500), None, "a stand-in");
        let (id, known) = Spans::begin(record, start(None, Some(9)));
        let found = spans.get(500).unwrap();
        assert_eq!(
            (id, found.in_unit, found.detail),
            (500, known.in_unit, known.detail)
        );
        assert!(spans.who_lives().lives(500, &found));
        let lean = spans.lean(500).unwrap();
        assert_eq!(spans.outer(lean), Some(9));
        spans.hold(lean);
        assert!(spans.release(lean).is_none());
        let end = spans.release(lean).expect("the last handle");
        assert_eq!(
            (end.holds, end.in_unit),
            (HeldParent::Shared(9), known.in_unit)
        );
        assert_eq!(spans.get(500), None);
        assert!(spans.release(lean).is_none(), "once too often");

        // The next one has the same id, and another name in the details.
        let (id, next) = Spans::begin(end.record, start(Some(lean), Some(9)));
        assert_eq!(id, 500);
        assert_ne!(next.detail, known.detail);
        assert!(spans.who_lives().lives(500, &next) && !spans.who_lives().lives(500, &known));
        let end = spans.release(lean).unwrap();
        assert_eq!(end.holds, HeldParent::Lean(lean));
        spans.give_back(end.record);
        assert!(spans.take_again().is_some());
    }

    #[test]
    fn spans_of_others_are_kept_apart_from_lean_ones() {
        let spans = Spans::new(64);
        let shared = start(None, None).in_unit;
        assert!(spans.insert(1, shared).is_some());
        let _stand_in = spans.adopt(2).unwrap();
        let known = spans.get(1).unwrap();
        assert_eq!(
            (known.in_unit, known.detail, known.lean()),
            (shared, 1, None)
        );
        assert_eq!((spans.lean(1), spans.get(3)), (None, None));
        assert!(spans.who_lives().lives(1, &known));
        assert_eq!(spans.remove(1), Some(shared));
        assert_eq!(spans.get(1), None);
        assert!(!spans.who_lives().lives(1, &known));
    }

    #[test]
    fn the_last_of_many_threads_ends_a_span() {
        let spans = Spans::new(64);
        let mut record = spans.adopt(7).unwrap();
        for _ in 0..200 {
            let (_, known) = Spans::begin(record, start(None, None));
            let lean = known.lean().unwrap();
            (0..3).for_each(|_| spans.hold(lean));
            let ends = std::thread::scope(|threads| {
                let release = || (0..2).filter_map(|_| spans.release(lean)).collect();
                let others = threads.spawn(release);
                let mine: Vec<_> = release();
                let others: Vec<_> = others.join().unwrap();
                mine.into_iter().chain(others).collect::<Vec<_>>()
            });
            let [end]: [LeanEnd; 1] = ends.try_into().expect("it ends once");
            record = end.record;
        }
    }
}
