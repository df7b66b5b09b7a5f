//! Threads that start and die, a fork, panics, stops while frees arrive, stacks that are too deep or
//! broken: no crash, and what did not fit is counted.
#![cfg(feature = "profile")]

use alloc_tracker::profiler::{self, Config, Session, StartError};
use alloc_tracker::{AllocTracker, Unit};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// What has not happened by now will not: a hang, and no matter of speed.
const PATIENCE: Duration = Duration::from_secs(300);

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// There is one profiler in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn everything() -> Session {
    profiler::start(Config::default().mean_bytes(1)).unwrap()
}

#[inline(never)]
fn block(size: usize) -> Vec<u8> {
    black_box(vec![1; size])
}

/// Live samples of a unit.
fn live(unit: &str) -> usize {
    let profile = profiler::snapshot();
    let samples = profile.samples();
    samples
        .filter(|s| s.is_live() && s.unit() == Some(unit))
        .count()
}

#[test]
fn one_session_at_a_time() {
    let _alone = alone();
    assert_eq!(profiler::set_mean_bytes(9), Err(StartError::NotRunning));
    for mean in [0, profiler::MAX_MEAN_BYTES + 1] {
        let refused = profiler::start(Config::default().mean_bytes(mean)).unwrap_err();
        assert_eq!(refused, StartError::MeanOutOfRange(mean));
    }
    let session = everything();
    assert!(profiler::is_running());
    let second = profiler::start(Config::default()).unwrap_err();
    assert_eq!(second, StartError::AlreadyRunning);
    profiler::set_mean_bytes(77).unwrap();
    assert_eq!(profiler::mean_bytes(), Some(77));
    drop(session);
    assert!(!profiler::is_running());
    for _ in 0..100 {
        everything().stop();
    }
}

#[test]
fn what_is_allocated_has_its_unit_size_thread_and_stack() {
    let _alone = alone();
    let unit = Unit::named("with a name");
    let session = everything();
    let (kept, elsewhere) = unit.run(|| {
        let kept = block(12_345);
        let named = alloc_tracker::in_current_unit(|| block(23_456));
        (kept, std::thread::spawn(named).join().unwrap())
    });
    session.stop();
    let profile = profiler::snapshot();
    let find = |size| {
        let mut samples = profile.samples();
        samples.find(|s| s.is_live() && s.size() == size).unwrap()
    };
    let (here, there) = (find(12_345), find(23_456));
    for sample in [here, there] {
        assert_eq!(sample.unit(), Some("with a name"));
        assert!((sample.weight() - 1.0).abs() < 1e-9);
        assert!(sample.stack().len() > 3);
    }
    assert_ne!(here.thread(), there.thread());
    let mut collapsed = Vec::new();
    profile
        .write_collapsed(profiler::Figure::InuseSpace, &mut collapsed)
        .unwrap();
    let collapsed = String::from_utf8(collapsed).unwrap();
    let line = collapsed
        .lines()
        .find(|line| line.ends_with(" 12345"))
        .unwrap();
    assert!(line.starts_with("with a name;"), "{line}");
    // Without full debug information, the names of inlined functions have no path.
    // The first frame from within is who asked, not how a vector gets its memory.
    assert!(line.ends_with("block 12345"), "{line}");
    for own in [
        "AllocTracker",
        "alloc_and_look",
        "alloc_sample",
        "__rust_alloc",
    ] {
        assert!(!line.contains(own), "the tracker's own frames: {line}");
    }
    drop((kept, elsewhere));
    assert_eq!(live("with a name"), 0);
    let profile = profiler::snapshot();
    let freed = profile
        .samples()
        .filter(|s| !s.is_live() && s.unit() == Some("with a name"));
    assert!(freed.map(|s| s.weight() * s.size() as f64).sum::<f64>() >= 35_000.0);
}

#[test]
fn threads_start_and_die_while_profiles_are_taken_and_the_rate_changes() {
    let _alone = alone();
    let done = AtomicBool::new(false);
    let mut session = Some(everything());
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..32)
            .map(|number| {
                threads.spawn(move || {
                    for round in 0..30 {
                        let (to, from) = mpsc::channel::<Vec<u8>>();
                        std::thread::spawn(move || {
                            let unit = Unit::named("short");
                            unit.run(|| to.send(block(100 + number + round)).unwrap());
                            let mut grows = Vec::new();
                            (0..3000u32).for_each(|n| grows.push(n));
                            assert!(grows.iter().copied().eq(0..3000));
                            if round % 10 == 9 {
                                // Not by `panic!`, which prints.
                                std::panic::resume_unwind(Box::new(block(77)));
                            }
                        });
                        drop(from.recv().unwrap());
                    }
                })
            })
            .collect();
        threads.spawn(|| {
            while !done.load(Relaxed) {
                black_box(profiler::snapshot().estimate());
            }
        });
        let mut mean = 1;
        while !workers.iter().all(|worker| worker.is_finished()) {
            mean = if mean > 100_000 { 1 } else { mean * 7 };
            match &session {
                Some(_) if mean % 5 == 0 => session = None,
                Some(_) => profiler::set_mean_bytes(mean).unwrap(),
                None => session = Some(everything()),
            }
        }
        done.store(true, Relaxed);
    });
    drop(session);
    // The last of the threads may still be ending.
    let start = Instant::now();
    while live("short") > 0 {
        let gone = "blocks of threads that are gone";
        assert!(start.elapsed() < PATIENCE, "{} {gone}", live("short"));
        std::thread::yield_now();
    }
}

#[test]
fn blocks_are_followed_after_a_stop() {
    let _alone = alone();
    let unit = Unit::named("stopped");
    let session = everything();
    let mut kept: Vec<Vec<u8>> = unit.run(|| (1..200).map(|n| block(n * 50)).collect());
    session.stop();
    let before = live("stopped");
    assert!(before >= 199, "{before}");
    kept.truncate(99);
    assert_eq!(live("stopped"), before - 100);
    // Resized while nobody samples: they stay what they were, wherever they are now.
    let left = live("stopped");
    kept.iter_mut().for_each(|block| block.reserve(10_000));
    assert_eq!(live("stopped"), left);
    kept.iter_mut().for_each(Vec::shrink_to_fit);
    assert_eq!(live("stopped"), left);
    for (n, block) in (1..).zip(&kept) {
        assert!(block.len() == n * 50 && block.iter().all(|&byte| byte == 1));
    }
}

/// A refused allocation is none, and says nothing of those after it.
#[test]
fn a_thread_samples_on_after_an_allocation_was_refused() {
    let _alone = alone();
    let session = profiler::start(Config::default().mean_bytes(1000)).unwrap();
    drop(block(10));
    let samples = || profiler::info().samples;
    for refuse in [
        |vector: &mut Vec<u8>| vector.try_reserve_exact(1 << 46).is_err(),
        |vector: &mut Vec<u8>| {
            Vec::<u8>::new()
                .try_reserve_exact(vector.len() << 40)
                .is_err()
        },
    ] {
        let mut vector = block(1 << 7);
        assert!(refuse(&mut vector), "there is no such memory");
        let before = samples();
        (0..1000).for_each(|_| drop(block(1000)));
        assert!(
            samples() > before + 300,
            "{} of about 632",
            samples() - before
        );
    }
    session.stop();
}

/// A thread that allocates little, and frees what it allocates.
#[test]
fn threads_that_were_there_before_the_start_are_sampled_at_once() {
    let _alone = alone();
    let (begin, begun) = mpsc::channel::<()>();
    let (done, ended) = mpsc::channel();
    let (come, came) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let unit = Unit::named("was there");
        let kept = unit.run(|| {
            drop(block(100));
            come.send(()).unwrap();
            begun.recv().unwrap();
            drop(block(100));
            block(200)
        });
        done.send(()).unwrap();
        kept
    });
    came.recv().unwrap();
    let session = everything();
    begin.send(()).unwrap();
    ended.recv().unwrap();
    session.stop();
    assert_eq!(live("was there"), 1);
    drop(thread.join().unwrap());
}

#[inline(never)]
fn deep(levels: usize) -> Vec<u8> {
    if levels == 0 {
        return block(4321);
    }
    let mut found = deep(levels - 1);
    black_box(&mut found);
    found
}

#[test]
fn a_stack_that_is_too_deep_is_cut_and_counted() {
    let _alone = alone();
    let before = profiler::snapshot().info().too_deep;
    let session = everything();
    let kept = deep(1000);
    session.stop();
    let profile = profiler::snapshot();
    assert!(profile.info().too_deep > before);
    let sample = profile.samples().find(|s| s.size() == 4321).unwrap();
    assert_eq!(sample.stack().len(), 128);
    drop(kept);
}

#[test]
fn what_does_not_fit_is_counted_and_stays_in_the_sums() {
    let _alone = alone();
    let before = profiler::snapshot();
    // Others may free theirs meanwhile: there is no room for a single one.
    let config = Config::default().mean_bytes(1).max_live(0);
    let session = profiler::start(config).unwrap();
    let kept: Vec<Vec<u8>> = Unit::named("no room").run(|| (0..100).map(|_| block(1000)).collect());
    session.stop();
    let after = profiler::snapshot();
    assert!(after.info().not_kept_live >= before.info().not_kept_live + 101);
    assert_eq!(live("no room"), 0);
    let allocated = after.estimate().alloc_bytes.value - before.estimate().alloc_bytes.value;
    assert!(allocated >= 100_000.0, "{allocated}");
    drop(kept);
}

// Calls a function on another stack, as a coroutine would be: the frame pointer leads nowhere, and
// whoever unwinds sees that this is the outermost frame.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
std::arch::global_asm!(
    ".type call_on_stack, @function",
    "call_on_stack:",
    ".cfi_startproc",
    ".cfi_undefined rip",
    "push rbp",
    "push r12",
    "push r13",
    "mov r12, rsp",
    "mov rsp, rdi",
    "mov rbp, 0x123450",
    "call rsi",
    "mov rsp, r12",
    "pop r13",
    "pop r12",
    "pop rbp",
    "ret",
    ".cfi_endproc",
    ".size call_on_stack, . - call_on_stack",
);

/// A stack that the thread does not know of.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_thread_on_a_foreign_stack_is_no_danger() {
    unsafe extern "C" {
        fn call_on_stack(top: *mut u128, function: extern "C" fn());
    }
    extern "C" fn on_foreign_stack() {
        std::mem::forget(block(5432));
    }
    let _alone = alone();
    let mut foreign = vec![0u128; 64 << 10];
    let broken = profiler::snapshot().info().broken;
    let session = everything();
    // SAFETY: a function that is called where the stack ends, which is memory of our own, aligned and
    // large enough, and that keeps the registers that a call keeps.
    unsafe { call_on_stack(foreign.as_mut_ptr().add(foreign.len()), on_foreign_stack) };
    session.stop();
    let profile = profiler::snapshot();
    assert!(profile.samples().any(|s| s.is_live() && s.size() == 5432));
    if profile.info().unwinding == profiler::Unwinding::FramePointers {
        assert!(
            profile.info().broken > broken,
            "the walk ended at the foreign stack's end"
        );
    }
}

/// CI runs these tests once in a program that has frame pointers, and says so.
#[test]
fn frame_pointers_are_used_where_the_program_has_them() {
    let _alone = alone();
    everything().stop();
    let unwinding = profiler::snapshot().info().unwinding;
    if let Ok(expected) = std::env::var("EXPECT_UNWINDING") {
        assert_eq!(unwinding.to_string(), expected);
    }
}

#[cfg(unix)]
#[test]
fn a_forked_child_profiles_on() {
    let _alone = alone();
    let session = everything();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while !done.load(Relaxed) {
                    drop(block(500));
                }
            });
        }
        for _ in 0..20 {
            let kept = block(9_876);
            // SAFETY: the child allocates and exits; it takes no lock that another thread may hold.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let more = block(8_765);
                drop(kept);
                drop(more);
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) };
            }
            assert!(child > 0);
            let mut status = 0;
            // SAFETY: our own child, and a valid place.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child crashed");
        }
        done.store(true, Relaxed);
    });
    session.stop();
}

#[test]
fn sampling_ends_by_itself() {
    let _alone = alone();
    let unit = Unit::named("until then");
    // Of its own blocks: another thread may be about to sample one of its own as the time comes.
    let keep = |blocks: usize| -> Vec<Vec<u8>> {
        let kept = unit.run(|| (0..blocks).map(|_| block(100)).collect());
        black_box(kept)
    };
    let config = Config::default().mean_bytes(1);
    let an_hour = std::time::Duration::from_secs(3600);
    let session = profiler::start(config.clone().stop_after(an_hour)).unwrap();
    let sampled = keep(100);
    assert!(profiler::is_running());
    profiler::set_stop_after(Some(std::time::Duration::ZERO));
    // Time is set to the nanosecond, and the next look comes later.
    let later = keep(100);
    assert!(!profiler::is_running());
    let samples = live("until then");
    assert!((100..=102).contains(&samples), "{samples}");
    session.stop();
    drop((sampled, later));
    // Given from the start.
    let session = profiler::start(config.stop_after(std::time::Duration::from_nanos(1))).unwrap();
    let later = keep(100);
    assert!(!profiler::is_running());
    assert_eq!(live("until then"), 0);
    session.stop();
    drop(later);
}
