//! The models. Each is small, since loom tries every order of its steps.

use crate::detail_ring::DetailRing;
use crate::moments::{Moments, Stretch};
use crate::rate::{Limiter, Rate};
use crate::refs::Refs;
use crate::word_ring::WordRing;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;

#[test]
fn what_a_ring_took_comes_out_once_and_in_order() {
    loom::model(|| {
        let ring = Arc::new(WordRing::new());
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut taken = 0;
                // Two words each, four fit: the third has room if one was drained by then.
                for n in 1..=3u64 {
                    let push = ring.push(2, |words| {
                        words.put([n]);
                        words.put([n * 10]);
                    });
                    if !push {
                        break;
                    }
                    taken = n;
                }
                taken
            })
        };
        let mut seen = 0;
        let mut drain = || {
            ring.drain(|words| {
                let ([n], [tenfold]) = (words.next(), words.next());
                assert_eq!((n, tenfold), (seen + 1, (seen + 1) * 10));
                seen = n;
            });
        };
        drain();
        drain();
        let taken = producer.join().unwrap();
        drain();
        assert_eq!(seen, taken);
        assert!(taken >= 2);
    });
}

#[test]
fn a_reader_of_details_sees_whole_records_only() {
    loom::model(|| {
        let ring = Arc::new(DetailRing::new(8));
        // A record is two words and its length: two fit, and the third goes over the first's start.
        ring.push(&[10, 10], &[]);
        ring.push(&[20, 20], &[]);
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.push(&[30, 30], &[]))
        };
        let mut last = u64::MAX;
        ring.read(|record| {
            assert!(
                [[10; 2], [20; 2], [30; 2]].iter().any(|r| r == record),
                "torn: {record:?}"
            );
            assert!(
                record[0] < last,
                "not the newest first: {record:?} after {last}"
            );
            last = record[0];
            true
        });
        // What was there before the reader came is there for it, the newest at least.
        assert_ne!(last, u64::MAX);
        producer.join().unwrap();
        let mut all = Vec::new();
        ring.read(|record| {
            all.push(record[0]);
            true
        });
        assert_eq!(all, [30, 20]);
    });
}

#[test]
fn a_limit_lets_no_more_pass_than_it_says() {
    loom::model(|| {
        let limiter = Arc::new(Limiter::default());
        let rate = Rate::every(1, 1);
        let other = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || u32::from(limiter.allows(rate, 1)))
        };
        let mine = u32::from(limiter.allows(rate, 2));
        assert_eq!(mine + other.join().unwrap(), 1);
    });
}

#[test]
fn the_last_handle_ends_a_span_once_and_sees_what_the_others_did() {
    loom::model(|| {
        let shared = Arc::new((Refs::none(), [AtomicU64::new(0), AtomicU64::new(0)]));
        shared.0.begin();
        shared.0.hold();
        let work = |shared: &(Refs, [AtomicU64; 2]), at: usize| {
            let (refs, done) = shared;
            done[at].store(1, Relaxed);
            let is_last = refs.release();
            if is_last {
                assert!(done.iter().all(|done| done.load(Relaxed) == 1));
                assert!(!refs.are_held());
            }
            u32::from(is_last)
        };
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared, 0))
        };
        let mine = work(&shared, 1);
        assert_eq!(mine + other.join().unwrap(), 1);
    });
}

#[test]
fn whatever_threads_do_at_once_each_moment_is_in_one_stretch() {
    loom::model(|| {
        let moments = Arc::new(Moments::default());
        moments.begin(100);
        let work =
            |moments: &Moments, [enter, exit]: [u64; 2]| [moments.enter(enter), moments.exit(exit)];
        let other = {
            let moments = Arc::clone(&moments);
            thread::spawn(move || work(&moments, [103, 107]))
        };
        let mine = work(&moments, [105, 112]);
        let theirs = other.join().unwrap();
        let last = moments.mark(120);
        assert!(!last.was_active, "both have left");
        let sum = |stretches: &[Stretch]| -> u64 { stretches.iter().map(|s| s.lasted).sum() };
        assert_eq!(sum(&mine) + sum(&theirs) + last.lasted, 20);
        assert_eq!(last.lasted, 8, "the last to leave left at 112");
    });
}
