//! Where one thread at a time publishes its counters.
//!
//! What a slot stands for is one number per figure, read without a lock:
//!
//! ```text
//!   nobody here:   total
//!   thread here:   carry + its block        (carry = total at the moment it came)
//! ```
//!
//! The switch from one to the other is a single store of the block's address, before which both
//! sides have the same value. So a reader counts every operation once, whatever happens.
//!
//! What a thread does for a tool is not in it:
//!
//! ```text
//!   for the program:   the number above, less `tools`
//!   for a tool:        `program`                         (the same number, at the moment it began)
//! ```
//!
//! `turn` says which, odd for a tool. Each of the two is only written while readers look at the other, and
//! one that has read through a change of `turn` reads again.

use super::counts::{Counts, SharedCounts};
use super::published::Published;
use super::sync::{
    Acquire, AtomicPtr, AtomicU32, AtomicU64, Relaxed, Release, SeqCst, constructor, fence, pause,
};
use std::ptr;

#[derive(Debug)]
pub(crate) struct Slot {
    block: AtomicPtr<Published>,
    /// Readers that may be looking at `block` now.
    readers: AtomicU32,
    carry: SharedCounts,
    total: SharedCounts,
    turn: AtomicU64,
    tools: SharedCounts,
    program: SharedCounts,
    /// What had been counted here when the thread came, and its number, as the system has it.
    came: SharedCounts,
    thread: AtomicU32,
}

/// What one thread counted, and what of that for units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutsideOfThread {
    /// Its number, as the system has it; 0: that is unknown.
    pub(crate) thread: u32,
    pub(crate) counts: Counts,
    pub(crate) inside: Counts,
}

impl Slot {
    constructor! {
        pub(crate) fn new() -> Self {
            Slot {
                block: AtomicPtr::new(ptr::null_mut()),
                readers: AtomicU32::new(0),
                carry: SharedCounts::new(),
                total: SharedCounts::new(),
                turn: AtomicU64::new(0),
                tools: SharedCounts::new(),
                program: SharedCounts::new(),
                came: SharedCounts::new(),
                thread: AtomicU32::new(0),
            }
        }
    }

    /// The thread with this number is about to come.
    pub(crate) fn announce(&self, thread: u32) {
        self.came.store(self.read());
        self.thread.store(thread, Relaxed);
    }

    /// From here on readers see `block`, of which `drained` is in the totals already, and what is above
    /// `set_aside` is a tool's.
    pub(crate) fn publish(&self, block: &Published, drained: Counts, set_aside: Option<Counts>) {
        self.carry.store(self.total.load().minus(drained));
        if let Some(counts) = set_aside {
            self.set_aside(counts);
        }
        // Release `carry` to the reader that sees the address.
        self.block.store(ptr::from_ref(block).cast_mut(), Release);
    }

    /// From here on readers see `total`. Returns when nobody looks at the block any more.
    pub(crate) fn retract(&self, counts: Counts) {
        // Release the block's counts and address to who sees the new total, to be acquired by the
        // fence of the next read: it must not see an older figure there.
        fence(Release);
        self.total.store(self.carry.load().plus(counts));
        // Release `total` to the reader that sees null.
        self.block.store(ptr::null_mut(), Release);
        // Handshake: we store `block` and then load `readers`, a reader adds to `readers` and
        // then loads `block`. With a fence between, either it sees null or we see it.
        fence(SeqCst);
        let mut tries = 0u32;
        // Acquire what a reader did before it left: it is done with the block.
        while self.readers.load(Acquire) != 0 {
            // A reader holds on for a few dozen instructions, more only if it is preempted.
            tries += 1;
            pause(tries);
        }
    }

    /// What the thread here counts above `counts` is a tool's. The thread's alone, as is the next.
    pub(crate) fn set_aside(&self, counts: Counts) {
        let all = self.carry.load().plus(counts);
        self.program.store(all.minus(self.tools.load()));
        self.turn();
    }

    /// What it counts above `counts` is the program's again.
    pub(crate) fn take_back(&self, counts: Counts) {
        let all = self.carry.load().plus(counts);
        self.tools.store(all.minus(self.program.load()));
        self.turn();
    }

    fn is_set_aside(&self) -> bool {
        is_a_tools(self.turn.load(Relaxed))
    }

    fn turn(&self) {
        // Release what was stored for the new turn to who sees it.
        self.turn.store(self.turn.load(Relaxed) + 1, Release);
        // Who sees what is counted or stored after this sees the turn: see `at_one_turn`.
        fence(Release);
    }

    /// What `read` reads, not through a change of the turn.
    ///
    /// Waits for nobody: only the thread here, while it works, has it read again.
    fn at_one_turn(&self, read: impl Fn(bool) -> Counts) -> Counts {
        let mut tries = 0;
        loop {
            let turn = self.turn.load(Acquire);
            let counts = read(is_a_tools(turn));
            // Acquire: had `read` seen anything of the next turn, this load would see that turn.
            fence(Acquire);
            if self.turn.load(Relaxed) == turn {
                return counts;
            }
            tries += 1;
            pause(tries);
        }
    }

    /// What was counted here for the program.
    pub(crate) fn read(&self) -> Counts {
        self.at_one_turn(|is_a_tools| match is_a_tools {
            true => self.program.load(),
            false => self.all().minus(self.tools.load()),
        })
    }

    /// What the thread here counted for units.
    pub(crate) fn read_inside(&self) -> Counts {
        self.with_block(|block| block.inside.read(block.counts()))
            .unwrap_or(Counts::ZERO)
    }

    /// What the thread here counted for no unit; `None` if there is none.
    pub(crate) fn read_outside(&self) -> Option<OutsideOfThread> {
        let (inside, thread, came) = self.with_block(|block| {
            let inside = block.inside.read(block.counts());
            (inside, self.thread.load(Relaxed), self.came.load())
        })?;
        Some(OutsideOfThread {
            thread,
            counts: self.read().minus(came),
            inside,
        })
    }

    /// What was counted here for tools.
    pub(crate) fn read_tools(&self) -> Counts {
        self.at_one_turn(|is_a_tools| match is_a_tools {
            true => self.all().minus(self.program.load()),
            false => self.tools.load(),
        })
    }

    fn all(&self) -> Counts {
        self.with_block(|block| self.carry.load().plus(block.counts()))
            .unwrap_or_else(|| self.total.load())
    }

    /// Calls `f` with the block of the thread that is here now.
    pub(crate) fn with_block<T>(&self, f: impl FnOnce(&Published) -> T) -> Option<T> {
        self.readers.fetch_add(1, Relaxed);
        // See `retract`.
        fence(SeqCst);
        let block = self.block.load(Acquire);
        // SAFETY: a published address is that of a live thread's block, and that thread does not
        // end before it has set `block` to null and then seen `readers` at 0 (see `retract`; for
        // the one thread that could, see `thread_exit::register`). All fields are atomics, so
        // sharing them is sound.
        let result = unsafe { block.as_ref() }.map(f);
        self.readers.fetch_sub(1, Release);
        result
    }

    /// In the child of a fork, for the slot of a thread that does not exist here.
    pub(crate) fn abandon(&self) {
        self.forget_readers();
        let block = self.block.load(Relaxed);
        // SAFETY: the child has a copy of the parent's memory, in it the blocks of the threads
        // that were running; no thread has been started here that could reuse it.
        if let Some(block) = unsafe { block.as_ref() } {
            if self.is_set_aside() {
                self.take_back(block.counts());
            }
            self.total.store(self.carry.load().plus(block.counts()));
            self.block.store(ptr::null_mut(), Relaxed);
        }
    }

    /// In the child of a fork: a reader that was preempted by it does not exist here.
    pub(crate) fn forget_readers(&self) {
        self.readers.store(0, Relaxed);
    }
}

fn is_a_tools(turn: u64) -> bool {
    turn % 2 == 1
}
