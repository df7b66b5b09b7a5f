//! Random programs over an inner allocator that checks what it is given: sampled blocks keep their
//! content and alignment, and go back to the inner allocator with the layout they came with.
#![cfg(feature = "profile")]

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::Cell;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

#[global_allocator]
static GLOBAL: AllocTracker<Checking> = AllocTracker::new(Checking);

/// `System`, which remembers every block's layout.
struct Checking;

const PLACES: usize = 1 << 18;
static BLOCKS: [[AtomicUsize; 3]; PLACES] = [const { [const { AtomicUsize::new(0) }; 3] }; PLACES];
static LOCKED: AtomicBool = AtomicBool::new(false);
/// Blocks that came back with another layout than they left with, or never left.
static WRONG: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's calls are refused.
    static NO_MEMORY: Cell<bool> = const { Cell::new(false) };
}

fn locked<T>(f: impl FnOnce() -> T) -> T {
    while LOCKED.swap(true, Acquire) {
        std::hint::spin_loop();
    }
    let result = f();
    LOCKED.store(false, Release);
    result
}

fn places(block: *mut u8) -> impl Iterator<Item = &'static [AtomicUsize; 3]> {
    let home = (block.addr() >> 4).wrapping_mul(0x9E37_79B9);
    (0..PLACES).map(move |step| &BLOCKS[(home + step) % PLACES])
}

fn comes(block: *mut u8, layout: Layout) {
    if block.is_null() {
        return;
    }
    locked(|| {
        let place = places(block).find(|place| place[0].load(Relaxed) <= 1);
        let place = place.expect("there is room");
        place[1].store(layout.size(), Relaxed);
        place[2].store(layout.align(), Relaxed);
        place[0].store(block.addr(), Relaxed);
    });
}

fn goes(block: *mut u8, layout: Layout) {
    locked(|| {
        let mut known = places(block).take_while(|place| place[0].load(Relaxed) != 0);
        let place = known.find(|place| place[0].load(Relaxed) == block.addr());
        match place {
            Some([address, size, align])
                if (size.load(Relaxed), align.load(Relaxed)) == (layout.size(), layout.align()) =>
            {
                // Was taken: a search goes on.
                address.store(1, Relaxed);
            }
            _ => drop(WRONG.fetch_add(1, Relaxed)),
        }
    });
}

// SAFETY: all is `System`'s.
unsafe impl GlobalAlloc for Checking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if NO_MEMORY.get() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        let block = unsafe { System.alloc(layout) };
        comes(block, layout);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if NO_MEMORY.get() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        comes(block, layout);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        goes(block, layout);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if NO_MEMORY.get() {
            return std::ptr::null_mut();
        }
        goes(block, layout);
        // SAFETY: the caller's contract.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        let new = Layout::from_size_align(new_size, layout.align()).unwrap();
        comes(moved, new);
        moved
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc {
        size: usize,
        align: u32,
        zeroed: bool,
    },
    Resize {
        which: usize,
        size: usize,
    },
    Free {
        which: usize,
    },
    /// One call of each kind finds no memory but what is at hand for samples.
    Starve {
        which: usize,
    },
    Mean {
        mean: u64,
        slots: bool,
    },
    Stop,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        1usize..100,
        1usize..9000,
        30_000usize..40_000,
        100_000usize..600_000
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>();
    prop_oneof![
        6 => (size(), 0u32..15, any::<bool>())
            .prop_map(|(size, align, zeroed)| Step::Alloc { size, align, zeroed }),
        6 => (which, size()).prop_map(|(which, size)| Step::Resize { which, size }),
        4 => which.prop_map(|which| Step::Free { which }),
        1 => which.prop_map(|which| Step::Starve { which }),
        1 => (prop_oneof![Just(1u64), Just(1000), Just(100_000)], any::<bool>())
            .prop_map(|(mean, slots)| Step::Mean { mean, slots }),
        1 => Just(Step::Stop),
    ]
}

/// A block whose bytes are known.
struct Block {
    start: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Block {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our own block, of this size, all of it written by `fill` or zeroed.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }

    fn check(&mut self, len: usize) {
        assert!(self.start.addr() % self.layout.align() == 0);
        let fill = self.fill;
        assert!(self.bytes()[..len].iter().all(|&byte| byte == fill));
    }

    fn free(mut self) {
        self.check(self.layout.size());
        // SAFETY: allocated with this layout, and forgotten here.
        unsafe { dealloc(self.start, self.layout) };
    }
}

fn play(steps: &[Step]) {
    let mut blocks: Vec<Block> = Vec::with_capacity(steps.len());
    let mut session = None;
    let mut fill = 1u8;
    for &step in steps {
        match step {
            Step::Alloc {
                size,
                align,
                zeroed,
            } => {
                let layout = Layout::from_size_align(size, 1 << align).unwrap();
                // SAFETY: the size is not zero.
                let start = unsafe {
                    if zeroed {
                        alloc_zeroed(layout)
                    } else {
                        alloc(layout)
                    }
                };
                assert!(!start.is_null());
                let mut block = Block {
                    start,
                    layout,
                    fill: 0,
                };
                if zeroed {
                    block.check(size);
                }
                fill = fill.wrapping_add(1);
                block.fill = fill;
                // SAFETY: our own block, of this size.
                unsafe { start.write_bytes(fill, size) };
                blocks.push(block);
            }
            Step::Resize { which, size } if !blocks.is_empty() => {
                let which = which % blocks.len();
                let block = &mut blocks[which];
                let old = block.layout.size();
                // SAFETY: our own block, with its layout; the new size is not zero.
                block.start = unsafe { realloc(block.start, block.layout, size) };
                assert!(!block.start.is_null());
                block.layout = Layout::from_size_align(size, block.layout.align()).unwrap();
                block.check(old.min(size));
                // SAFETY: as above.
                unsafe { block.start.write_bytes(block.fill, size) };
            }
            Step::Free { which } if !blocks.is_empty() => {
                let which = which % blocks.len();
                blocks.swap_remove(which).free();
            }
            Step::Starve { which } if !blocks.is_empty() => {
                let which = which % blocks.len();
                let block = &mut blocks[which];
                let was = block.layout;
                NO_MEMORY.set(true);
                // SAFETY: our own block; nothing is freed, as there is no memory.
                let (fresh, zeroed, moved) = unsafe {
                    (
                        alloc(block.layout),
                        alloc_zeroed(block.layout),
                        realloc(block.start, block.layout, block.layout.size() * 2),
                    )
                };
                NO_MEMORY.set(false);
                if !moved.is_null() {
                    // A sample's place was at hand.
                    let old = block.layout.size();
                    block.start = moved;
                    block.layout = Layout::from_size_align(old * 2, block.layout.align()).unwrap();
                    block.check(old);
                    // SAFETY: our own block, of this size.
                    unsafe { moved.write_bytes(block.fill, old * 2) };
                }
                for at_hand in [fresh, zeroed].into_iter().filter(|block| !block.is_null()) {
                    // SAFETY: just allocated with this layout.
                    unsafe { dealloc(at_hand, was) };
                }
                block.check(block.layout.size());
            }
            Step::Mean { mean, slots } => match session {
                Some(_) => profiler::set_mean_bytes(mean).unwrap(),
                None => {
                    let config = Config::default().mean_bytes(mean).slots(slots);
                    session = profiler::start(config).ok();
                }
            },
            Step::Stop => drop(session.take()),
            Step::Resize { .. } | Step::Free { .. } | Step::Starve { .. } => {}
        }
    }
    blocks.into_iter().for_each(Block::free);
}

#[test]
fn random_programs_find_no_difference() {
    let before = alloc_tracker::process_usage();
    let config = ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        alloc_tracker::Unit::named("program").run(|| play(&steps));
        prop_assert_eq!(WRONG.load(Relaxed), 0);
        let profile = profiler::snapshot();
        let left = profile.samples().filter(|s| s.is_live() && s.unit() == Some("program"));
        prop_assert_eq!(left.count(), 0, "samples whose free was not seen");
    });
    let profile = profiler::snapshot();
    assert!(profile.info().samples > 1000, "{:?}", profile.info());
    let used = alloc_tracker::process_usage() - before;
    assert!(used.reallocs > 1000 && used.frees > 1000);
}
