//! What each thread is working on, in thread-locals: for each instance a [`state`], with a [`stack`] of [entries](entry) for the
//! spans that the thread has entered. They are [`entered`] and left, by which its [`work`] for units begins and ends; with
//! those of an [`inner`] unit, so is the one around it. Those that only telemetry has are made in
//! [`lean`](crate::subscriber::lean).

mod entered;
mod entry;
mod inner;
mod stack;
mod state;
mod work;

pub(crate) use entered::{EntryOrExit, Passed, enter, enter_other, exit, tidy};
pub(crate) use state::{
    ThreadState, add, add_inside, becomes, begin, detail, ended, hand_on, outbox, suppress,
};

use crate::instance::{Instance, Lasting};
use crate::live::{KnownSpan, LiveUnit, UnitOfSpan, UnitRef};
use crate::os::RANDOM_BITS;
pub(crate) use stack::Innermost;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub(crate) struct ThisThread {
    states: Vec<ThreadState>,
    /// The state of [`ThisThread::random`]; 0 until it is asked for.
    random: u64,
}

thread_local! {
    // PERF: const-initialised and without a destructor: nobody asks whether it is there. What is in it goes with
    // `AT_THE_END`.
    static THIS_THREAD: ManuallyDrop<RefCell<ThisThread>> = const {
        ManuallyDrop::new(RefCell::new(ThisThread {
            states: Vec::new(),
            random: 0,
        }))
    };

    /// The thread's number, which no other has or had; 0 until it is asked for.
    ///
    /// PERF: by itself, as it is asked for alone.
    static NUMBER: Cell<u64> = const { Cell::new(0) };

    static AT_THE_END: AtTheEnd = const { AtTheEnd };
}

/// Gives up what the calling thread has when it ends.
struct AtTheEnd;

impl AtTheEnd {
    fn is_to_come() {
        let _ = AT_THE_END.try_with(|_| ());
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let gone = THIS_THREAD.try_with(|this| {
            let mut this = this.try_borrow_mut().ok()?;
            let gone = std::mem::take(&mut *this);
            // From here on nobody can have it.
            std::mem::forget(this);
            Some(gone)
        });
        alloc_tracker::raw::for_a_tool(|| drop(gone));
    }
}

/// `None` while the thread is ending, and in a callback inside a callback: nothing is counted
/// then, and nothing breaks.
#[inline]
pub(crate) fn with<T>(f: impl FnOnce(&mut ThisThread) -> T) -> Option<T> {
    THIS_THREAD
        .try_with(|this| this.try_borrow_mut().ok().map(|mut this| f(&mut this)))
        .ok()
        .flatten()
}

/// Calls `f` with what the thread has for an instance; `None` while the thread is ending, as in [`with`].
#[inline]
pub(crate) fn with_state<T>(
    instance: &Arc<Instance>,
    mut f: impl FnMut(Option<&mut ThreadState>) -> T,
) -> T {
    with(|all| f(Some(all.state(instance)))).unwrap_or_else(|| f(None))
}

/// Makes what the thread has for an instance, before anything needs it.
pub(crate) fn prepare(instance: &Arc<Instance>) {
    with(|all| {
        all.state(instance);
    });
}

/// The innermost span that this thread has entered, if it belongs to a unit of `instance`, as the details call
/// it, and what a child of it belongs to. `None`: the subscriber knows which it is, if any.
#[inline]
pub(crate) fn current_in(instance: &Instance) -> Option<(u64, UnitOfSpan)> {
    // PERF: one `None` in all: of a span that is in no unit.
    let (detail, in_unit) = with(|all| match all.known_state(instance) {
        Some(state) => match state.innermost(instance) {
            Innermost::OfUnit(known) => (known.detail, known.in_unit.of_child()),
            Innermost::Nothing | Innermost::Other | Innermost::Over => (0, UnitOfSpan::NONE),
        },
        None => (0, UnitOfSpan::NONE),
    })?;
    (!in_unit.is_none()).then_some((detail, in_unit))
}

/// The id of the innermost span that this thread has entered, and what is known of it, if it belongs to a unit.
pub(crate) fn innermost_of_unit(instance: &Instance) -> Option<(u64, KnownSpan)> {
    with(|all| {
        let state = all.known_state(instance)?;
        match state.innermost(instance) {
            Innermost::OfUnit(known) => Some((state.stack.last()?.span, known)),
            Innermost::Nothing | Innermost::Other | Innermost::Over => None,
        }
    })?
}

/// Whether the span that the thread has entered last is over, so that it is in none. A subscriber to which
/// it was lean cannot say so.
pub(crate) fn is_in_nothing(instance: &Instance) -> bool {
    let is_over = with(|all| {
        let innermost = all.known_state(instance)?.innermost(instance);
        Some(matches!(innermost, Innermost::Over))
    });
    is_over.flatten().unwrap_or(false)
}

/// The unit that a thread works for, in the eyes of one telemetry.
#[derive(Debug)]
pub(crate) struct AtWork {
    pub(crate) unit: UnitRef,
    /// Where it lies.
    pub(crate) place: &'static LiveUnit,
    /// The telemetry's.
    pub(crate) lasting: &'static Lasting,
    /// The thread's number.
    pub(crate) thread: u64,
}

/// For how many telemetries the calling thread works.
#[derive(Debug)]
pub(crate) enum WorksFor<One, Several> {
    Nothing,
    One(One),
    /// Two or more, as far as is known.
    Several(Several),
}

/// What becomes of the question for a unit where the thread is in a span whose unit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfOver {
    /// It is said that something came too late.
    Untold,
    Nothing,
}

/// The unit that this thread works for, the innermost that is not over, if there is one telemetry, as there mostly is.
///
/// PERF: no telemetry is asked for, which would count who uses it, where all threads count.
#[inline(always)]
pub(crate) fn at_work() -> WorksFor<AtWork, ()> {
    let Some(this) = this_thread() else {
        return WorksFor::Nothing;
    };
    let Ok(mut all) = this.try_borrow_mut() else {
        return WorksFor::Nothing;
    };
    match &mut all.states[..] {
        [] => WorksFor::Nothing,
        [state] => match state.at_work(IfOver::Untold) {
            Some(at_work) => WorksFor::One(at_work),
            None => WorksFor::Nothing,
        },
        _ => WorksFor::Several(()),
    }
}

/// What the thread has.
///
/// PERF: the standard library's `with` is a call of a function, where what is done there is more than a little.
#[inline(always)]
#[allow(unsafe_code)] // a thread-local without a closure
fn this_thread<'a>() -> Option<&'a RefCell<ThisThread>> {
    let this = THIS_THREAD.try_with(|this| ptr::from_ref(&**this)).ok()?;
    // SAFETY: it is initialised at compile time and has no destructor, so it is there, in one place, for as long as the
    // thread; and no reference to it can be had by another thread, or be kept after this one, as it is private to this
    // module, where the lifetime is that of a caller on this thread.
    Some(unsafe { &*this })
}

/// The unit that this thread works for in each telemetry.
pub(crate) fn at_work_for_all(if_over: IfOver, each: impl FnMut(AtWork)) {
    with(|all| {
        let states = all.states.iter_mut();
        let at_work = states.filter_map(|state| state.at_work(if_over));
        at_work.for_each(each);
    });
}

/// The unit that this thread works for; of several telemetries, by one of them.
#[inline]
pub(crate) fn unit_at_work() -> Option<UnitRef> {
    let unit = with(|all| Some(all.states.first_mut()?.at_work(IfOver::Nothing)?.unit));
    unit.flatten()
}

/// The number of the calling thread, which no other has or had; 0 if it has none, as it is ending or was never told of
/// any span.
#[inline]
pub(crate) fn number() -> u64 {
    NUMBER.try_with(Cell::get).unwrap_or(0)
}

/// [`RANDOM_BITS`] of a random number.
pub(crate) fn random() -> u64 {
    with(ThisThread::random).unwrap_or(0)
}

impl ThisThread {
    /// [`RANDOM_BITS`] of xorshift, seeded by the thread's number, which differs.
    #[inline]
    fn random(&mut self) -> u64 {
        if self.random == 0 {
            self.random = known_number().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        }
        let mut random = self.random;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random = random;
        // Its low bits are the weaker ones.
        random >> (u64::BITS - RANDOM_BITS)
    }
}

/// The number of the calling thread, which has one from here on.
#[inline]
fn known_number() -> u64 {
    match number() {
        0 => next_thread(),
        known => known,
    }
}

#[cold]
fn next_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Relaxed) + 1;
    // It has no destructor, and is there for as long as the thread.
    let _ = NUMBER.try_with(|own| own.set(number));
    number
}
