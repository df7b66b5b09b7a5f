//! One entry of a thread's stack.

use super::work::Work;
use crate::live::{KnownSpan, WhoLives};

/// An entered span.
///
/// PERF: plain words, and few: they are written at every entry and read at every exit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// 0: a grave.
    pub(super) span: u64,
    /// Of a unit, unless that is none.
    pub(super) known: KnownSpan,
    times: Times,
    pub(super) work: Work,
}

/// How often a span is entered, and how it was the first time; the others say nothing about what is
/// innermost.
#[derive(Clone, Copy, Debug)]
struct Times(u64);

/// The thread was unwinding: a destructor entered.
const IN_UNWINDING: u64 = 1;
const ONCE: u64 = 2;
/// Beneath it, a span of the unit around its own was entered for it, and is left with it.
const CARRIES: u64 = 1 << 63;
/// It was entered for another one, not by the program: to that it is not there.
const CARRIED: u64 = 1 << 62;
const FLAGS: u64 = CARRIES | CARRIED;

impl Entry {
    pub(super) fn other(span: u64) -> Self {
        Entry {
            span,
            known: KnownSpan::NOTHING,
            times: Times(ONCE),
            work: Work::NONE,
        }
    }

    pub(super) fn grave() -> Self {
        Entry::other(0)
    }

    #[inline]
    pub(super) fn is_of_unit(&self) -> bool {
        !self.known.in_unit.is_none()
    }

    pub(super) fn is_grave(&self) -> bool {
        self.span == 0
    }

    pub(super) fn is_other(&self) -> bool {
        !self.is_of_unit() && !self.is_grave()
    }

    #[inline(always)]
    pub(super) fn lives(&self, who_lives: &WhoLives) -> bool {
        who_lives.lives(self.span, &self.known)
    }

    /// What is expected there is entered for the first time.
    #[inline(always)]
    pub(super) fn begin(&mut self, work: Work) {
        self.times = Times(ONCE);
        self.work = work;
    }

    /// It is entered once more, if its span is there for the program. False: it is not.
    #[inline(always)]
    pub(super) fn begin_again(&mut self) -> bool {
        let is_there = !self.is_carried();
        if is_there {
            self.times.0 += ONCE;
        }
        is_there
    }

    /// It is left once, if it was entered more often. False: it was not.
    #[inline(always)]
    pub(super) fn leave_again(&mut self) -> bool {
        let is_again = !self.is_carried() && !self.is_entered_once();
        if is_again {
            self.times.0 -= ONCE;
        }
        is_again
    }

    /// As [`begin`](Entry::begin), also where the thread is unwinding.
    #[inline(always)]
    pub(super) fn begin_maybe_in_unwinding(&mut self, in_unwinding: bool, work: Work) {
        self.times = Times(ONCE | u64::from(in_unwinding));
        self.work = work;
    }

    /// A destructor entered it, while the thread was unwinding.
    #[inline]
    pub(super) fn was_entered_in_unwinding(&self) -> bool {
        self.times.0 & IN_UNWINDING != 0
    }

    #[inline]
    pub(super) fn is_entered_again(&mut self) {
        self.times.0 += ONCE;
    }

    /// It is left once of several times: what that is like, whoever leaves it.
    #[inline]
    pub(super) fn leave_once(&mut self) -> Entry {
        let mut left = *self;
        self.times.0 -= ONCE;
        left.work = Work::NONE;
        left.times.0 &= !CARRIES;
        left
    }

    /// It was entered for one that comes next.
    pub(super) fn set_carried(&mut self) {
        self.times.0 |= CARRIED;
    }

    /// Something else is left with it from here on. True: it was before.
    pub(super) fn set_carries(&mut self) -> bool {
        let before = self.carries();
        self.times.0 |= CARRIES;
        before
    }

    /// Whether it was entered once, and nothing else is left with it.
    #[inline]
    pub(super) fn is_left_plainly(&self) -> bool {
        self.times.0 < 2 * ONCE
    }

    #[inline]
    pub(super) fn is_entered_once(&self) -> bool {
        self.times.0 & !FLAGS < 2 * ONCE
    }

    #[inline]
    pub(super) fn is_carried(&self) -> bool {
        self.times.0 & CARRIED != 0
    }

    /// Whether a span of the unit around its own is left with it.
    #[inline]
    pub(super) fn carries(&self) -> bool {
        self.times.0 & CARRIES != 0
    }

    /// Whether this is what a span that has this id leaves, which is `lean` or not.
    #[inline]
    pub(super) fn is_left_by(&self, who_lives: &WhoLives, lean: bool) -> bool {
        // A lean one may be over, and the id now be that of another, which was not entered here.
        self.known.is_lean() == lean && !self.is_carried() && (!lean || self.lives(who_lives))
    }
}
