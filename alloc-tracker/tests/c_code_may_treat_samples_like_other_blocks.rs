//! Blocks over `System` are the C library's, whether the profiler samples them or not: C code asks for
//! their size, resizes and frees them.
#![cfg(all(feature = "profile", target_os = "linux"))]

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::ffi::CString;
use std::hint::black_box;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// One profiler for all tests.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sampling_everything() -> profiler::Session {
    profiler::start(Config::default().mean_bytes(1)).unwrap()
}

fn usable(block: *mut u8) -> usize {
    // SAFETY: a block of the C library's, which is what this test is about.
    unsafe { libc::malloc_usable_size(block.cast()) }
}

#[test]
fn the_usable_size_is_that_of_a_block_of_the_c_library() {
    let _alone = alone();
    let session = sampling_everything();
    for size in [1usize, 24, 100, 4096, 20_000, 100_000, 1 << 20, 40 << 20] {
        for align in [1usize, 8, 16, 64, 4096, 1 << 16] {
            for zeroed in [false, true] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero; resized and freed with its own layouts.
                unsafe {
                    let block = match zeroed {
                        true => alloc_zeroed(layout),
                        false => alloc(layout),
                    };
                    assert!(block.addr() % align == 0);
                    let found = usable(block);
                    // Where the C library maps a block alone, it maps whole pages.
                    let more = if size < 128 << 10 { 64 } else { 4096 + align };
                    assert!(
                        (size..=size + more).contains(&found),
                        "{found} for {layout:?}"
                    );
                    let block = realloc(block, layout, size + 8);
                    assert!(usable(block) >= size + 8);
                    dealloc(block, Layout::from_size_align(size + 8, align).unwrap());
                }
            }
        }
    }
    session.stop();
}

#[test]
fn c_frees_and_resizes_samples_while_the_profiler_runs_and_afterwards() {
    let _alone = alone();
    let session = sampling_everything();
    let given: Vec<CString> = [50usize, 3000, 300_000, 50, 3000, 300_000]
        .map(|len| CString::new("x".repeat(len)).unwrap())
        .into();
    let mut session = Some(session);
    for (n, text) in given.into_iter().enumerate() {
        if n == 3 {
            session.take().unwrap().stop();
        }
        let len = text.as_bytes().len();
        // SAFETY: a block of the C library's, which is ours, and not used after it is freed.
        unsafe {
            let larger = libc::realloc(text.into_raw().cast(), 2 * len).cast::<u8>();
            assert_eq!(*larger.add(len - 1), b'x');
            libc::free(larger.cast());
        }
    }
}

#[test]
fn a_sample_that_c_has_freed_is_forgotten_when_its_memory_is_used_again() {
    let _alone = alone();
    let session = sampling_everything();
    let before = profiler::info();
    let rounds = 200;
    for _ in 0..rounds {
        // Of another size each time, and freed by Rust every other time.
        for size in [1000, 1100] {
            let block = black_box(vec![7u8; size]);
            let mut block = std::mem::ManuallyDrop::new(block);
            // SAFETY: as above.
            unsafe { libc::free(block.as_mut_ptr().cast()) };
            drop(black_box(vec![7u8; size + 50]));
        }
    }
    session.stop();
    let after = profiler::snapshot();
    let found = after.info().freed_elsewhere - before.freed_elsewhere;
    let ours = |s: &profiler::Sample| s.is_live() && [1000, 1100].contains(&s.size());
    let left = after.samples().filter(ours).count();
    // The C library uses memory again soon, though not at once.
    assert!(found > rounds && left < 50, "{found} found, {left} left");
}

/// Resident bytes of the process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_large_sample_still_comes_as_zeroed_pages_and_grows_by_moving_pages() {
    let _alone = alone();
    let session = sampling_everything();
    const SIZE: usize = 512 << 20;
    let layout = Layout::from_size_align(SIZE, 8).unwrap();
    let before = resident();
    // SAFETY: the size is not zero; resized and freed with its own layouts.
    unsafe {
        let block = alloc_zeroed(layout);
        assert!(resident() - before < 64 << 20, "it was written");
        *block.add(SIZE - 1) = 5;
        let larger = realloc(block, layout, 2 * SIZE);
        assert!(resident() - before < 64 << 20, "it was copied");
        assert_eq!((*larger, *larger.add(SIZE - 1)), (0, 5));
        let live = profiler::snapshot();
        let sample = live.samples().find(|s| s.size() == 2 * SIZE as u64);
        assert!(sample.is_some_and(|sample| sample.is_live()));
        dealloc(larger, Layout::from_size_align(2 * SIZE, 8).unwrap());
    }
    let after = profiler::snapshot();
    let left = after
        .samples()
        .filter(|s| s.is_live() && s.size() >= SIZE as u64);
    assert_eq!(left.count(), 0);
    session.stop();
}
