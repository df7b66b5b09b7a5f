//! Things that are taken, given back and taken again: they lie in chunks that are made as they are
//! needed, up to a fixed number, and are never given up.

use alloc_tracker::raw::is_child;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

pub(super) const CHUNK: usize = 64;

/// What lies in a pool.
pub(super) trait Pooled {
    fn new() -> Self;

    /// While it is free: the index of the next free one plus one.
    fn next_free(&self) -> &AtomicU32;
}

/// One that the caller took, or may keep at hand: taking one from the pool, and giving it back, are
/// locked instructions on a cache line that all threads share.
#[derive(Debug)]
pub(crate) struct Taken(pub(super) u32);

#[derive(Debug)]
pub(super) struct Pool<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
    /// How many were made so far.
    len: AtomicU32,
    /// The index of the first free one plus one in the lower half; a tag in the upper that changes
    /// with every push and pop, so that one which left and came back is not mistaken.
    free: AtomicU64,
}

impl<T: Pooled> Pool<T> {
    /// For `most`, rounded up to whole chunks.
    pub(super) fn new(most: usize) -> Self {
        let chunks = most.div_ceil(CHUNK).max(1);
        Pool {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            len: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    pub(super) fn most(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// How many free ones a thread may keep at hand: enough for it to take and leave them in turns,
    /// and so few that 500 threads leave half of them to others.
    pub(super) fn at_hand(&self) -> usize {
        (self.most() / 1024).clamp(1, 16)
    }

    /// One that was given back; `None` if there is none.
    pub(super) fn take_again(&self) -> Option<Taken> {
        let mut head = self.free.load(Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            // Stale if another thread pops it now; the tag then fails the exchange.
            let next = self.at(index)?.next_free().load(Relaxed);
            let new = next_tag(head) | u64::from(next);
            match self.free.compare_exchange_weak(head, new, Acquire, Acquire) {
                Ok(_) => return Some(Taken(index)),
                Err(now) => head = now,
            }
        }
    }

    /// Whether not all were made.
    pub(super) fn has_fresh(&self) -> bool {
        (self.len.load(Relaxed) as usize) < self.most()
    }

    /// A fresh one; `None` if all were made. It makes the chunk that it lies in if it is the first.
    #[cold]
    pub(super) fn take_fresh(&self) -> Option<Taken> {
        let most = self.most() as u32;
        let index = self
            .len
            .fetch_update(Relaxed, Relaxed, |len| (len < most).then_some(len + 1))
            .ok()?;
        let chunk = &self.chunks[index as usize / CHUNK];
        if !(index as usize).is_multiple_of(CHUNK) && chunk.get().is_none() && is_child() {
            // Whoever took the first of the chunk was to make it, and may not have been forked.
            return None;
        }
        chunk.get_or_init(|| alloc_tracker::excluded(|| (0..CHUNK).map(|_| T::new()).collect()));
        Some(Taken(index))
    }

    pub(super) fn give_back(&self, taken: Taken) {
        let Some(entry) = self.at(taken.0) else {
            return;
        };
        let mut head = self.free.load(Relaxed);
        loop {
            entry.next_free().store(head as u32, Relaxed);
            let new = next_tag(head) | u64::from(taken.0 + 1);
            // Release `next_free` and the state of the thing to whoever pops it.
            match self.free.compare_exchange_weak(head, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Those that were made so far, taken or not, and where they lie.
    pub(super) fn made(&self) -> impl Iterator<Item = (u32, &T)> {
        let made = self.len.load(Relaxed);
        (0..made).filter_map(|index| Some((index, self.at(index)?)))
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
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

        fn next_free(&self) -> &AtomicU32 {
            &self.next_free
        }
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
                        let taken = pool.take_again().or_else(|| pool.take_fresh());
                        let taken = taken.expect("four threads have twenty at the most");
                        let owner = &pool.at(taken.0).unwrap().owner;
                        assert_eq!(owner.swap(thread, Relaxed), 0);
                        mine.push(taken);
                        while mine.len() > round % 20 {
                            let taken = mine.swap_remove(round % mine.len());
                            let owner = &pool.at(taken.0).unwrap().owner;
                            assert_eq!(owner.swap(0, Relaxed), thread);
                            pool.give_back(taken);
                        }
                    }
                    mine.into_iter().for_each(|taken| {
                        pool.at(taken.0).unwrap().owner.store(0, Relaxed);
                        pool.give_back(taken);
                    });
                });
            }
        });
        let mut taken = 0;
        while (pool.take_again().or_else(|| pool.take_fresh())).is_some() {
            taken += 1;
        }
        assert_eq!(taken, pool.most());
    }
}
