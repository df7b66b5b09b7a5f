//! The call stacks that allocate while a budget is open.
//!
//! A budget owns a table, in memory from the system's allocator. While the table is active on a
//! thread, each allocation of that thread walks its stack and adds to the entry of that stack: a
//! microsecond or so, which is why nothing but an open budget does it. Addresses become names only
//! if the budget breaks.

use crate::engine::counter::block;
use crate::engine::counter::counts::Counts;
use crate::engine::unwind;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Different stacks that a table keeps apart, a power of two.
const STACKS: usize = 1024;
/// Places in which a stack is looked for: a full table costs no more than any other.
const MOST_STEPS: usize = 32;
/// Frames that are kept of a stack, the innermost first.
const FRAMES: usize = 64;
/// After this many stacks only about every second allocation's is walked, after as many again about
/// every fourth, and so on, so that a body that allocates millions of times ends. The next stack
/// stands for those that were left out: figures are exact up to here, and estimates beyond.
const WALKED_AT_EACH_STRIDE: u32 = 2048;

struct Table {
    /// The next active table of the thread: that of a budget around this one.
    outer: Cell<*mut Table>,
    /// Stacks added.
    walked: u32,
    /// Some allocations were left out.
    estimated: bool,
    stacks: [Stack; STACKS],
}

struct Stack {
    /// 0: unused.
    hash: u64,
    allocs: u64,
    bytes: u64,
    len: usize,
    frames: [usize; FRAMES],
}

thread_local! {
    // Const-initialised and without a destructor, as everything that a hook touches.
    static ACTIVE: Active = const {
        Active {
            innermost: Cell::new(ptr::null_mut()),
            noted: Cell::new(Counts::ZERO),
            next: Cell::new(1),
            random: Cell::new(0x9E37_79B9_7F4A_7C15),
            suspended: Cell::new(0),
        }
    };
}

struct Active {
    innermost: Cell<*mut Table>,
    /// The thread's counts up to which allocations have been noted.
    noted: Cell<Counts>,
    /// After how many allocations the next stack is walked.
    next: Cell<u64>,
    /// Not every few, lest a loop of as many allocations hit the same line each time.
    random: Cell<u64>,
    /// Above 0, allocations are not noted.
    suspended: Cell<u32>,
}

/// A budget's table. Without memory for it, the message names no call sites.
#[derive(Debug)]
pub(crate) struct Sites {
    table: Option<NonNull<Table>>,
}

// SAFETY: the table is owned and nobody else has its address: a thread's chain has it only while
// it is an `ActiveSites`, which cannot leave that thread.
unsafe impl Send for Sites {}

// SAFETY: through `&Sites` the table is only read, and nobody writes it: that takes an
// `ActiveSites`, which owns it.
unsafe impl Sync for Sites {}

impl Sites {
    pub(crate) fn new() -> Self {
        // SAFETY: the size of a table is not zero.
        let table = unsafe { System.alloc_zeroed(Layout::new::<Table>()) };
        // All zero is a valid table: null, counts of 0, unused stacks.
        Sites {
            table: NonNull::new(table.cast()),
        }
    }

    /// Notes the calling thread's allocations from here on.
    ///
    /// # Safety
    ///
    /// The caller has it [unlinked](Sites::unlink), on this thread, before it is dropped or linked again.
    pub(crate) unsafe fn link(&self) {
        if let Some(table) = self.table {
            let _ = ACTIVE.try_with(|active| {
                let outer = active.innermost.replace(table.as_ptr());
                // SAFETY: the table is ours alone, and initialised.
                unsafe { &*table.as_ptr() }.outer.set(outer);
                active.next.set(1);
                block::with(|block| {
                    active.noted.set(block.counts());
                    block.watch_own(true);
                });
            });
        }
    }

    /// Notes them no more.
    pub(crate) fn unlink(&self) {
        let Some(table) = self.table else {
            return;
        };
        let _ = ACTIVE.try_with(|active| {
            // Guards may be dropped in any order: take the table out wherever it is.
            let mut link = &active.innermost;
            // SAFETY: a table in the chain is valid, as it is taken out before it is freed, and
            // no exclusive reference to it exists outside of a hook.
            while let Some(next) = unsafe { link.get().as_ref() } {
                if ptr::eq(next, table.as_ptr()) {
                    link.set(next.outer.get());
                    break;
                }
                link = &next.outer;
            }
        });
    }

    /// Itself, and in its place one without a table.
    pub(crate) fn take(&mut self) -> Self {
        Sites {
            table: self.table.take(),
        }
    }

    /// Whether what is said of each stack is an estimate.
    pub(crate) fn are_estimates(&self) -> bool {
        // SAFETY: as in `for_each_stack`.
        self.table
            .is_some_and(|table| unsafe { table.as_ref() }.estimated)
    }

    /// Calls `each` with the return addresses of every stack, the allocations made there, and the
    /// bytes.
    pub(crate) fn for_each_stack(&self, mut each: impl FnMut(&[usize], u64, u64)) {
        let Some(table) = self.table else { return };
        // SAFETY: the table is ours and initialised, and not active: then we were an `ActiveSites`.
        let table = unsafe { table.as_ref() };
        for stack in table.stacks.iter().filter(|stack| stack.hash != 0) {
            each(&stack.frames[..stack.len], stack.allocs, stack.bytes);
        }
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        if let Some(table) = self.table {
            // SAFETY: from `System` with this layout; not active any more, so in nobody's chain.
            unsafe { System.dealloc(table.as_ptr().cast(), Layout::new::<Table>()) };
        }
    }
}

pub(crate) fn any_open() -> bool {
    ACTIVE
        .try_with(|active| !active.innermost.get().is_null())
        .unwrap_or(false)
}

pub(crate) fn suspend() {
    let _ = ACTIVE.try_with(|active| active.suspended.set(active.suspended.get() + 1));
}

pub(crate) fn resume() {
    let _ = ACTIVE.try_with(|active| active.suspended.set(active.suspended.get() - 1));
}

/// How often the thread's allocations are suspended now.
pub(crate) fn suspended() -> u32 {
    ACTIVE
        .try_with(|active| active.suspended.get())
        .unwrap_or(0)
}

/// What was allocated up to here is at no call site.
pub(crate) fn skip_to(counts: Counts) {
    let _ = ACTIVE.try_with(|active| active.noted.set(counts));
}

/// Notes what was allocated since the last call, as allocated here. Runs inside a hook.
pub(crate) fn note(counts: Counts) {
    let _ = ACTIVE.try_with(|active| {
        let innermost = active.innermost.get();
        let fresh = counts.minus(active.noted.get());
        let next = active.next.get();
        if innermost.is_null() || active.suspended.get() > 0 || fresh.allocs < next {
            return;
        }
        active.noted.set(counts);
        // SAFETY: a table in the chain is valid, and no exclusive reference to it exists now.
        let walked = unsafe { (*innermost).walked };
        active.next.set(active.step(walked));
        // Should walking the stack allocate, that is not walked again.
        active.suspended.set(1);
        let mut frames = [0usize; FRAMES];
        let mut len = 0;
        unwind::each_frame(|ip| {
            frames[len] = ip;
            len += 1;
            len < FRAMES
        });
        let frames = &frames[..len];
        let mut table = innermost;
        while !table.is_null() {
            // SAFETY: tables in the chain are valid and this thread's alone (`ActiveSites` takes
            // them out before they are freed), and no other reference to one exists while a hook
            // runs.
            let noting = unsafe { &mut *table };
            noting.walked += 1;
            noting.estimated |= fresh.allocs > 1;
            noting.add(frames, fresh);
            table = noting.outer.get();
        }
        active.suspended.set(0);
    });
}

impl Active {
    /// A random number of allocations, whose mean is the stride.
    fn step(&self, walked: u32) -> u64 {
        let stride = 1u64 << (walked / WALKED_AT_EACH_STRIDE).min(20);
        // Xorshift: its low bits are good enough to break step with a loop.
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        1 + random % (2 * stride - 1)
    }
}

impl Table {
    fn add(&mut self, frames: &[usize], fresh: Counts) {
        let hash = frames.iter().fold(0u64, |hash, &ip| {
            (hash.rotate_left(5) ^ ip as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        }) | 1;
        let home = (hash >> 32) as usize;
        for step in 0..MOST_STEPS {
            let stack = &mut self.stacks[(home + step) % STACKS];
            if stack.hash == 0 {
                stack.hash = hash;
                stack.len = frames.len();
                stack.frames[..frames.len()].copy_from_slice(frames);
            }
            if stack.hash == hash {
                stack.allocs += fresh.allocs;
                stack.bytes += fresh.alloc_bytes;
                return;
            }
        }
        // More different stacks than there is room for: the first ones must do. What the others allocate, the
        // message adds up as elsewhere.
    }
}
