//! Totals that are read while other threads allocate, exclude, and hand blocks to each other.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, excluded, process_usage};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

#[test]
fn no_figure_goes_back_and_live_bytes_are_never_too_many() {
    const BLOCK: usize = 1 << 20;
    let before = process_usage();
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        // One block at a time goes from thread to thread: about one is live.
        let (give, take) = mpsc::sync_channel::<Vec<u8>>(0);
        let stop = &stop;
        threads.spawn(move || {
            while !stop.load(Relaxed) && give.send(black_box(vec![0u8; BLOCK])).is_ok() {}
        });
        threads.spawn(move || take.into_iter().for_each(drop));
        threads.spawn(move || {
            while !stop.load(Relaxed) {
                drop(excluded(|| black_box(vec![0u8; BLOCK])));
            }
        });
        let end = Instant::now() + Duration::from_secs(2);
        let mut last = before;
        while Instant::now() < end {
            let now = process_usage();
            assert!(now.allocs >= last.allocs && now.alloc_bytes >= last.alloc_bytes);
            assert!(now.frees >= last.frees && now.freed_bytes >= last.freed_bytes);
            assert!(now.peak_bytes >= last.peak_bytes);
            last = now;
        }
        stop.store(true, Relaxed);
        let most = before.peak_bytes + 5 * BLOCK as u64;
        assert!(last.peak_bytes < most, "{last}");
    });
}
