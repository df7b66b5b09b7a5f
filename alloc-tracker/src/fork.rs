//! What the child of a fork needs: to know that it is one, and locks that it need not wait for.
//!
//! A fork copies the memory of a process and one of its threads. A lock that another thread held at that
//! moment is held in the child for ever: its holder is not there to let it go, and what it guards may be
//! half changed. So a [`Lock`] knows in which process its holder is. In a child that finds it held by a
//! thread of the parent it goes on with a second one, which guards a value of its own: what the first
//! one guarded is given up, nobody waits. There are [`PLACES`] of them, for children of children. After
//! those a caller gets a value that is his alone, and gone when he is done.
//!
//! ```text
//!                    fork, while a thread held the first
//!   parent   [held] [    ] [    ] [    ]
//!   child    [dead] [used] [    ] [    ]
//! ```
//!
//! Forks are seen by `pthread_atfork`. Of one that goes round it (`_Fork`, a bare `clone`) nothing is
//! known here; a child of that kind may call what a signal handler may, and no more.

use crate::engine::Excluded;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

/// Of the process that no fork that we saw has made.
const FIRST: u32 = 1;
static GENERATION: AtomicU32 = AtomicU32::new(FIRST);

/// Which process of a line of forks this is: every child has another number than its parent.
///
/// # Cost
///
/// Two loads.
#[inline]
pub fn generation() -> u32 {
    platform::watch();
    GENERATION.load(Relaxed)
}

/// Whether this process is a child of one that had called [`generation`].
pub fn is_child() -> bool {
    generation() != FIRST
}

/// Values that one lock has for a line of forks.
const PLACES: usize = 4;

/// A mutex that the child of a fork need not wait for: where a thread of the parent holds it, the child has
/// another value.
///
/// A panic while it is held does not poison it.
#[derive(Debug)]
pub struct Lock<T> {
    places: [Guarded<T>; PLACES],
}

impl<T: Default> Lock<T> {
    /// Guards a default value, which is made when it is first asked for.
    pub const fn new() -> Self {
        Lock {
            places: [const { Guarded::new() }; PLACES],
        }
    }

    /// Waits for the other threads of this process, and for those of no other.
    pub fn lock(&self) -> Guard<'_, T> {
        let generation = generation();
        let mut places = self.places.iter();
        let held = places.find_map(|place| place.lock(generation));
        Guard::new(held, places.len() == PLACES - 1)
    }

    /// `None` if another thread has it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let generation = generation();
        for (number, place) in self.places.iter().enumerate() {
            match place.try_lock(generation, 1) {
                Tried::Held(held) => return Some(Guard::new(Some(held), number == 0)),
                Tried::Busy => return None,
                Tried::Dead => {}
            }
        }
        Some(Guard::new(None, false))
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// One mutex of a [`Lock`].
#[derive(Debug)]
struct Guarded<T> {
    value: Mutex<Option<T>>,
    /// The generation of the process whose thread holds it; 0: nobody does, or he has not said so yet.
    holder: AtomicU32,
}

enum Tried<'a, T> {
    Held(HeldGuard<'a, T>),
    /// A thread of this process has it.
    Busy,
    /// A thread has it that is not in this process.
    Dead,
}

/// Between taking a mutex and saying so, or the reverse, are a few instructions. A child that finds it
/// held by nobody looks again so often, and then takes it that the holder was between the two.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// The holder of what was given up on.
const GIVEN_UP: u32 = u32::MAX;

impl<T: Default> Guarded<T> {
    const fn new() -> Self {
        Guarded {
            value: Mutex::new(None),
            holder: AtomicU32::new(0),
        }
    }

    /// `None` if it is dead.
    fn lock(&self, generation: u32) -> Option<HeldGuard<'_, T>> {
        match self.try_lock(generation, LOOKS) {
            Tried::Held(held) => Some(held),
            Tried::Dead => None,
            Tried::Busy => {
                let guard = self.value.lock();
                Some(self.held(guard.unwrap_or_else(|p| p.into_inner()), generation))
            }
        }
    }

    /// With one look, a holder who has not said so is taken for one of this process.
    fn try_lock(&self, generation: u32, looks: u32) -> Tried<'_, T> {
        for _ in 0..looks {
            match self.value.try_lock() {
                Ok(guard) => return Tried::Held(self.held(guard, generation)),
                Err(TryLockError::Poisoned(poisoned)) => {
                    return Tried::Held(self.held(poisoned.into_inner(), generation));
                }
                // Nobody but threads of this process was ever there.
                Err(TryLockError::WouldBlock) if generation == FIRST => return Tried::Busy,
                Err(TryLockError::WouldBlock) => {}
            }
            match self.holder.load(Relaxed) {
                0 if looks == 1 => return Tried::Busy,
                0 => thread::sleep(BETWEEN_LOOKS),
                holder if holder == generation => return Tried::Busy,
                _ => return Tried::Dead,
            }
        }
        // Whoever comes next need not look as often. An error: somebody did say so just now.
        let _ = (self.holder).compare_exchange(0, GIVEN_UP, Relaxed, Relaxed);
        Tried::Dead
    }

    fn held<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Option<T>>,
        generation: u32,
    ) -> HeldGuard<'a, T> {
        // Relaxed: it is read by who finds the mutex held, as a hint; the mutex orders the value.
        self.holder.store(generation, Relaxed);
        if guard.is_none() {
            // Not at the expense of who happens to come first.
            let _own = Excluded::start_a_tools();
            *guard = Some(T::default());
        }
        HeldGuard {
            _says_so: SaysSo(&self.holder),
            guard,
        }
    }
}

/// A mutex that this thread holds.
#[derive(Debug)]
struct HeldGuard<'a, T> {
    /// Before the guard: it is dropped first, while the mutex is held.
    _says_so: SaysSo<'a>,
    guard: MutexGuard<'a, Option<T>>,
}

#[derive(Debug)]
struct SaysSo<'a>(&'a AtomicU32);

impl Drop for SaysSo<'_> {
    fn drop(&mut self) {
        self.0.store(0, Relaxed);
    }
}

/// What a [`Lock`] guards, while this lives.
#[derive(Debug)]
pub struct Guard<'a, T> {
    value: Value<'a, T>,
    is_first: bool,
}

#[derive(Debug)]
enum Value<'a, T> {
    Shared(HeldGuard<'a, T>),
    Alone(Box<T>),
}

impl<'a, T: Default> Guard<'a, T> {
    fn new(held: Option<HeldGuard<'a, T>>, is_first: bool) -> Self {
        Guard {
            value: held.map_or_else(
                || {
                    let _own = Excluded::start_a_tools();
                    Value::Alone(Box::default())
                },
                Value::Shared,
            ),
            is_first,
        }
    }
}

impl<T> Guard<'_, T> {
    /// Whether this is what the lock always guarded: in a child it may be a substitute.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Whether others will see what is done to it.
    pub fn is_shared(&self) -> bool {
        matches!(self.value, Value::Shared(_))
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Value::Alone(value) => value,
            Value::Shared(held) => match &*held.guard {
                Some(value) => value,
                None => unreachable!("`Guarded::held` puts one there"),
            },
        }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Value::Alone(value) => value,
            Value::Shared(held) => match &mut *held.guard {
                Some(value) => value,
                None => unreachable!("`Guarded::held` puts one there"),
            },
        }
    }
}

#[cfg(unix)]
mod platform {
    use super::GENERATION;
    use std::sync::atomic::{
        AtomicBool,
        Ordering::{Relaxed, SeqCst},
    };

    static WATCHES: AtomicBool = AtomicBool::new(false);

    /// Has forks counted from here on.
    #[inline]
    pub(super) fn watch() {
        if !WATCHES.load(Relaxed) {
            start();
        }
    }

    #[cold]
    fn start() {
        // SAFETY: the handler has the right signature, lives as long as the code, and does what one may in
        // a child: it adds to an integer. If there is no memory for it, forks are not seen; that is
        // as safe as before.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        // Not before: who sees it takes locks, in a fork of which the child is to know that it is one. Two
        // threads may both register; a fork then counts twice, and numbers need only differ.
        WATCHES.store(true, SeqCst);
    }

    extern "C" fn in_child() {
        // Relaxed: there is one thread.
        GENERATION.fetch_add(1, Relaxed);
    }
}

#[cfg(not(unix))]
mod platform {
    /// Nothing forks here.
    #[inline]
    pub(super) fn watch() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn one_at_a_time_has_it() {
        let lock = Lock::<u64>::new();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 40_000);
        let held = lock.lock();
        assert!(held.is_first() && held.is_shared());
        std::thread::scope(|threads| {
            threads.spawn(|| assert!(lock.try_lock().is_none()));
        });
    }

    #[test]
    fn a_holder_that_has_not_said_so_is_waited_for_or_given_up() {
        let value = Guarded::<u64>::new();
        let held = value.value.lock().unwrap();
        // In a child of a fork: he may be a thread of the parent's, which is not there.
        let child = FIRST + 1;
        assert!(matches!(value.try_lock(child, 1), Tried::Busy));
        assert!(matches!(value.try_lock(child, 2), Tried::Dead));
        // Whoever comes next need not wait.
        assert!(matches!(value.try_lock(child, 1), Tried::Dead));
        // In the first process it can only be one of its own.
        assert!(matches!(value.try_lock(FIRST, 2), Tried::Busy));
        drop(held);
        assert!(matches!(value.try_lock(child, 1), Tried::Held(_)));
    }

    #[test]
    fn a_panic_poisons_nothing() {
        let lock = Lock::<u64>::new();
        let panics = || {
            let mut held = lock.lock();
            *held = 7;
            std::panic::resume_unwind(Box::new(()));
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(*lock.lock(), 7);
    }

    /// Each generation holds the lock when it forks, and its child finds that out.
    #[cfg(unix)]
    #[test]
    fn children_of_children_wait_for_nobody() {
        let lock = Lock::<u64>::new();
        *lock.lock() = 1;
        // As many as there are places, and two more.
        let code = descend(&lock, 0);
        assert_eq!(code, 0);
    }

    #[cfg(unix)]
    fn descend(lock: &Lock<u64>, depth: u32) -> i32 {
        const DEEPEST: u32 = PLACES as u32 + 1;
        let (taken, let_go) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut status = 0;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let _held = lock.lock();
                taken.store(true, Relaxed);
                while !let_go.load(Relaxed) {
                    thread::yield_now();
                }
            });
            while !taken.load(Relaxed) {
                thread::yield_now();
            }
            // SAFETY: the child leaves by `_exit`.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let found = lock.lock();
                let alone = depth + 1 >= PLACES as u32;
                let is_right = *found == 0 && !found.is_first() && found.is_shared() != alone;
                drop(found);
                let code = match (is_right, depth < DEEPEST) {
                    (false, _) => 10 + depth as i32,
                    (true, false) => 0,
                    (true, true) => descend(lock, depth + 1),
                };
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(code) };
            }
            // SAFETY: `status` is a valid place; the child is ours.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            let_go.store(true, Relaxed);
        });
        status >> 8 | status & 0x7f
    }
}
