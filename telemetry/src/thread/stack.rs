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
//! Above them lies the place of the next one. Whatever was left last is still there, and a span that is made is
//! put there, so that entering it need not look it up: it is the one that is *expected*.
//!
//! Neighbouring graves are one. So there are at most twice as many entries as spans that the thread has
//! entered and that are not over, but for those that came since the stack last had to grow, which buries all
//! that are.

use super::entry::Entry;
use super::work::Work;
use crate::live::{KnownSpan, LiveUnit, Outer, UnitOfSpan, UnitRef, WhoLives};

/// How a span was left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// As it was, with the thread's work for the unit if the thread is no longer in it.
    pub(super) entry: Entry,
    /// It was entered more often.
    pub(super) is_still_entered: bool,
    /// A destructor entered, while the thread was unwinding.
    pub(super) entered_in_unwinding: bool,
}

/// What a thread had entered of a span's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// Another span of it.
    SameUnit,
    /// The span itself.
    Same,
}

/// The innermost span that a thread has entered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Innermost {
    /// Nothing that telemetry knows of.
    Nothing,
    /// One of a unit.
    OfUnit(KnownSpan),
    /// One that only the subscriber knows.
    Other,
    /// One that is over, for which the thread is in no span.
    Over,
}

#[derive(Debug)]
pub(crate) struct Stack {
    /// More than there are entries.
    places: Vec<Entry>,
    /// The number of entries.
    len: usize,
}

/// Places of a stack that first needs some.
const FIRST_CAPACITY: usize = 64;

impl Stack {
    /// With room for some entries.
    pub(super) fn new() -> Self {
        Stack {
            places: vec![Entry::grave(); FIRST_CAPACITY],
            len: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn entries(&self) -> &[Entry] {
        self.places.get(..self.len).unwrap_or_default()
    }

    #[inline]
    fn entries_mut(&mut self) -> &mut [Entry] {
        self.places.get_mut(..self.len).unwrap_or_default()
    }

    #[inline]
    pub(super) fn last(&self) -> Option<&Entry> {
        self.places.get(self.len.checked_sub(1)?)
    }

    /// The innermost entry, if it is of this span, and the span of a unit.
    #[inline(always)]
    pub(super) fn innermost_of(&mut self, span: u64) -> Option<&mut Entry> {
        let last = self.places.get_mut(self.len.checked_sub(1)?)?;
        (last.span == span && last.is_of_unit()).then_some(last)
    }

    /// A span that is about to be entered.
    #[inline]
    pub(crate) fn expect(&mut self, span: u64, known: KnownSpan) {
        if let Some(next) = self.places.get_mut(self.len) {
            next.span = span;
            next.known = known;
        }
    }

    /// The entries, and the place of the next one, if it need not grow for one more after that.
    #[inline(always)]
    pub(super) fn next_and_room(&mut self) -> Option<(&[Entry], &mut Entry)> {
        match self.places.split_at_mut_checked(self.len) {
            Some((entries, [next, _, ..])) => Some((entries, next)),
            _ => None,
        }
    }

    /// The next one, which [was begun](Entry::begin), is the innermost now.
    #[inline(always)]
    pub(super) fn push_begun(&mut self) {
        self.len += 1;
    }

    /// The innermost one goes, which was entered once.
    #[inline]
    pub(super) fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    /// What is known of a span, if it is expected and not over.
    #[inline(always)]
    pub(crate) fn expected(&self, who_lives: &WhoLives, span: u64) -> Option<&KnownSpan> {
        let next = self.places.get(self.len)?;
        (next.span == span && next.lives(who_lives)).then_some(&next.known)
    }

    /// The innermost span. One that is over is to be buried.
    #[inline(always)]
    pub(super) fn innermost(&self, who_lives: &WhoLives) -> Innermost {
        match self.last() {
            None => Innermost::Nothing,
            Some(last) if last.lives(who_lives) => Innermost::OfUnit(last.known),
            Some(last) if last.is_other() => Innermost::Other,
            Some(_) => Innermost::Over,
        }
    }

    /// Takes the innermost entry of a span of a unit that is over and leaves a grave there; `None`: there is
    /// none, but for entries that lie beneath others.
    #[cold]
    pub(super) fn bury(&mut self, who_lives: &WhoLives) -> Option<Entry> {
        let is_grave = self.last().is_some_and(Entry::is_grave);
        let at = (self.len - usize::from(is_grave)).checked_sub(1)?;
        let entry = *self.places.get(at)?;
        if entry.is_other() || entry.lives(who_lives) {
            return None;
        }
        self.len = at;
        self.dig();
        Some(entry)
    }

    /// Adds a grave, if the innermost is none.
    fn dig(&mut self) {
        if !self.last().is_some_and(Entry::is_grave) {
            self.put(Entry::grave());
        }
    }

    fn put(&mut self, entry: Entry) {
        match self.places.get_mut(self.len) {
            Some(place) => *place = entry,
            None => self.places.push(entry),
        }
        self.len += 1;
    }

    /// The units that the thread works for, and that are not over.
    pub(super) fn units_at_work(&self) -> impl Iterator<Item = &'static LiveUnit> {
        let entries = self.entries().iter();
        let at_work = entries.filter(|entry| !entry.work.is_none());
        at_work.filter_map(|entry| entry.known.live())
    }

    /// The innermost span of a unit that is not over, whatever was entered after it.
    pub(super) fn living(&self, who_lives: &WhoLives) -> Option<KnownSpan> {
        let mut entries = self.entries().iter().rev();
        let entry = entries.find(|entry| entry.lives(who_lives))?;
        Some(entry.known)
    }

    /// The expected span is entered: once more, if it was entered before.
    #[inline]
    pub(super) fn enter(&mut self) -> Found {
        let mut found = Found::Nothing;
        let Some((entries, [next, ..])) = self.places.split_at_mut_checked(self.len) else {
            return found;
        };
        // PERF: one walk for both, the innermost first.
        for entry in entries.iter_mut().rev() {
            let is_it = entry.span == next.span && entry.known.detail == next.known.detail;
            if is_it && !entry.is_carried() {
                entry.is_entered_again();
                return Found::Same;
            }
            if entry.known.in_unit.unit() == next.known.in_unit.unit() {
                found = Found::SameUnit;
            }
        }
        found
    }

    /// Adds the expected span as the innermost one. True: the stack had to grow, and is to be
    /// [tidied](Stack::tidy) soon.
    #[inline]
    pub(super) fn push(&mut self, in_unwinding: bool, work: Work) -> bool {
        if let Some(next) = self.places.get_mut(self.len) {
            next.begin_maybe_in_unwinding(in_unwinding, work);
            self.len += 1;
        }
        self.grow_if_full()
    }

    /// Makes room for the next entry.
    #[inline]
    fn grow_if_full(&mut self) -> bool {
        let is_full = self.len == self.places.len();
        if is_full {
            self.grow();
        }
        is_full
    }

    #[cold]
    fn grow(&mut self) {
        let more = self.len.max(FIRST_CAPACITY);
        alloc_tracker::raw::for_a_tool(|| self.places.resize(self.len + more, Entry::grave()));
    }

    /// A span that only the subscriber knows is entered. There is one of a unit around it.
    pub(super) fn enter_other(&mut self, span: u64) -> bool {
        let mut entries = self.entries_mut().iter_mut();
        match entries.find(|entry| entry.span == span && !entry.is_of_unit()) {
            Some(again) => again.is_entered_again(),
            None => self.put(Entry::other(span)),
        }
        self.grow_if_full()
    }

    /// As most that are left.
    #[inline]
    pub(super) fn is_innermost(&self, span: u64) -> bool {
        self.last().is_some_and(|last| last.span == span)
    }

    /// The innermost span is left. `None`: it is not `lean`, or is.
    pub(super) fn leave(&mut self, who_lives: &WhoLives, lean: bool) -> Option<Left> {
        let at = self.len.checked_sub(1)?;
        let last = self.places.get_mut(at)?;
        if !last.is_left_by(who_lives, lean) {
            return None;
        }
        let entered_in_unwinding = last.was_entered_in_unwinding();
        let is_still_entered = !last.is_entered_once();
        let entry = match is_still_entered {
            true => last.leave_once(),
            false => {
                let entry = *last;
                self.len = at;
                entry
            }
        };
        Some(Left {
            entry,
            is_still_entered,
            entered_in_unwinding,
        })
    }

    /// Any span is left. `None`: the thread has not entered it, or it is not `lean`, or is.
    pub(super) fn leave_further_out(
        &mut self,
        who_lives: &WhoLives,
        span: u64,
        lean: bool,
    ) -> Option<Left> {
        let entries = self.entries_mut();
        let is_it = |entry: &Entry| entry.span == span && !entry.is_carried();
        let at = entries.iter().rposition(is_it)?;
        let (entry, after) = entries.get_mut(at..)?.split_first_mut()?;
        if !entry.is_left_by(who_lives, lean) {
            return None;
        }
        // A destructor entered after it, and leaves what it found entered: that is no panic of the span's own.
        let entered_in_unwinding =
            entry.was_entered_in_unwinding() || after.iter().any(Entry::was_entered_in_unwinding);
        let is_still_entered = !entry.is_entered_once();
        let entry = match is_still_entered {
            true => entry.leave_once(),
            false => {
                let entry = *entry;
                self.remove(at);
                entry
            }
        };
        Some(Left {
            entry,
            is_still_entered,
            entered_in_unwinding,
        })
    }

    fn remove(&mut self, at: usize) {
        self.take_out(at);
        let is_grave = |at: usize| self.entries().get(at).is_some_and(Entry::is_grave);
        if at > 0 && is_grave(at - 1) && is_grave(at) {
            self.take_out(at);
        }
    }

    fn take_out(&mut self, at: usize) {
        if let Some(from_there) = self.entries_mut().get_mut(at..) {
            from_there.rotate_left(1);
            self.len -= 1;
        }
    }

    /// Another entry of the unit, whose span lives: what the thread does for the unit goes on there.
    #[inline]
    pub(super) fn heir(&mut self, who_lives: &WhoLives, in_unit: UnitOfSpan) -> Option<&mut Entry> {
        // PERF: few are left when the last of a unit goes.
        let mut entries = self.entries_mut().iter_mut();
        entries.find(|entry| entry.known.in_unit.unit() == in_unit.unit() && entry.lives(who_lives))
    }

    /// Whether the thread has entered a span of this unit.
    pub(super) fn has(&self, unit: UnitRef) -> bool {
        let mut entries = self.entries().iter();
        entries.any(|entry| entry.is_of_unit() && entry.known.in_unit.unit() == unit)
    }

    /// The outermost entry that has open work.
    pub(super) fn at_work(&mut self) -> Option<&mut Entry> {
        let mut entries = self.entries_mut().iter_mut();
        entries.find(|entry| !entry.work.is_none())
    }

    /// The outermost entry of a unit inside this one: where it is, what is known of it, and what is around it.
    pub(super) fn inner_of(&self, unit: UnitRef) -> Option<(usize, KnownSpan, Outer)> {
        let around = |entry: &Entry| {
            let outer = entry.known.live()?.outer();
            outer.filter(|outer| outer.unit == unit)
        };
        let mut entries = self.entries().iter().enumerate();
        entries.find_map(|(at, entry)| Some((at, entry.known, around(entry)?)))
    }

    /// The innermost entry was entered for one that comes next.
    pub(super) fn is_carried_by_next(&mut self) {
        if let Some(last) = self.entries_mut().last_mut() {
            last.set_carried();
        }
    }

    /// Something else is left with the innermost entry.
    pub(super) fn carry(&mut self) {
        if let Some(last) = self.entries_mut().last_mut() {
            last.set_carries();
        }
    }

    /// Enters a span beneath the entry that is there, which is to carry it. False: that carried it before.
    pub(super) fn enter_beneath(
        &mut self,
        at: usize,
        span: u64,
        known: KnownSpan,
        work: Work,
    ) -> bool {
        let mut entry = Entry::other(span);
        entry.known = known;
        entry.begin(work);
        entry.set_carried();
        self.put(entry);
        self.grow_if_full();
        let Some(from_there) = self.entries_mut().get_mut(at..) else {
            return false;
        };
        from_there.rotate_right(1);
        (from_there.get_mut(1)).is_some_and(|carrier| !carrier.set_carries())
    }

    /// What was entered for another entry is left.
    pub(super) fn leave_carried(&mut self, span: u64) -> Option<Entry> {
        let mut entries = self.entries().iter();
        let at = entries.rposition(|entry| entry.span == span && entry.is_carried())?;
        let entry = *self.entries().get(at)?;
        self.remove(at);
        Some(entry)
    }

    /// The open work for a unit, which its entry then no longer has.
    #[inline]
    pub(super) fn take_work(&mut self, in_unit: UnitOfSpan) -> Option<Work> {
        let mut entries = self.entries_mut().iter_mut();
        let entry = entries
            .find(|entry| entry.known.in_unit.unit() == in_unit.unit() && !entry.work.is_none())?;
        Some(std::mem::replace(&mut entry.work, Work::NONE))
    }

    /// Buries all that is over. `is_there`: whether the subscriber still has a span that only it knows.
    #[cold]
    pub(super) fn tidy(
        &mut self,
        who_lives: &WhoLives,
        is_there: impl Fn(u64) -> bool,
        mut abandon: impl FnMut(Entry),
    ) {
        let entries = self.entries().to_vec();
        self.len = 0;
        for entry in entries {
            let is_over = match entry.is_of_unit() {
                true => !entry.lives(who_lives),
                false => entry.is_grave() || !is_there(entry.span),
            };
            match is_over {
                false => self.put(entry),
                true => {
                    self.dig();
                    abandon(entry);
                }
            }
        }
        // So that as many come before this is done again, however few are left.
        let room = self.len + self.len.max(FIRST_CAPACITY);
        self.places.resize(room, Entry::grave());
        self.places.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
