//! `SizeRecording`: how often each size is asked for.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, SizeHistogram, SizeRecording, measure};
use std::hint::black_box;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// A recording sees all threads, those of other tests too.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn allocs_of(sizes: &SizeHistogram, size: usize) -> u64 {
    let mut classes = sizes.classes().filter(|class| class.sizes.contains(&size));
    classes.next().map_or(0, |class| class.allocs)
}

#[test]
fn each_call_is_in_the_class_of_its_size() {
    let _alone = alone();
    // Odd sizes that nobody else asks for.
    let asked = [30_011, 30_011, 61_003, 1_000_003, 3_000_017];
    let recording = SizeRecording::start();
    for size in asked {
        drop(black_box(vec![1u8; size]));
    }
    let mut grows: Vec<u8> = black_box(Vec::with_capacity(500_009));
    grows.reserve_exact(2_000_003);
    let so_far = recording.so_far();
    let sizes = recording.finish();
    drop(black_box(vec![1u8; 30_011])); // after the end

    for (size, times) in [(30_011, 2), (61_003, 1), (1_000_003, 1), (3_000_017, 1)] {
        assert_eq!(allocs_of(&sizes, size), times, "{size} in\n{sizes}");
    }
    // Its first size, and the one it was resized to.
    assert_eq!(allocs_of(&sizes, 500_009), 1, "\n{sizes}");
    assert_eq!(allocs_of(&sizes, 2_000_003), 1, "\n{sizes}");
    assert_eq!(allocs_of(&so_far, 61_003), 1);
    for class in sizes.classes() {
        let bytes = class.bytes / class.allocs;
        assert!(class.sizes.contains(&(bytes as usize)), "{class:?}");
    }
    let table = sizes.to_string();
    assert!(table.contains("28673 - 32768"), "\n{table}");
}

#[test]
fn classes_follow_each_other_without_a_gap() {
    let _alone = alone();
    let recording = SizeRecording::start();
    for size in 1..=1100 {
        drop(black_box(vec![1u8; size]));
    }
    let sizes = recording.finish();
    let mut next = 1;
    for class in sizes.classes().filter(|class| *class.sizes.start() <= 1024) {
        assert_eq!(*class.sizes.start(), next);
        next = class.sizes.end() + 1;
        let width = class.sizes.end() - class.sizes.start() + 1;
        assert!(class.allocs >= width as u64, "one of each size: {class:?}");
    }
    assert_eq!(next, 1025);
}

#[test]
fn other_threads_are_recorded_from_their_next_free_on() {
    let _alone = alone();
    let (go, wait) = mpsc::channel::<()>();
    let (done, finished) = mpsc::channel::<()>();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            for () in wait {
                drop(black_box(vec![1u8; 10]));
                for _ in 0..100 {
                    drop(black_box(vec![1u8; 45_007]));
                }
                done.send(()).unwrap();
            }
        });
        let round = || {
            go.send(()).unwrap();
            finished.recv().unwrap();
        };
        round();
        let recording = SizeRecording::start();
        round();
        assert_eq!(allocs_of(&recording.finish(), 45_007), 100);
        round();
        drop(go);
    });
}

#[test]
fn two_recordings_at_once_do_not_disturb_each_other() {
    let _alone = alone();
    let first = SizeRecording::start();
    drop(black_box(vec![1u8; 70_001]));
    let second = SizeRecording::start();
    drop(black_box(vec![1u8; 70_001]));
    let first = first.finish();
    drop(black_box(vec![1u8; 70_001]));
    let second = second.finish();
    assert_eq!(
        (allocs_of(&first, 70_001), allocs_of(&second, 70_001)),
        (2, 2)
    );
}

#[test]
fn a_recording_neither_records_nor_costs_itself() {
    let _alone = alone();
    let (classes, usage) = measure(|| SizeRecording::start().finish().classes().count());
    assert_eq!(classes, 0);
    // The histogram is the reader's, and is dropped.
    assert_eq!(
        (usage.allocs, usage.live_bytes(), usage.live_blocks()),
        (1, 0, 0)
    );
}
