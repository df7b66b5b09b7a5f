//! A ring of words from one producer to one consumer at a time.

use crate::tool::sync::{Acquire, AtomicU64, AtomicUsize, RING_WORDS, Relaxed, Release};

#[derive(Debug)]
pub(crate) struct WordRing {
    /// PERF: an array, so that a remainder needs no check of the bounds. Words that are put together lie in a row,
    /// also over the end: after it there are as many places more.
    words: Box<[AtomicU64; PLACES]>,
    /// Words produced; only the producer writes it.
    head: AtomicUsize,
    /// Words consumed; only the consumer writes it.
    tail: AtomicUsize,
}

/// The most words that are put together.
const MOST_AT_ONCE: usize = 16;
const PLACES: usize = RING_WORDS + MOST_AT_ONCE;

/// What the consumer has not read yet.
#[derive(Debug)]
pub(crate) struct Unread<'a> {
    ring: &'a WordRing,
    at: usize,
}

impl Unread<'_> {
    /// As many words as were put together.
    #[inline]
    pub(crate) fn next<const N: usize>(&mut self) -> [u64; N] {
        let places: &[AtomicU64; N] = self.ring.places(self.at);
        self.at = self.at.wrapping_add(N);
        std::array::from_fn(|n| places[n].load(Relaxed))
    }
}

/// Where the producer writes.
#[derive(Debug)]
pub(crate) struct Unwritten<'a> {
    ring: &'a WordRing,
    at: usize,
}

impl Unwritten<'_> {
    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, words: [u64; N]) {
        let places: &[AtomicU64; N] = self.ring.places(self.at);
        for (place, word) in places.iter().zip(words) {
            place.store(word, Relaxed);
        }
        self.at = self.at.wrapping_add(N);
    }
}

impl WordRing {
    pub(crate) fn new() -> Self {
        let words: Box<[AtomicU64]> = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        let Ok(words) = words.try_into() else {
            unreachable!("as many were collected");
        };
        WordRing {
            words,
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    /// The places of as many words from there on.
    #[inline(always)]
    fn places<const N: usize>(&self, at: usize) -> &[AtomicU64; N] {
        const { assert!(N <= MOST_AT_ONCE) };
        match self.words[at % RING_WORDS..].first_chunk() {
            Some(places) => places,
            None => unreachable!("there are as many after the last"),
        }
    }

    /// Called by the producer. `write` writes a record of at most this many words; false if there may
    /// be no room for them, and then nothing is written.
    #[inline]
    pub(crate) fn push(&self, most: usize, write: impl FnOnce(&mut Unwritten<'_>)) -> bool {
        let head = self.head.load(Relaxed);
        // Acquire: the consumer has read the words that are about to be overwritten.
        let used = head.wrapping_sub(self.tail.load(Acquire));
        if used + most > RING_WORDS {
            return false;
        }
        let mut unwritten = Unwritten {
            ring: self,
            at: head,
        };
        write(&mut unwritten);
        // Release the words to the consumer.
        self.head.store(unwritten.at, Release);
        true
    }

    /// Called by the producer: it is time to drain.
    #[inline]
    pub(crate) fn is_half_full(&self) -> bool {
        let head = self.head.load(Relaxed);
        head.wrapping_sub(self.tail.load(Relaxed)) > RING_WORDS / 2
    }

    /// Called by the one consumer. `read` reads a record, and is called for each.
    pub(crate) fn drain(&self, mut read: impl FnMut(&mut Unread<'_>)) {
        // Acquire the words that the producer released.
        let head = self.head.load(Acquire);
        let mut unread = Unread {
            ring: self,
            at: self.tail.load(Relaxed),
        };
        while unread.at != head {
            read(&mut unread);
        }
        // Release: the words were read before the producer overwrites them.
        self.tail.store(unread.at, Release);
    }
}
