//! A ring of words that is always written and seldom read.
//!
//! One producer, which never waits and never learns of a reader. A reader copies what it can and
//! then looks how far the producer has come meanwhile: what may have been overwritten under its
//! hands is thrown away.
//!
//! ```text
//!   producer:  reserved := head + n;  fence;  words := ..;  head := head + n (release)
//!   reader:    h := head (acquire);  .. := words before h;  fence;  r := reserved
//!              words before r - capacity are not to be trusted
//! ```
//!
//! Records are read from the newest back to the oldest: the last word of each is its length.

use crate::tool::sync::{Acquire, AtomicU64, AtomicUsize, Relaxed, Release, fence};

#[derive(Debug)]
pub(crate) struct DetailRing {
    words: Box<[AtomicU64]>,
    /// Words that are written; only the producer changes it.
    head: AtomicUsize,
    /// Words that are written or being written; only the producer changes it.
    reserved: AtomicUsize,
}

impl DetailRing {
    /// Of this many words, a power of two; 0: everything is thrown away.
    pub(crate) fn new(words: usize) -> Self {
        DetailRing {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            head: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
        }
    }

    /// Adds a record: some words. Called by the one producer.
    #[inline(always)]
    pub(crate) fn push_words(&self, words: &[u64]) {
        self.put(words, &[]);
    }

    /// Adds a record: some words, and some bytes after them. Called by the one producer.
    #[inline]
    pub(crate) fn push(&self, words: &[u64], bytes: &[u8]) {
        self.put(words, bytes);
    }

    #[inline(always)]
    fn put(&self, words: &[u64], bytes: &[u8]) {
        let len = words.len() + bytes.len().div_ceil(8) + 1;
        if len > self.words.len() {
            return;
        }
        let mask = self.words.len() - 1;
        let mut at = self.head.load(Relaxed);
        let end = at + len;
        self.reserved.store(end, Relaxed);
        // Whoever reads one of the words below then reads `reserved`, or what came after it.
        fence(Release);
        let start = at & mask;
        match self.words.get(start..start + len) {
            // PERF: most records lie in a row, and need no look at the end of the ring for each word.
            Some(places) if bytes.is_empty() => {
                for (place, word) in places.iter().zip(words) {
                    place.store(*word, Relaxed);
                }
                if let Some(last) = places.last() {
                    last.store(len as u64, Relaxed);
                }
            }
            _ => {
                let mut put = |word| {
                    self.words[at & mask].store(word, Relaxed);
                    at += 1;
                };
                words.iter().for_each(|word| put(*word));
                for chunk in bytes.chunks(8) {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    put(u64::from_le_bytes(word));
                }
                put(len as u64);
            }
        }
        // Release the words to whoever reads this far.
        self.head.store(end, Release);
    }

    /// Hands `each` the records, the newest first, until it says `false`. False if older records
    /// were overwritten, before or meanwhile.
    pub(crate) fn read(&self, mut each: impl FnMut(&[u64]) -> bool) -> bool {
        let capacity = self.words.len();
        let head = self.head.load(Acquire);
        let mut record = Vec::new();
        let mut end = head;
        while end > 0 {
            let word = |at: usize| self.words[at & (capacity - 1)].load(Relaxed);
            let len = word(end - 1) as usize;
            let start = end.saturating_sub(len);
            // What is torn may be any number.
            if len == 0 || head - start > capacity {
                return false;
            }
            record.clear();
            record.extend((start..end - 1).map(word));
            // The words were read before this.
            fence(Acquire);
            if self.reserved.load(Relaxed) - start > capacity {
                return false;
            }
            if !each(&record) {
                return true;
            }
            end = start;
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn all(ring: &DetailRing) -> (Vec<Vec<u64>>, bool) {
        let mut records = Vec::new();
        let whole = ring.read(|record| {
            records.push(record.to_vec());
            true
        });
        (records, whole)
    }

    #[test]
    fn the_newest_records_that_fit_come_back() {
        let ring = DetailRing::new(256);
        let mut naive: VecDeque<Vec<u64>> = VecDeque::new();
        assert_eq!(all(&ring), (vec![], true));
        for n in 0..10_000u64 {
            let words: Vec<u64> = (0..n % 17).map(|i| n * 100 + i).collect();
            let bytes: Vec<u8> = (0..n % 23).map(|i| (n + i) as u8).collect();
            ring.push(&words, &bytes);
            let mut record = words;
            for chunk in bytes.chunks(8) {
                let byte = |i: usize| u64::from(chunk.get(i).copied().unwrap_or(0)) << (8 * i);
                record.push((0..8).map(byte).sum());
            }
            naive.push_front(record);
            while naive.iter().map(|r| r.len() + 1).sum::<usize>() > 256 {
                naive.pop_back();
            }
            let (records, whole) = all(&ring);
            assert_eq!(records, Vec::from(naive.clone()), "after {n}");
            assert_eq!(whole, records.len() as u64 == n + 1);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_an_empty_ring_takes_nothing() {
        for words in [0, 8] {
            let ring = DetailRing::new(words);
            ring.push(&[1; 8], &[]);
            assert_eq!(all(&ring), (vec![], true));
        }
    }

    #[test]
    fn a_reader_never_sees_a_torn_record() {
        let ring = DetailRing::new(512);
        let (ring, done) = (&ring, &std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(move || {
                for n in 1..400_000u64 {
                    let len = (n % 13) as usize;
                    ring.push(&vec![n; len + 1], &[n as u8; 16][..len]);
                }
                done.store(true, Relaxed);
            });
            let mut seen = 0;
            while !done.load(Relaxed) {
                let mut last = u64::MAX;
                ring.read(|record| {
                    let n = record[0];
                    assert!(n < last, "newest first: {n} after {last}");
                    last = n;
                    let len = (n % 13) as usize;
                    assert_eq!(record.len(), len + 1 + len.div_ceil(8));
                    assert!(record[..=len].iter().all(|word| *word == n));
                    seen += 1;
                    true
                });
            }
            assert!(seen > 0);
        });
    }
}
