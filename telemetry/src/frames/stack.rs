//! What a thread has entered, as the subscriber's own stack has it.
//!
//! A guard may be dropped on another thread than the one that entered, be forgotten, or be held over an
//! await: its entry then stays, on a thread that has long been doing something else. The registry keeps it
//! as well, and says of a thread whose innermost entry is of a span that is over that it is in no span. So
//! does this, and with it every layer beside telemetry; what is entered anew on top of it counts again.
//!
//! An entry is of one of three sorts:
//!
//! ```text
//!   of a unit   a span that belongs to a unit; found to be over when it is the innermost: buried
//!   other       a span that only the subscriber knows, inside of one of a unit
//!   grave       where spans were that are over: the thread is in no span while it is the innermost
//! ```
//!
//! Neighbouring graves are one. So there are at most twice as many entries as spans that the thread has
//! entered and that are not over, but for those that came since the stack last had to grow, which buries all
//! that are.

use super::entered::Work;
use crate::units::{Known, Membership, Spans};

/// An entered span.
///
/// PERF: plain words, and few: they are written at every entry and read at every exit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// 0: a grave.
    span: u64,
    /// Of a unit, unless its membership is none.
    pub(super) known: Known,
    /// How often the span is entered. All but the first time say nothing about what is innermost.
    times: u64,
    /// The thread was unwinding when it entered: a destructor did.
    pub(super) in_unwinding: bool,
    pub(super) work: Work,
}

impl Entry {
    #[inline]
    fn of_unit(span: u64, known: Known) -> Self {
        Entry {
            span,
            known,
            times: 1,
            in_unwinding: false,
            work: Work::NONE,
        }
    }

    fn other(span: u64) -> Self {
        Entry::of_unit(span, Known::NOTHING)
    }

    fn grave() -> Self {
        Entry::other(0)
    }

    #[inline]
    fn is_of_unit(&self) -> bool {
        self.known.member != Membership::NONE
    }

    fn is_grave(&self) -> bool {
        self.span == 0
    }

    fn is_other(&self) -> bool {
        !self.is_of_unit() && !self.is_grave()
    }

    fn lives(&self, spans: &Spans) -> bool {
        self.is_of_unit() && spans.lives(self.span, &self.known)
    }
}

/// The innermost span that a thread has entered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Innermost {
    /// Nothing that telemetry knows of.
    Nothing,
    /// One of a unit.
    OfUnit(Known),
    /// One that only the subscriber knows.
    Other,
    /// One that is over, for which the thread is in no span.
    Over,
}

#[derive(Debug, Default)]
pub(super) struct Stack {
    entries: Vec<Entry>,
}

/// Places of a stack that first needs some.
const FIRST_CAPACITY: usize = 64;

impl Stack {
    pub(super) const fn new() -> Self {
        Stack {
            entries: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The innermost span. One that is over is to be buried.
    #[inline]
    pub(super) fn innermost(&self, spans: &Spans) -> Innermost {
        match self.entries.last() {
            None => Innermost::Nothing,
            Some(last) if last.lives(spans) => Innermost::OfUnit(last.known),
            Some(last) if last.is_other() => Innermost::Other,
            Some(_) => Innermost::Over,
        }
    }

    /// Takes the innermost entry of a span of a unit that is over and leaves a grave there; `None`: there is
    /// none, but for entries that lie beneath others.
    #[cold]
    pub(super) fn bury(&mut self, spans: &Spans) -> Option<Entry> {
        let is_grave = self.entries.last().is_some_and(Entry::is_grave);
        let at = (self.entries.len() - usize::from(is_grave)).checked_sub(1)?;
        let entry = self.entries[at];
        if entry.is_other() || entry.lives(spans) {
            return None;
        }
        self.entries.truncate(at);
        self.dig();
        Some(entry)
    }

    /// Adds a grave, if the innermost is none.
    fn dig(&mut self) {
        if !self.entries.last().is_some_and(Entry::is_grave) {
            self.entries.push(Entry::grave());
        }
    }

    /// The entries of units, the innermost first. Their spans, and the units, may be over.
    #[inline]
    pub(super) fn of_units(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().filter(|entry| entry.is_of_unit())
    }

    /// A span of a unit is entered. `None`: it was entered before. Otherwise whether the thread has entered
    /// another one of its unit.
    #[inline]
    pub(super) fn enter(&mut self, span: u64, known: &Known) -> Option<bool> {
        let mut is_inside = false;
        // PERF: one walk for both, the innermost first.
        for entry in self.entries.iter_mut().rev() {
            if entry.span == span && entry.known.detail == known.detail {
                entry.times += 1;
                return None;
            }
            is_inside |= entry.known.member.slot() == known.member.slot();
        }
        Some(is_inside)
    }

    /// Whether the next [`push`](Stack::push) has to make room, before which [`tidy`](Stack::tidy) should.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() == self.entries.capacity()
    }

    /// Adds a span of a unit as the innermost one.
    #[inline]
    pub(super) fn push(&mut self, span: u64, known: Known, in_unwinding: bool, work: Work) {
        self.entries.push(Entry {
            in_unwinding,
            work,
            ..Entry::of_unit(span, known)
        });
    }

    /// A span that only the subscriber knows is entered. There is one of a unit around it.
    pub(super) fn enter_other(&mut self, span: u64) {
        let mut entries = self.entries.iter_mut();
        match entries.find(|entry| entry.span == span && !entry.is_of_unit()) {
            Some(again) => again.times += 1,
            None => self.entries.push(Entry::other(span)),
        }
    }

    /// A span is left. `None`: the thread has not entered it, or it is not `lean`, or is. Otherwise whether it is the last time that it
    /// does, and the entry, which is then gone.
    #[inline]
    pub(super) fn leave(
        &mut self,
        spans: &Spans,
        span: u64,
        lean: bool,
    ) -> Option<(bool, Entry)> {
        let at = match self.entries.last() {
            // PERF: the innermost one mostly.
            Some(last) if last.span == span => self.entries.len() - 1,
            _ => self.entries.iter().rposition(|entry| entry.span == span)?,
        };
        let entry = &mut self.entries[at];
        // A lean one may be over, and the id now be that of another, which was not entered here.
        if entry.known.lean.is_some() != lean || lean && !entry.lives(spans) {
            return None;
        }
        if entry.times > 1 {
            entry.times -= 1;
            return Some((false, *entry));
        }
        let entry = *entry;
        if at + 1 == self.entries.len() {
            self.entries.truncate(at);
        } else {
            self.remove(at);
        }
        Some((true, entry))
    }

    #[cold]
    fn remove(&mut self, at: usize) {
        self.entries.remove(at);
        let is_grave = |at: usize| self.entries.get(at).is_some_and(Entry::is_grave);
        if at > 0 && is_grave(at - 1) && is_grave(at) {
            self.entries.remove(at);
        }
    }

    /// Another entry of the unit, whose span lives: what the thread does for the unit goes on there.
    #[inline]
    pub(super) fn heir(&mut self, spans: &Spans, member: Membership) -> Option<&mut Entry> {
        // PERF: few are left when the last of a unit goes.
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.known.member.slot() == member.slot() && entry.lives(spans))
    }

    /// The open work for a unit, which its entry then no longer has.
    #[inline]
    pub(super) fn take_work(&mut self, member: Membership) -> Option<Work> {
        let mut entries = self.entries.iter_mut();
        let entry = entries
            .find(|entry| entry.known.member.slot() == member.slot() && !entry.work.is_none())?;
        Some(std::mem::replace(&mut entry.work, Work::NONE))
    }

    /// Makes room: buries all that is over, and grows if that is little. `is_there`: whether the subscriber
    /// still has a span that only it knows.
    #[cold]
    pub(super) fn tidy(
        &mut self,
        spans: &Spans,
        is_there: &dyn Fn(u64) -> bool,
        mut abandon: impl FnMut(Entry),
    ) {
        let entries = std::mem::take(&mut self.entries);
        let capacity = entries.capacity();
        let mut kept = Stack {
            entries: Vec::with_capacity(capacity.max(FIRST_CAPACITY)),
        };
        for entry in entries {
            let is_over = match entry.is_of_unit() {
                true => !entry.lives(spans),
                false => entry.is_grave() || !is_there(entry.span),
            };
            match is_over {
                false => kept.entries.push(entry),
                true => {
                    kept.dig();
                    abandon(entry);
                }
            }
        }
        if kept.entries.len() > capacity / 2 {
            kept.entries.reserve(capacity);
        }
        *self = kept;
    }
}
