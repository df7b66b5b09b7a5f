//! Things that are taken, given back and taken again: they lie in chunks that are made as they are
//! needed, up to a fixed number.
//!
//! A chunk lasts as long as the program: when its pool is gone, it is there for the next one. So whoever knows
//! where a thing lies may keep that, whatever became of the pool, and the thing says whether it is still what it
//! was.

use alloc_tracker::raw::{Lock, for_a_tool, is_child};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

pub(crate) const CHUNK: usize = 64;

/// PERF: of a length that the compiler knows.
pub(crate) type Chunk<T> = [T; CHUNK];

/// What lies in a pool.
pub(crate) trait Pooled: Sized + 'static {
    fn new() -> Self;

    /// Its pool is gone: from here on it is as a new one, and not what anybody takes it for.
    fn forget(&self);

    /// The chunks that no pool has.
    fn spare() -> &'static Lock<Vec<&'static Chunk<Self>>>;

    /// While it is free: the index of the next free one plus one.
    fn next_free(&self) -> &AtomicU32;
}

/// One that the caller took, or may keep at hand: taking one from the pool, and giving it back, are
/// locked instructions on a cache line that all threads share.
#[derive(Debug)]
pub(crate) struct PoolItem<T: 'static> {
    index: u32,
    thing: &'static T,
}

impl<T> PoolItem<T> {
    /// Where it lies in the pool.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    #[inline]
    pub(crate) fn thing(&self) -> &'static T {
        self.thing
    }

    /// What lies there, which the caller has taken, or has from whom had.
    #[inline]
    pub(crate) fn of(index: u32, thing: &'static T) -> Self {
        PoolItem { index, thing }
    }
}

/// How many a thread may keep at hand, given up with [`Pool::give_up`].
#[derive(Debug, Default)]
pub(crate) struct Allowed(usize);

impl Allowed {
    /// Whether a thread that has this many may keep one more.
    #[inline]
    pub(crate) fn one_more(&self, than: usize) -> bool {
        than < self.0
    }

    pub(crate) fn most(&self) -> usize {
        self.0
    }
}

#[derive(Debug)]
pub(crate) struct Pool<T: Pooled> {
    /// How many may be in use at once.
    most: usize,
    /// How many may be kept at hand by threads that do not use them.
    at_hand: AtomicUsize,
    chunks: Box<[OnceLock<&'static Chunk<T>>]>,
    /// How many were made so far.
    len: AtomicU32,
    /// The index of the first free one plus one in the lower half; a tag in the upper that changes
    /// with every push and pop, so that one which left and came back is not mistaken.
    free: AtomicU64,
}

impl<T: Pooled> Pool<T> {
    /// For `most` in use at once, rounded up to whole chunks, of which a third is made only while threads
    /// that do nothing keep some at hand.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.div_ceil(CHUNK).max(1) * CHUNK;
        Pool {
            most,
            at_hand: AtomicUsize::new(0),
            chunks: (0..(most + most / 2).div_ceil(CHUNK))
                .map(|_| OnceLock::new())
                .collect(),
            len: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// How many free ones one more thread may keep at hand, so that it can take and leave them in turns.
    /// All threads together may keep half of the most; past that, a thread may keep none.
    pub(crate) fn allow(&self) -> Allowed {
        let wanted = (self.most / 1024).clamp(1, 16);
        let room = |kept: usize| (kept + wanted <= self.most / 2).then_some(kept + wanted);
        // Relaxed: a count that stands for itself.
        let allowed = self.at_hand.fetch_update(Relaxed, Relaxed, room).is_ok();
        Allowed(if allowed { wanted } else { 0 })
    }

    /// A thread that ends keeps none any more.
    pub(crate) fn give_up(&self, allowed: Allowed) {
        self.at_hand.fetch_sub(allowed.0, Relaxed);
    }

    /// How many may be in use at once.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// One that was given back; `None` if there is none.
    pub(crate) fn take_again(&self) -> Option<PoolItem<T>> {
        let mut head = self.free.load(Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            // Stale if another thread pops it now; the tag then fails the exchange.
            let thing = self.at(index)?;
            let next = thing.next_free().load(Relaxed);
            let new = next_tag(head) | u64::from(next);
            match self.free.compare_exchange_weak(head, new, Acquire, Acquire) {
                Ok(_) => return Some(PoolItem { index, thing }),
                Err(now) => head = now,
            }
        }
    }

    /// Whether not all were made.
    pub(crate) fn has_fresh(&self) -> bool {
        (self.len.load(Relaxed) as usize) < self.most
    }

    /// A fresh one; `None` if all were made that may be. It makes the chunk that it lies in if it is the first.
    ///
    /// `is_full`: whether the most are in use. Asked once this many were made: threads may keep some of them at
    /// hand, for which as many more may be.
    #[cold]
    pub(crate) fn take_fresh(&self, is_full: impl FnOnce() -> bool) -> Option<PoolItem<T>> {
        let kept = self.at_hand.load(Relaxed).min(self.most / 2);
        let len = self.len.load(Relaxed) as usize;
        if len >= self.most + kept || len >= self.most && is_full() {
            return None;
        }
        let most = self.most + kept;
        let index = self
            .len
            .fetch_update(Relaxed, Relaxed, |len| {
                ((len as usize) < most).then_some(len + 1)
            })
            .ok()?;
        let chunk = &self.chunks[index as usize / CHUNK];
        if index as usize % CHUNK != 0 && chunk.get().is_none() && is_child() {
            // Whoever took the first of the chunk was to make it, and may not have been forked.
            return None;
        }
        let chunk: &'static Chunk<T> = chunk.get_or_init(|| for_a_tool(new_chunk));
        let thing = &chunk[index as usize % CHUNK];
        Some(PoolItem { index, thing })
    }

    pub(crate) fn give_back(&self, taken: PoolItem<T>) {
        let mut head = self.free.load(Relaxed);
        loop {
            taken.thing.next_free().store(head as u32, Relaxed);
            let new = next_tag(head) | u64::from(taken.index + 1);
            // Release `next_free` and the state of the thing to whoever pops it.
            match self.free.compare_exchange_weak(head, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Those that were made so far, taken or not, and where they lie.
    pub(crate) fn made(&self) -> impl Iterator<Item = (u32, &T)> {
        let made = self.len.load(Relaxed);
        (0..made).filter_map(|index| Some((index, self.at(index)?)))
    }

    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&'static T> {
        let index = index as usize;
        let chunk: &'static Chunk<T> = self.chunks.get(index / CHUNK)?.get()?;
        Some(&chunk[index % CHUNK])
    }
}

impl<T: Pooled> Drop for Pool<T> {
    fn drop(&mut self) {
        for_a_tool(|| {
            let mut spare = T::spare().lock();
            for chunk in self.chunks.iter_mut().filter_map(OnceLock::take) {
                chunk.iter().for_each(T::forget);
                spare.push(chunk);
            }
        });
    }
}

fn new_chunk<T: Pooled>() -> &'static Chunk<T> {
    if let Some(spare) = T::spare().lock().pop() {
        return spare;
    }
    let things = (0..CHUNK).map(|_| T::new()).collect::<Box<[T]>>();
    match things.try_into() {
        Ok(chunk) => Box::leak(chunk),
        Err(_) => unreachable!("there are as many"),
    }
}

fn next_tag(head: u64) -> u64 {
    (head & !u64::from(u32::MAX)).wrapping_add(1 << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing {
        next_free: AtomicU32,
        /// Who has it; 0: nobody.
        owner: AtomicU64,
    }

    impl Pooled for Thing {
        fn new() -> Self {
            Thing {
                next_free: AtomicU32::new(0),
                owner: AtomicU64::new(0),
            }
        }

        fn forget(&self) {
            self.owner.store(0, Relaxed);
        }

        fn spare() -> &'static Lock<Vec<&'static Chunk<Self>>> {
            static SPARE: Lock<Vec<&'static Chunk<Thing>>> = Lock::new();
            &SPARE
        }

        fn next_free(&self) -> &AtomicU32 {
            &self.next_free
        }
    }

    #[test]
    fn the_chunks_of_a_pool_that_is_gone_are_the_next_ones() {
        let place = |pool: &Pool<Thing>| {
            let taken = pool.take_fresh(|| true).expect("there is room");
            let thing = taken.thing();
            assert_eq!(thing.owner.swap(7, Relaxed), 0);
            std::ptr::from_ref(thing).addr()
        };
        // Other tests have pools meanwhile: one of a few has the chunk.
        let first = Pool::<Thing>::new(CHUNK);
        let before = place(&first);
        drop(first);
        let pools: Vec<_> = (0..20).map(|_| Pool::<Thing>::new(CHUNK)).collect();
        assert!(pools.iter().any(|pool| place(pool) == before));
    }

    #[test]
    fn none_is_had_twice() {
        let pool = Pool::<Thing>::new(128);
        std::thread::scope(|threads| {
            for thread in 1..=4 {
                let pool = &pool;
                threads.spawn(move || {
                    let mut mine = Vec::new();
                    for round in 0..20_000usize {
                        let taken = pool.take_again().or_else(|| pool.take_fresh(|| true));
                        let taken = taken.expect("four threads have at most twenty");
                        let owner = &taken.thing().owner;
                        assert_eq!(owner.swap(thread, Relaxed), 0);
                        mine.push(taken);
                        while mine.len() > round % 20 {
                            let taken = mine.swap_remove(round % mine.len());
                            let owner = &taken.thing().owner;
                            assert_eq!(owner.swap(0, Relaxed), thread);
                            pool.give_back(taken);
                        }
                    }
                    mine.into_iter().for_each(|taken| {
                        taken.thing().owner.store(0, Relaxed);
                        pool.give_back(taken);
                    });
                });
            }
        });
        let mut taken = 0;
        while (pool.take_again().or_else(|| pool.take_fresh(|| true))).is_some() {
            taken += 1;
        }
        assert_eq!(taken, pool.most);
    }

    #[test]
    fn what_idle_threads_keep_is_missing_to_nobody() {
        let pool = Pool::<Thing>::new(64);
        let take = |in_use| {
            pool.take_again()
                .or_else(|| pool.take_fresh(|| in_use >= pool.most))
        };
        let threads: Vec<Allowed> = (0..100).map(|_| pool.allow()).collect();
        let kept: usize = threads.iter().map(Allowed::most).sum();
        assert_eq!(kept, 32, "half of them");
        let idle: Vec<PoolItem<Thing>> =
            (0..kept).map(|n| take(n).expect("there is room")).collect();
        let used: Vec<PoolItem<Thing>> =
            (0..64).map(|n| take(n).expect("none is in use")).collect();
        assert!(take(64).is_none(), "as many are in use as may be");
        for thread in threads {
            pool.give_up(thread);
        }
        idle.into_iter()
            .chain(used)
            .for_each(|taken| pool.give_back(taken));
        assert!(take(0).is_some());
    }
}
