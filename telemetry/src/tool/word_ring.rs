//! A ring of words from one producer to one consumer at a time.

use crate::tool::sync::{Acquire, AtomicU64, AtomicUsize, RING_WORDS, Relaxed, Release};

#[derive(Debug)]
pub(crate) struct WordRing {
    /// PERF: an array, so that a remainder needs no check of the bounds.
    words: Box<[AtomicU64; RING_WORDS]>,
    /// Words produced; only the producer writes it.
    head: AtomicUsize,
    /// Words consumed; only the consumer writes it.
    tail: AtomicUsize,
}

/// What the consumer has not read yet.
#[derive(Debug)]
pub(crate) struct Unread<'a> {
    ring: &'a WordRing,
    at: usize,
}

impl Unread<'_> {
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let word = self.ring.words[self.at % RING_WORDS].load(Relaxed);
        self.at = self.at.wrapping_add(1);
        word
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
    pub(crate) fn put(&mut self, word: u64) {
        self.ring.words[self.at % RING_WORDS].store(word, Relaxed);
        self.at = self.at.wrapping_add(1);
    }
}

impl WordRing {
    pub(crate) fn new() -> Self {
        let words: Box<[AtomicU64]> = (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect();
        let Ok(words) = words.try_into() else {
            unreachable!("as many were collected");
        };
        WordRing {
            words,
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    /// Called by the producer. `write` writes a record of at most so many words; false if there may
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
