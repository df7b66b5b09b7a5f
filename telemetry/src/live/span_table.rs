//! From a span's id to a word about it: a fixed hash table of atomics.
//!
//! Buckets of eight entries, each key on one cache line. An entry whose bucket is full goes to one
//! of the next buckets, and its home bucket counts it as displaced; a look-up goes on past its
//! home bucket only if that count is above zero, so a miss usually reads one cache line.

use alloc_tracker::raw::{Lock, for_a_tool};
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const WAYS: usize = 8;
/// Buckets in a row that an entry may lie in, and as many elsewhere.
const REACH: usize = 8;

/// A key that is being filled in. No span has this id.
const RESERVED: u64 = u64::MAX;

/// Where a span lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableIndex(pub(super) u32);

impl TableIndex {
    fn of(bucket: usize, way: usize) -> Self {
        TableIndex((bucket * WAYS + way) as u32)
    }
}

/// Its memory lasts as long as the program: when a table is gone, it is there for the next one. So whoever looked up a
/// place may look again, whatever became of the table.
#[derive(Debug)]
pub(super) struct SpanTable {
    buckets: &'static [Bucket],
    shift: u32,
}

/// Where spans are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    buckets: &'static [Bucket],
}

impl Places {
    /// Whether a span is still in its place, with this word about it.
    #[inline]
    pub(super) fn is_at(&self, place: TableIndex, span: u64, word: u64) -> bool {
        let way = place.0 as usize % WAYS;
        let bucket = self.buckets.get(place.0 as usize / WAYS);
        bucket.is_some_and(|bucket| {
            bucket.keys[way].load(Acquire) == span && bucket.values[way].load(Relaxed) == word
        })
    }
}

/// What tables had that are gone.
static SPARE: Lock<Vec<&'static [Bucket]>> = Lock::new();

fn memory(buckets: usize) -> &'static [Bucket] {
    let mut spare = SPARE.lock();
    match spare.iter().position(|spare| spare.len() == buckets) {
        Some(at) => spare.swap_remove(at),
        None => {
            let buckets = (0..buckets).map(|_| Bucket::default());
            Box::leak(buckets.collect::<Box<[Bucket]>>())
        }
    }
}

impl Drop for SpanTable {
    fn drop(&mut self) {
        for bucket in self.buckets {
            bucket.keys.iter().for_each(|key| key.store(0, Relaxed));
            bucket.displaced.store(0, Relaxed);
        }
        for_a_tool(|| SPARE.lock().push(self.buckets));
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    keys: [AtomicU64; WAYS],
    values: [AtomicU64; WAYS],
    displaced: AtomicU32,
}

impl SpanTable {
    /// Room for at least `spans` live spans.
    pub(super) fn new(spans: usize) -> Self {
        // At most half full, so that buckets rarely overflow.
        let buckets = (spans * 2 / WAYS).next_power_of_two().max(REACH);
        SpanTable {
            buckets: for_a_tool(|| memory(buckets)),
            shift: u64::BITS - buckets.trailing_zeros(),
        }
    }

    /// What says where spans are, after the table too.
    pub(super) fn places(&self) -> Places {
        Places {
            buckets: self.buckets,
        }
    }

    /// PERF: the registry's ids are places in its slab, by thread and with a generation above, and a
    /// place that was left is taken again first. So the generation is left out, and neighbours lie
    /// in one bucket: the few that a thread uses stay in its cache. Spread at random over the table,
    /// each was a miss, 30 ns in a service.
    #[inline]
    fn home(span: u64) -> usize {
        const ADDRESS_BITS: u32 = 38;
        const THREAD_BITS: u32 = 13;
        /// Odd, so that threads differ in the lowest bits, and those next to each other in far places.
        const STRIDE: u64 = 0x1E37_79B9;
        // Of what is in the bits above the address, the index has nothing: there are fewer buckets.
        let address = span / (WAYS as u64 / 2);
        let thread = span >> ADDRESS_BITS & ((1 << THREAD_BITS) - 1);
        address.wrapping_add(thread * STRIDE) as usize
    }

    fn mix(&self, bits: u64) -> u64 {
        bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift
    }

    #[inline]
    fn home_index(&self, span: u64) -> usize {
        Self::home(span) & (self.buckets.len() - 1)
    }

    /// Where else to look: first in the buckets after the home; where many threads have many spans, or
    /// ids are made otherwise, homes may lie on a heap: then in some at random.
    fn elsewhere(&self, span: u64) -> impl Iterator<Item = usize> {
        let home = Self::home(span);
        let next = (1..REACH).map(move |step| home + step);
        let random = (0..REACH as u64)
            .map(move |n| self.mix((span ^ span >> 29).wrapping_add(n << 54)) as usize);
        next.chain(random).map(|at| at & (self.buckets.len() - 1))
    }

    /// The span's place; `None` if there is no room near its home, nor elsewhere.
    #[inline]
    pub(super) fn insert(&self, span: u64, word: u64) -> Option<TableIndex> {
        let home = self.home_index(span);
        match self.buckets[home].insert(span, word) {
            Some(way) => Some(TableIndex::of(home, way)),
            None => self.insert_elsewhere(span, word),
        }
    }

    #[cold]
    fn insert_elsewhere(&self, span: u64, word: u64) -> Option<TableIndex> {
        // First, so that who sees the key sees that there are keys elsewhere.
        let displaced = &self.buckets[self.home_index(span)].displaced;
        displaced.fetch_add(1, AcqRel);
        let mut elsewhere = self.elsewhere(span);
        let inserted = elsewhere.find_map(|at| {
            let way = self.buckets[at].insert(span, word)?;
            Some(TableIndex::of(at, way))
        });
        if inserted.is_none() {
            displaced.fetch_sub(1, AcqRel);
        }
        inserted
    }

    /// The word about a span, and its place.
    ///
    /// PERF: always inlined: the answer need not go through memory.
    #[inline(always)]
    pub(super) fn get(&self, span: u64) -> Option<(u64, TableIndex)> {
        let found = self.find(span)?;
        let word = found.bucket.values[found.way].load(Relaxed);
        Some((word, TableIndex::of(found.at, found.way)))
    }

    #[inline]
    pub(super) fn remove(&self, span: u64) -> Option<u64> {
        let Found { bucket, at, way } = self.find(span)?;
        let word = bucket.values[way].load(Relaxed);
        // Release: the value was read before the place is given away.
        bucket.keys[way].store(0, Release);
        let home = self.home_index(span);
        if at != home {
            self.buckets[home].displaced.fetch_sub(1, AcqRel);
        }
        Some(word)
    }

    #[inline(always)]
    fn find(&self, span: u64) -> Option<Found<'_>> {
        let at = self.home_index(span);
        let bucket = &self.buckets[at];
        match bucket.find(span) {
            Some(way) => Some(Found { bucket, at, way }),
            None if bucket.displaced.load(Acquire) == 0 => None,
            None => self.find_elsewhere(span),
        }
    }

    #[cold]
    fn find_elsewhere(&self, span: u64) -> Option<Found<'_>> {
        let mut elsewhere = self.elsewhere(span);
        elsewhere.find_map(|at| {
            let bucket = &self.buckets[at];
            let way = bucket.find(span)?;
            Some(Found { bucket, at, way })
        })
    }
}

/// A span's bucket, where that is, and where in it.
struct Found<'a> {
    bucket: &'a Bucket,
    at: usize,
    way: usize,
}

impl Bucket {
    #[inline]
    fn insert(&self, span: u64, word: u64) -> Option<usize> {
        for (way, (key, value)) in self.keys.iter().zip(&self.values).enumerate() {
            if key.load(Relaxed) != 0
                || key.compare_exchange(0, RESERVED, Acquire, Relaxed).is_err()
            {
                continue;
            }
            value.store(word, Relaxed);
            // Release the value, and the home's count, to the look-up that sees the key.
            key.store(span, Release);
            return Some(way);
        }
        None
    }

    #[inline]
    fn find(&self, span: u64) -> Option<usize> {
        // Whoever asks for a span was handed it by the thread that made it, which orders the
        // insertion before this; Acquire pairs with the Release in `insert`, too.
        self.keys.iter().position(|key| key.load(Acquire) == span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn agrees_with_a_hash_map_under_churn() {
        let table = SpanTable::new(256);
        let mut naive = HashMap::new();
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let span = 1 + (seed >> 33) % 300;
            match naive.remove(&span) {
                Some(expected) => assert_eq!(table.remove(span), Some(expected)),
                None => {
                    assert!(table.get(span).is_none());
                    if table.insert(span, seed >> 20).is_some() {
                        naive.insert(span, seed >> 20);
                    }
                }
            }
            let probe = 1 + (seed >> 13) % 300;
            let found = table.get(probe);
            assert_eq!(found.map(|(word, _)| word), naive.get(&probe).copied());
            if let Some((word, place)) = found {
                assert!(
                    table.places().is_at(place, probe, word)
                        && !table.places().is_at(place, probe + 1, word)
                );
                assert!(!table.places().is_at(place, probe, word + 1));
            }
        }
    }

    #[test]
    fn a_full_neighbourhood_refuses_and_recovers() {
        let table = SpanTable::new(1);
        let taken: Vec<u64> = (1..1000)
            .filter(|&span| table.insert(span, span).is_some())
            .collect();
        assert!(taken.len() <= WAYS * REACH * 2);
        for &span in &taken {
            assert_eq!(table.remove(span), Some(span));
        }
        assert!(table.insert(7, 7).is_some());
    }

    /// Ids as the registry makes them: the place, and the thread above it.
    #[test]
    fn half_of_the_room_is_there_whichever_threads_have_the_spans() {
        let mut random = 1u64;
        for _ in 0..200 {
            let table = SpanTable::new(1 << 14);
            let mut left = 1 << 13;
            while left > 0 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let (thread, spans) = (random % 200, 1 + (random >> 20) % 2000);
                for place in 0..spans.min(left) {
                    let span = 1 + place + (thread << 38);
                    assert!(table.get(span).is_some() || table.insert(span, span).is_some());
                }
                left = left.saturating_sub(spans);
            }
        }
        // And those of Fibonacci's threads, which lie close.
        let table = SpanTable::new(1 << 14);
        for thread in [10u64, 99, 188] {
            for place in 0..1000 {
                let span = 1 + place + (thread << 38);
                assert!(table.insert(span, span).is_some());
                assert_eq!(table.get(span).map(|(word, _)| word), Some(span));
            }
        }
    }

    #[test]
    fn threads_share_the_table() {
        let table = SpanTable::new(1 << 12);
        std::thread::scope(|threads| {
            for t in 0..4u64 {
                let table = &table;
                threads.spawn(move || {
                    for round in 0..20_000u64 {
                        let span = 1 + t + 4 * (round % 200);
                        assert!(table.insert(span, span + round).is_some());
                        assert_eq!(table.get(span).map(|(word, _)| word), Some(span + round));
                        assert_eq!(table.remove(span), Some(span + round));
                    }
                });
            }
        });
        assert!((1..1000).all(|span| table.get(span).is_none()));
    }
}
