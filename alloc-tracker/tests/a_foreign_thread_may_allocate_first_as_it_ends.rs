//! A thread that C made, and that first comes to Rust's allocator in the last round of its destructors, is
//! counted, and nothing of it is looked at once it is gone.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use alloc_tracker::{AllocTracker, process_usage};
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Rounds of destructors that a thread has.
const ROUNDS: usize = 4;
static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

fn set(round: usize) {
    let value = ptr::without_provenance::<c_void>(round);
    // SAFETY: the key exists; the value is a number.
    unsafe { libc::pthread_setspecific(*KEY.get().unwrap(), value) };
}

extern "C" fn start(_: *mut c_void) -> *mut c_void {
    set(1);
    ptr::null_mut()
}

/// Comes again in each round, and allocates in the last.
extern "C" fn ends(round: *mut c_void) {
    let round = round.addr();
    if round < ROUNDS {
        return set(round + 1);
    }
    drop(black_box(vec![1u8; 100]));
    ALLOCATED.fetch_add(1, Relaxed);
}

#[test]
fn what_it_allocates_is_counted_and_its_memory_left_alone() {
    // The allocator's own key is made first, as in a program that allocates before it does anything else.
    drop(black_box(vec![1u8; 1]));
    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is a valid place, and `ends` has the right signature.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(ends)) }, 0);
        key
    });
    // So large that it is given back as the thread ends, and not kept for the next one.
    const STACK: usize = 256 << 20;
    let mut alone = 0;
    for number in 1..=100 {
        let before = process_usage();
        let mut thread = 0;
        // SAFETY: `attributes` is initialised before it is used, and `start` takes nothing.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
            assert_eq!(libc::pthread_attr_setstacksize(&mut attributes, STACK), 0);
            let made = libc::pthread_create(&mut thread, &attributes, start, ptr::null_mut());
            assert_eq!(made, 0);
            assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
            libc::pthread_attr_destroy(&mut attributes);
        }
        let during = process_usage() - before;
        assert_eq!(ALLOCATED.load(Relaxed), number);
        if cfg!(feature = "track") {
            assert!(
                during.allocs >= 1 && during.alloc_bytes >= 100,
                "{during:?}"
            );
            let is_alone =
                during.allocs < 5 && during.alloc_bytes < 1000 && during.live_bytes() == 0;
            alone += u64::from(is_alone);
        }
    }
    // The harness's own thread may still be at what it does after it has started this one.
    assert!(alone >= 90 || cfg!(not(feature = "track")), "{alone}");
}
