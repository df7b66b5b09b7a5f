//! One model per hand-over.

use super::block_table::{Table, Words};
use super::counts::Counts;
use super::free_stack::FreeStack;
use super::published::{OWN, PLACED_ALIGN, PROCESS, Placing, Published, UNPUBLISHED, Watchers};
use super::slot::Slot;
use super::unit_cell::UnitCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Every order in which threads are interrupted at most this often, where all of them are too many.
fn model_bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn bytes(n: u64) -> Counts {
    Counts {
        allocs: 1,
        alloc_bytes: n,
        ..Counts::ZERO
    }
}

/// A thread's block, which says when it is gone. Loom does not see the flag: it changes at once.
struct Thread {
    block: Published,
    gone: AtomicBool,
}

/// Comes, counts, and goes.
fn lives(slot: &Slot, thread: &Thread) {
    slot.publish(&thread.block, Counts::ZERO, None);
    thread.block.allocs.add(1);
    slot.retract(thread.block.counts());
    thread.gone.store(true, Relaxed);
}

fn thread() -> Arc<Thread> {
    Arc::new(Thread {
        block: Published::new(),
        gone: AtomicBool::new(false),
    })
}

#[test]
fn a_reader_counts_once_what_a_thread_counted_that_ends() {
    model_bounded(4, || {
        let slot = Arc::new(Slot::new());
        let ends = thread();
        let running = {
            let (slot, ends) = (slot.clone(), ends.clone());
            thread::spawn(move || lives(&slot, &ends))
        };
        let first = slot.read().allocs;
        let second = slot.read().allocs;
        assert!(first <= second && second <= 1, "{first} then {second}");
        running.join().unwrap();
        assert_eq!(slot.read().allocs, 1);
    });
}

#[test]
fn nobody_looks_at_the_block_of_a_thread_that_is_gone() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let ends = thread();
        let running = {
            let (slot, ends) = (slot.clone(), ends.clone());
            thread::spawn(move || lives(&slot, &ends))
        };
        slot.with_block(|_| {
            assert!(!ends.gone.load(Relaxed));
            thread::yield_now();
            assert!(!ends.gone.load(Relaxed));
        });
        running.join().unwrap();
    });
}

#[test]
fn a_slots_total_goes_on_with_the_next_thread() {
    model_bounded(3, || {
        let slot = Arc::new(Slot::new());
        let running = {
            let (slot, first, second) = (slot.clone(), thread(), thread());
            // The registry's bit, which is released and acquired, orders the two.
            thread::spawn(move || {
                lives(&slot, &first);
                lives(&slot, &second);
            })
        };
        let before = slot.read().allocs;
        let after = slot.read().allocs;
        assert!(before <= after && after <= 2, "{before} then {after}");
        running.join().unwrap();
        assert_eq!(slot.read().allocs, 2);
    });
}

#[test]
fn a_reader_never_sees_what_a_thread_does_for_a_tool() {
    model_bounded(2, || {
        let slot = Arc::new(Slot::new());
        let works = thread();
        let running = {
            let (slot, works) = (slot.clone(), works.clone());
            thread::spawn(move || {
                let allocs = &works.block.allocs;
                // It comes while it works for a tool.
                slot.publish(&works.block, Counts::ZERO, Some(Counts::ZERO));
                allocs.add(10);
                slot.take_back(works.block.counts());
                allocs.add(1);
                slot.set_aside(works.block.counts());
                allocs.add(10);
            })
        };
        let allocs = slot.read().allocs;
        assert!(allocs <= 1, "{allocs}");
        running.join().unwrap();
        assert_eq!((slot.read().allocs, slot.read_tools().allocs), (1, 20));
        slot.take_back(works.block.counts());
        slot.retract(works.block.counts());
        assert_eq!((slot.read().allocs, slot.read_tools().allocs), (1, 20));
    });
}

#[test]
fn who_watches_is_seen_by_every_thread_that_comes() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let watchers = Arc::new(Watchers::new());
        let comes = thread();
        let running = {
            let (slot, watchers, comes) = (slot.clone(), watchers.clone(), comes.clone());
            thread::spawn(move || {
                slot.publish(&comes.block, Counts::ZERO, None);
                watchers.join(&comes.block);
            })
        };
        watchers.add();
        slot.with_block(|block| block.raise(PROCESS));
        running.join().unwrap();
        assert!(comes.block.alerts() & PROCESS != 0);
    });
}

#[test]
fn who_watches_is_seen_by_a_thread_that_was_about_to_stand_down() {
    loom::model(|| {
        let watchers = Arc::new(Watchers::new());
        let block = Arc::new(Published::new());
        block.raise(PROCESS | OWN);
        let running = {
            let (watchers, block) = (watchers.clone(), block.clone());
            thread::spawn(move || watchers.stand_down(&block, &Placing::new()))
        };
        watchers.add();
        block.raise(PROCESS);
        running.join().unwrap();
        assert!(block.alerts() & PROCESS != 0);
        assert!(block.alerts() & OWN != 0, "the other bits are as they were");
        watchers.remove();
        watchers.stand_down(&block, &Placing::new());
        assert!(block.alerts() & PROCESS == 0);
    });
}

#[test]
fn a_thread_that_stands_down_recognises_blocks_that_were_just_placed() {
    loom::model(|| {
        let placing = Arc::new(Placing::new());
        let block = Arc::new(Published::new());
        let running = {
            let (placing, block) = (placing.clone(), block.clone());
            thread::spawn(move || block.clear(UNPUBLISHED, &placing))
        };
        placing.start();
        block.heed(&placing);
        running.join().unwrap();
        assert!(!block.is_alert());
        assert!(block.looks_up(3 * PLACED_ALIGN), "a placed block");
        assert!(!block.looks_up(3 * PLACED_ALIGN + 32), "another block");
    });
}

#[test]
fn every_free_looks_up_while_somebody_watches() {
    loom::model(|| {
        let placing = Arc::new(Placing::new());
        let block = Arc::new(Published::new());
        block.clear(UNPUBLISHED, &placing);
        assert!(!block.looks_up(PLACED_ALIGN));
        let running = {
            let (placing, block) = (placing.clone(), block.clone());
            thread::spawn(move || {
                placing.start();
                block.heed(&placing);
            })
        };
        block.raise(OWN);
        running.join().unwrap();
        assert!(block.looks_up(PLACED_ALIGN) && block.looks_up(PLACED_ALIGN - 8));
        block.clear(OWN, &placing);
        assert!(block.looks_up(PLACED_ALIGN) && !block.looks_up(PLACED_ALIGN - 8));
    });
}

#[test]
fn a_unit_has_every_segment_of_every_thread() {
    model_bounded(3, || {
        let unit = Arc::new(UnitCell::new(0));
        unit.begin(None, 0);
        let workers: Vec<_> = [1, 2]
            .map(|number| {
                let unit = unit.clone();
                thread::spawn(move || {
                    unit.add(bytes(10), 0, 10, number);
                    unit.add(bytes(1), 10, 1, number);
                })
            })
            .into();
        for worker in workers {
            worker.join().unwrap();
        }
        let counts = unit.counts();
        assert_eq!((counts.allocs, counts.alloc_bytes), (4, 22));
        assert!((11..=22).contains(&unit.peak()), "{}", unit.peak());
    });
}

#[test]
fn a_units_figures_never_go_back_while_it_is_read() {
    loom::model(|| {
        let unit = Arc::new(UnitCell::new(0));
        unit.begin(None, 0);
        let working = {
            let unit = unit.clone();
            thread::spawn(move || {
                unit.add(bytes(10), 0, 10, 1);
                unit.add(bytes(10), 10, 10, 1);
            })
        };
        let first = unit.counts().alloc_bytes;
        let second = unit.counts().alloc_bytes;
        assert!(first <= second && [0, 10, 20].contains(&second));
        working.join().unwrap();
        assert_eq!((unit.counts().alloc_bytes, unit.peak()), (20, 20));
    });
}

#[test]
fn a_unit_ends_once_and_nobody_enters_it_after_that() {
    loom::model(|| {
        let unit = Arc::new(UnitCell::new(0));
        let generation = unit.begin(None, 0);
        let late = {
            let unit = unit.clone();
            thread::spawn(move || {
                // As `Unit::current` on another thread does, or a block that is given back.
                if !unit.upgrade(generation) {
                    return 0;
                }
                assert!(unit.is(generation), "a handle keeps the unit");
                unit.retain(1, 1);
                u32::from(unit.release())
            })
        };
        let mut ended = u32::from(unit.release());
        ended += late.join().unwrap();
        assert_eq!(ended, 1);
        unit.end(generation);
        assert!(!unit.upgrade(generation) && !unit.is(generation));
    });
}

#[test]
fn a_unit_starts_anew_only_while_nobody_else_has_it() {
    loom::model(|| {
        let unit = Arc::new(UnitCell::new(0));
        let generation = unit.begin(None, 0);
        let other = {
            let unit = unit.clone();
            thread::spawn(move || {
                let had_it = unit.upgrade(generation);
                if had_it {
                    unit.add(bytes(5), 0, 5, 2);
                    assert_eq!(unit.counts().alloc_bytes, 5);
                    assert!(!unit.release(), "the owner still has its handle");
                }
                had_it
            })
        };
        let restarted = unit.restart(generation, 0);
        if let Some(next) = restarted {
            assert!(unit.is(next) && unit.counts() == Counts::ZERO);
        }
        let had_it = other.join().unwrap();
        assert!(had_it || restarted.is_some());
    });
}

fn entry(n: u64) -> Words {
    [n, n + 10, n + 20]
}

/// A snapshot has what is there all the time, and of what comes and goes all or nothing.
#[test]
fn what_is_read_of_a_block_is_of_one_block() {
    model_bounded(3, || {
        let table = Arc::new(Table::new());
        assert!(table.insert(64, entry(1)));
        assert!(table.insert(128, entry(2)));
        let reader = {
            let table = table.clone();
            thread::spawn(move || {
                let mut seen = Vec::new();
                table.for_each(|address, words| seen.push((address, words)));
                assert!(seen.contains(&(64, entry(1))), "{seen:?}");
                for (address, words) in seen {
                    let known = [(64, entry(1)), (128, entry(2)), (128, entry(3))];
                    assert!(known.contains(&(address, words)), "{words:?} at {address}");
                }
            })
        };
        // The same place, for the same address again.
        assert_eq!(table.remove(128), Some(entry(2)));
        assert!(table.insert(128, entry(3)));
        reader.join().unwrap();
    });
}

/// Nobody has a number that somebody else has, and none is lost.
#[test]
fn a_free_number_is_given_to_one() {
    struct Pool {
        free: FreeStack,
        links: [AtomicU32; 3],
        taken: [AtomicU32; 3],
    }
    impl Pool {
        fn take(&self) -> Option<u32> {
            let number = self.free.pop(|n| self.links.get(n as usize))?;
            let before = self.taken[number as usize].swap(1, Relaxed);
            assert_eq!(before, 0, "{number} is somebody's");
            Some(number)
        }

        fn give_back(&self, number: Option<u32>) {
            if let Some(number) = number {
                self.taken[number as usize].store(0, Relaxed);
                self.free.push(number, &self.links[number as usize]);
            }
        }
    }
    model_bounded(3, || {
        let pool = Arc::new(Pool {
            free: FreeStack::new(),
            links: std::array::from_fn(|_| AtomicU32::new(0)),
            taken: std::array::from_fn(|_| AtomicU32::new(0)),
        });
        for n in 0..3 {
            pool.free.push(n, &pool.links[n as usize]);
        }
        let other = {
            let pool = pool.clone();
            thread::spawn(move || {
                // The first comes back, and what was behind it does not.
                let (first, second) = (pool.take(), pool.take());
                pool.give_back(first);
                pool.give_back(second);
            })
        };
        let (first, second) = (pool.take(), pool.take());
        pool.give_back(second);
        pool.give_back(first);
        other.join().unwrap();
        let left = std::iter::from_fn(|| pool.free.pop(|n| pool.links.get(n as usize)));
        let mut left: Vec<u32> = left.collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2]);
    });
}

#[test]
fn a_block_is_given_back_by_whom_it_was_handed_to() {
    loom::model(|| {
        let table = Arc::new(Table::new());
        assert!(table.insert(64, entry(1)));
        let other = {
            let table = table.clone();
            thread::spawn(move || {
                let removed = table.remove(64);
                assert!(table.insert(128, entry(2)));
                removed
            })
        };
        // Both may be after the same place, and both may find the first chunk full.
        assert!(table.insert(192, entry(3)));
        assert_eq!(table.remove(192), Some(entry(3)));
        assert_eq!(other.join().unwrap(), Some(entry(1)));
        assert_eq!(table.remove(128), Some(entry(2)));
        assert_eq!(table.remove(64), None);
    });
}

#[test]
fn two_threads_that_lack_a_chunk_share_one() {
    loom::model(|| {
        let table = Arc::new(Table::new());
        let other = {
            let table = table.clone();
            thread::spawn(move || {
                assert!(table.insert(64, entry(1)));
                assert_eq!(table.remove(64), Some(entry(1)));
            })
        };
        assert!(table.insert(128, entry(2)));
        assert_eq!(table.remove(128), Some(entry(2)));
        other.join().unwrap();
    });
}
