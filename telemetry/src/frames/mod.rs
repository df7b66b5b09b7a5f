//! What each thread is working on, in thread-locals: a stack of the spans it has entered that belong to
//! a unit ([`entered`]), those that only telemetry has among them ([`lean`]), and its connection to each
//! instance ([`link`]).

mod entered;
mod lean;
mod link;

pub(crate) use entered::{Has, Passed, enter, exit};
pub(crate) use lean::{
    Around, Made, current_lean, give_back, make, other_enters, other_leaves, parent_of_new,
    with_parent,
};
pub(crate) use link::{begin, detail, ended, hand_on, shard, suppress};

use crate::core::Core;
use crate::system::{RANDOM_BITS, Started};
use crate::units::{Membership, SlotRef};
use entered::Frame;
use link::Link;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
struct Frames {
    frames: Vec<Frame>,
    links: Vec<Link>,
    /// What the system knew of the thread when it began to work for a unit that it is asked about.
    samples: Vec<(SlotRef, Started)>,
    /// The thread's number, which no other has or had; 0 until it is asked for.
    thread: u64,
    /// The state of [`Frames::random`]; 0 until it is asked for.
    random: u64,
}

thread_local! {
    static FRAMES: RefCell<Frames> = const {
        RefCell::new(Frames {
            frames: Vec::new(),
            links: Vec::new(),
            samples: Vec::new(),
            thread: 0,
            random: 0,
        })
    };
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Nothing that this thread does from here on is a unit or belongs to one: it is telemetry's own.
pub(crate) fn be_silent() {
    SILENT.set(true);
}

#[inline]
pub(crate) fn is_silent() -> bool {
    SILENT.get()
}

/// `None` while the thread is ending, and in a callback inside a callback: nothing is counted
/// then, and nothing breaks.
#[inline]
fn with<T>(f: impl FnOnce(&mut Frames) -> T) -> Option<T> {
    FRAMES
        .try_with(|frames| {
            frames
                .try_borrow_mut()
                .ok()
                .map(|mut frames| f(&mut frames))
        })
        .ok()
        .flatten()
}

/// The innermost span that this thread has entered in `core`, as the details call it, and what a child
/// of it belongs to.
#[inline]
pub(crate) fn current_in(core: &Core) -> Option<(u64, Membership)> {
    with(|all| {
        let frame = all.frames.iter().rfind(|f| f.core == core.id)?;
        Some((frame.detail, frame.member.of_child()))
    })?
}

/// The unit that this thread works for in each instance, the innermost first.
#[inline]
pub(crate) fn current_units(mut each: impl FnMut(Arc<Core>, SlotRef)) {
    with(|all| {
        for (at, frame) in all.frames.iter().enumerate().rev() {
            // PERF: an instance's outer frames are passed over; as a rule there is one instance.
            if all.frames[at + 1..].iter().any(|f| f.core == frame.core) {
                continue;
            }
            let link = all.links.iter().find(|link| link.id == frame.core);
            if let Some(core) = link.and_then(|link| link.core.upgrade()) {
                each(core, frame.member.slot());
            }
            if all.links.len() == 1 {
                return;
            }
        }
    });
}

/// [`RANDOM_BITS`] of a random number.
pub(crate) fn random() -> u64 {
    with(Frames::random).unwrap_or(0)
}

impl Frames {
    /// [`RANDOM_BITS`] of xorshift, seeded by the thread's number, which differs.
    #[inline]
    fn random(&mut self) -> u64 {
        if self.random == 0 {
            self.random = self.thread().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        }
        let mut random = self.random;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random = random;
        // Its low bits are the weaker ones.
        random >> (u64::BITS - RANDOM_BITS)
    }

    #[inline]
    fn thread(&mut self) -> u64 {
        if self.thread == 0 {
            self.thread = next_thread();
        }
        self.thread
    }
}

#[cold]
fn next_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}
