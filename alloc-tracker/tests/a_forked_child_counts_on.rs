//! `fork` while other threads allocate, start, end and read the totals: the child has the counts of
//! threads that it does not have, counts on, and waits for nobody.
#![cfg(all(feature = "track", unix))]

use alloc_tracker::{AllocTracker, Unit, measure, process_usage};
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn bytes(n: usize) -> Vec<u8> {
    black_box(vec![1u8; n])
}

/// A thread of the child. Not one of the standard library's: that holds a lock while a thread starts,
/// which a thread that is not forked may have held.
extern "C" fn work_for(unit: *mut c_void) -> *mut c_void {
    // SAFETY: `child` hands in a unit that outlives the thread.
    let unit = unsafe { &*unit.cast::<Unit>() };
    unit.run(|| drop(bytes(1 << 20)));
    std::ptr::null_mut()
}

/// What the child checks; a number for what is wrong.
fn child(parents_bytes: u64) -> i32 {
    let before = process_usage();
    if before.alloc_bytes < parents_bytes {
        return 2;
    }
    let (kept, usage) = measure(|| bytes(100));
    if (usage.allocs, usage.alloc_bytes, usage.live_bytes()) != (1, 100, 100) {
        return 3;
    }
    drop(kept);
    let unit = Unit::new();
    // New threads may get the memory of those that were not forked.
    for _ in 0..20 {
        let mut thread = std::mem::MaybeUninit::uninit();
        let work = std::ptr::from_ref(&unit).cast_mut().cast();
        // SAFETY: a valid place for the thread, default attributes, and an argument that outlives
        // the thread, as it is joined below.
        let started =
            unsafe { libc::pthread_create(thread.as_mut_ptr(), std::ptr::null(), work_for, work) };
        if started != 0 {
            return 4;
        }
        // SAFETY: it was started, so its number was written; it is joined once.
        if unsafe { libc::pthread_join(thread.assume_init(), std::ptr::null_mut()) } != 0 {
            return 4;
        }
    }
    if unit.usage().alloc_bytes != 20 << 20 {
        return 5;
    }
    let grown = (process_usage() - before).alloc_bytes;
    if !(20 << 20..21 << 20).contains(&grown) {
        return 6;
    }
    0
}

#[test]
fn a_child_of_a_busy_process() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while !stop.load(Relaxed) {
                    drop(bytes(500));
                    black_box(process_usage());
                }
            });
        }
        threads.spawn(|| {
            while !stop.load(Relaxed) {
                let _ = std::thread::spawn(|| drop(bytes(50))).join();
            }
        });
        for round in 0..200 {
            let parents_bytes = process_usage().alloc_bytes;
            // SAFETY: the child uses the C library's allocator and threads, which support a fork
            // of a process with threads, and leaves by `_exit`.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0, "{}", std::io::Error::last_os_error());
            if pid == 0 {
                let code = child(parents_bytes);
                // SAFETY: ends the process at once; nothing of the parent's runs in the child.
                unsafe { libc::_exit(code) };
            }
            let mut status = 0;
            // SAFETY: `status` is a valid place; the child is ours.
            let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(
                (waited, status),
                (pid, 0),
                "round {round}, exit code {}",
                status >> 8
            );
        }
        stop.store(true, Relaxed);
    });
}
