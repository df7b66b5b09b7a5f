//! A tool that works on a thread when the tracker has already left it: no figure of the process has that.
#![cfg(all(target_os = "linux", target_env = "gnu", feature = "track"))]

use alloc_tracker::raw::{for_a_tool, tools_usage};
use alloc_tracker::{AllocTracker, process_usage};
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
/// The most that was allocated while a tool worked.
static MEANWHILE: AtomicU64 = AtomicU64::new(0);
const TOOLS_BYTES: u64 = 1 << 20;
const OWN_BYTES: u64 = 1 << 12;

/// Rounds of destructors that a thread has.
const ROUNDS: usize = 4;

fn set(round: usize) {
    let value = ptr::without_provenance::<c_void>(round);
    // SAFETY: the key exists; the value is a number.
    unsafe { libc::pthread_setspecific(*KEY.get().unwrap(), value) };
}

/// Works in the last round, after the tracker's own destructor, whose key was made before.
extern "C" fn ends(round: *mut c_void) {
    let round = round.addr();
    if round < ROUNDS {
        return set(round + 1);
    }
    let before = process_usage();
    for_a_tool(|| {
        drop(black_box(vec![1u8; TOOLS_BYTES as usize]));
        let meanwhile = process_usage() - before;
        MEANWHILE.fetch_max(meanwhile.alloc_bytes, Relaxed);
    });
    drop(black_box(vec![1u8; OWN_BYTES as usize]));
}

#[test]
fn and_what_the_program_does_there_is() {
    drop(black_box(vec![1u8; 1]));
    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is a valid place, and `ends` has the right signature.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(ends)) }, 0);
        key
    });
    let (before, tools_before) = (process_usage(), tools_usage());
    const THREADS: u64 = 20;
    for _ in 0..THREADS {
        let work = || {
            drop(black_box(vec![1u8; 1]));
            set(1);
        };
        std::thread::spawn(work).join().unwrap();
    }
    let (during, tools) = (process_usage() - before, tools_usage() - tools_before);
    assert!(tools.alloc_bytes >= THREADS * TOOLS_BYTES, "{tools:?}");
    // With what it takes to start threads.
    let own = THREADS * OWN_BYTES;
    assert!(
        (own..own + TOOLS_BYTES / 2).contains(&during.alloc_bytes),
        "{during:?}"
    );
    // Nor had anything for a moment.
    assert!(MEANWHILE.load(Relaxed) < TOOLS_BYTES, "{MEANWHILE:?}");
}
