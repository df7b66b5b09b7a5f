//! What must hold over any inner allocator: the same tests, in a program for each.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;

/// Installs the tracker over an allocator, and tests it.
macro_rules! over {
    ($inner:expr, $type:ty) => {
        #[global_allocator]
        static GLOBAL: alloc_tracker::AllocTracker<$type> =
            alloc_tracker::AllocTracker::new($inner);

        #[test]
        fn every_size_and_alignment_is_counted_as_asked_for() {
            over::every_size_and_alignment_is_counted_as_asked_for(&$inner);
        }

        #[test]
        fn zeroed_memory_is_zero() {
            over::zeroed_memory_is_zero();
        }

        #[test]
        fn resizing_keeps_the_contents_and_counts_the_difference() {
            over::resizing_keeps_the_contents_and_counts_the_difference();
        }

        #[test]
        fn threads_that_come_and_go_are_in_the_totals() {
            over::threads_that_come_and_go_are_in_the_totals();
        }

        #[test]
        fn units_budgets_and_retained_blocks_are_right() {
            over::units_budgets_and_retained_blocks_are_right();
        }
    };
}
pub(crate) use over;

pub fn every_size_and_alignment_is_counted_as_asked_for(inner: &impl GlobalAlloc) {
    for align in [1, 2, 8, 16, 64, 4096] {
        for size in [1, 7, 8, 24, 100, 1 << 12, 1 << 20] {
            let layout = Layout::from_size_align(size, align).expect("a valid layout");
            let ((), usage) = alloc_tracker::measure(|| {
                // SAFETY: the size is above zero, and the block is freed with its layout.
                unsafe {
                    let block = black_box(std::alloc::alloc(layout));
                    assert!(!block.is_null() && block.addr() % align == 0);
                    block.write_bytes(0xA5, size);
                    std::alloc::dealloc(block, layout);
                }
            });
            assert_eq!((usage.allocs, usage.frees, usage.reallocs), (1, 1, 0));
            assert_eq!(
                (usage.alloc_bytes, usage.freed_bytes),
                (size as u64, size as u64)
            );
            assert_eq!(usage.peak_bytes, size as u64);
            // SAFETY: as above. Used beside the tracker, the inner allocator is not counted.
            let ((), beside) = alloc_tracker::measure(|| unsafe {
                let block = black_box(inner.alloc(layout));
                inner.dealloc(block, layout);
            });
            assert_eq!(beside.allocs + beside.frees, 0);
        }
    }
}

pub fn zeroed_memory_is_zero() {
    for size in [1usize, 100, 1 << 16, 4 << 20] {
        // Dirties what the next block may be made of.
        drop(black_box(vec![0xFFu8; size]));
        let (zeros, usage) = alloc_tracker::measure(|| black_box(vec![0u8; size]));
        assert!(zeros.iter().all(|&byte| byte == 0), "{size}");
        assert_eq!((usage.allocs, usage.alloc_bytes), (1, size as u64));
    }
}

pub fn resizing_keeps_the_contents_and_counts_the_difference() {
    let mut bytes: Vec<u8> = (0..100u8).collect();
    let ((), usage) = alloc_tracker::measure(|| {
        for size in [200, 5_000, 3 << 20] {
            bytes.reserve_exact(size - bytes.len());
        }
        bytes.shrink_to_fit();
    });
    assert!(bytes.iter().copied().eq(0..100u8));
    assert_eq!((usage.allocs, usage.reallocs, usage.frees), (4, 4, 0));
    assert_eq!(usage.alloc_bytes, (3 << 20) - 100);
    assert_eq!(usage.freed_bytes, (3 << 20) - 100);
}

pub fn threads_that_come_and_go_are_in_the_totals() {
    let before = alloc_tracker::process_usage();
    for _ in 0..100 {
        let worker = std::thread::spawn(|| {
            thread_local! {
                static LATE: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
            }
            LATE.with(|late| *late.borrow_mut() = black_box(vec![1; 500]));
            drop(black_box(vec![1u8; 1000]));
        });
        worker.join().expect("no panic");
    }
    let usage = alloc_tracker::process_usage() - before;
    assert!(usage.alloc_bytes >= 100 * 1500, "{usage}");
    assert!(usage.freed_bytes >= 100 * 1500, "{usage}");
}

pub fn units_budgets_and_retained_blocks_are_right() {
    let unit = alloc_tracker::Unit::following();
    let kept = unit.run(|| {
        let worker = alloc_tracker::in_current_unit(|| black_box(vec![1u8; 300]));
        std::thread::spawn(worker).join().expect("no panic")
    });
    let retained = unit.retained().expect("a following unit");
    assert!(retained.bytes >= 300, "{retained}");
    std::thread::spawn(move || drop(kept))
        .join()
        .expect("no panic");
    let after = unit.retained().expect("a following unit");
    assert_eq!(retained.bytes - after.bytes, 300);

    alloc_tracker::assert_budget!(allocs <= 1, peak_bytes <= 10, live_bytes <= 0, {
        drop(black_box(vec![1u8; 10]));
    });
    let broken =
        std::panic::catch_unwind(|| alloc_tracker::assert_no_alloc!({ black_box(vec![1u8; 10]) }));
    let message = *broken
        .expect_err("a broken budget")
        .downcast::<String>()
        .expect("text");
    assert!(message.contains("tests/over/mod.rs"), "{message}");
}
