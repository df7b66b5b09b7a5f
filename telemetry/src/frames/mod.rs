//! What each thread is working on, in thread-locals: for each instance a [`link`], with a [`stack`] of the
//! spans that the thread has entered. They are [`entered`] and left; those that only telemetry has are made
//! in [`lean`].

mod entered;
mod lean;
mod link;
mod stack;

pub(crate) use entered::{Has, Passed, ends, enter, enter_other, exit, tidy};
pub(crate) use lean::{Around, Made, current_lean, give_back, make, parent_of_new, with_parent};
pub(crate) use link::{begin, detail, ended, hand_on, shard, suppress};

use crate::core::Core;
use crate::system::RANDOM_BITS;
use crate::units::{Membership, SlotRef};
use alloc_tracker::raw::Own;
use link::Link;
use stack::Innermost;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
struct Frames {
    links: Vec<Link>,
    /// The thread's number, which no other has or had; 0 until it is asked for.
    thread: u64,
    /// The state of [`Frames::random`]; 0 until it is asked for.
    random: u64,
}

thread_local! {
    static FRAMES: RefCell<Own<Frames>> = const {
        RefCell::new(Own::new(Frames {
            links: Vec::new(),
            thread: 0,
            random: 0,
        }))
    };
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

/// The innermost span that this thread has entered, if it belongs to a unit of `core`, as the details call
/// it, and what a child of it belongs to. `None`: the subscriber knows which it is, if any.
#[inline]
pub(crate) fn current_in(core: &Core) -> Option<(u64, Membership)> {
    // PERF: one `None` in all, for which there is a membership.
    let (detail, member) = with(|all| match all.known_link(core) {
        Some(link) => match link.innermost(core) {
            Innermost::OfUnit(known) => (known.detail, known.member.of_child()),
            Innermost::Nothing | Innermost::Other | Innermost::Over => (0, Membership::NONE),
        },
        None => (0, Membership::NONE),
    })?;
    (!member.is_none()).then_some((detail, member))
}

/// Whether the span that the thread has entered last is over, so that it is in none. A subscriber to which
/// it was lean cannot say so.
pub(crate) fn is_in_nothing(core: &Core) -> bool {
    let is_over = with(|all| {
        let innermost = all.known_link(core)?.innermost(core);
        Some(matches!(innermost, Innermost::Over))
    });
    is_over.flatten().unwrap_or(false)
}

/// The unit that this thread works for in each instance: the innermost that is not over.
#[inline]
pub(crate) fn current_units(mut each: impl FnMut(Arc<Core>, SlotRef)) {
    with(|all| {
        for link in &mut all.links {
            if link.stack.is_empty() {
                continue;
            }
            let Some(core) = link.core.upgrade() else {
                continue;
            };
            let unit = match link.innermost(&core) {
                Innermost::OfUnit(known) => Some(known),
                // Inside of what is over, or of what others know, there may be one.
                _ => link.stack.living(&core.spans),
            };
            if let Some(known) = unit {
                each(core, known.member.slot());
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
