//! `fork` while other threads start and stop the profiler, take profiles and name units: the child can
//! do all of that, and waits for nobody.
#![cfg(all(feature = "profile", unix))]

use alloc_tracker::profiler::{self, Config};
use alloc_tracker::raw::UnitName;
use alloc_tracker::{AllocTracker, Unit, measure, process_usage};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Longer than a child takes on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn work() {
    for size in [10, 1000, 100_000] {
        drop(black_box(vec![1u8; size]));
    }
}

/// What the child does; a number for what is wrong.
fn child() -> i32 {
    let _ = UnitName::of("of the child");
    // One of the parent's may be running.
    let session = profiler::start(Config::default().mean_bytes(100));
    let unit = Unit::new();
    unit.run(work);
    let profile = profiler::snapshot();
    if session.is_ok() && profile.samples().next().is_none() {
        return 2;
    }
    let _ = profiler::set_mean_bytes(50);
    drop(session);
    let ((), usage) = measure(work);
    if usage.allocs != 3 || unit.usage().allocs != 3 {
        return 3;
    }
    if process_usage().allocs < 6 {
        return 4;
    }
    0
}

#[test]
fn a_child_of_a_process_that_profiles() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Relaxed) {
                let session = profiler::start(Config::default().mean_bytes(100));
                work();
                drop(session);
            }
        });
        threads.spawn(|| {
            while !stop.load(Relaxed) {
                drop(profiler::snapshot());
                profiler::set_stop_after(None);
            }
        });
        threads.spawn(|| {
            while !stop.load(Relaxed) {
                black_box(UnitName::of("of the parent"));
            }
        });
        let mut ends = Vec::new();
        for _ in 0..200 {
            // SAFETY: the child uses the C library's allocator, which supports a fork of a process with
            // threads, and leaves by `_exit`.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0, "{}", std::io::Error::last_os_error());
            if pid == 0 {
                let code = child();
                // SAFETY: ends the process at once; nothing of the parent's runs in the child.
                unsafe { libc::_exit(code) };
            }
            let (start, mut status) = (Instant::now(), 0);
            // SAFETY: `status` is a valid place; the child is ours.
            while unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == 0 {
                std::thread::sleep(Duration::from_micros(200));
                if start.elapsed() > PATIENCE {
                    // SAFETY: the child is ours, and not waited for yet; it is waited for above.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                }
            }
            ends.push(status);
        }
        stop.store(true, Relaxed);
        assert!(ends.iter().all(|&status| status == 0), "{ends:?}");
    });
}
