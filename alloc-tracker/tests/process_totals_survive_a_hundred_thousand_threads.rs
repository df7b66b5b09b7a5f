//! 100,000 short threads, some of which allocate while they die: no byte is lost, none is counted
//! twice, and neither slots nor memory grow.
#![cfg(feature = "track")]

mod oracle;

use alloc_tracker::{AllocTracker, process_usage};
use oracle::Oracle;
use std::cell::RefCell;
use std::hint::black_box;

#[global_allocator]
static GLOBAL: AllocTracker<Oracle> = AllocTracker::new(Oracle);

struct AllocatesWhenDropped(Vec<u8>);

impl Drop for AllocatesWhenDropped {
    fn drop(&mut self) {
        // A thread-local destructor: the thread is ending, and still allocates, grows and frees.
        self.0 = black_box(vec![2u8; 333]);
        self.0.reserve_exact(1000);
        black_box(&self.0);
    }
}

thread_local! {
    static LATE: RefCell<Option<AllocatesWhenDropped>> = const { RefCell::new(None) };
}

fn short_life(n: usize) {
    if n % 3 == 0 {
        LATE.set(Some(AllocatesWhenDropped(vec![1u8; 111])));
    }
    drop(black_box(vec![1u8; 1 + n % 1000]));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn no_byte_is_lost_and_memory_does_not_grow() {
    let generation = |count: usize| {
        for batch in 0..count / 50 {
            let threads: Vec<_> = (0..50)
                .map(|i| std::thread::spawn(move || short_life(batch * 50 + i)))
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
    };
    generation(2_000);
    let rss = resident_kib();
    let before = (process_usage(), oracle::process());
    generation(100_000);
    let after = (process_usage(), oracle::process());
    // A joined thread may still be running its last instructions in the C library, after its
    // counters were folded; nothing of that allocates in Rust.
    let usage = after.0 - before.0;
    let (calls, bytes, freed) = (
        after.1.0 - before.1.0,
        after.1.1 - before.1.1,
        after.1.2 - before.1.2,
    );
    assert_eq!(usage.allocs, calls);
    assert_eq!(usage.alloc_bytes, bytes);
    assert_eq!(usage.freed_bytes, freed);
    let grown = resident_kib().saturating_sub(rss);
    assert!(grown < 4096, "resident memory grew by {grown} KiB");
}
