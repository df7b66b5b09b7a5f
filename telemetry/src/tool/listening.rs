//! A thread that a signal's handler tells something.

use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use std::thread::Thread;

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    /// To write out what there is.
    Flush,
    /// To write it out and end, as the process does.
    End,
}

const ALL: [Told; 3] = [Told::Nothing, Told::Flush, Told::End];

/// One of the threads that listen. It stays for good: a handler may be looking at it.
#[derive(Debug)]
pub(crate) struct Listening {
    thread: Thread,
    /// The process that it is in, of a line of forks.
    pub(crate) process: i32,
    told: AtomicU8,
    is_over: AtomicBool,
    next: Option<&'static Listening>,
}

/// All of them, the last that came first. A handler may read it.
#[derive(Debug)]
pub(crate) struct Listeners {
    first: AtomicPtr<Listening>,
}

impl Listeners {
    pub(crate) const fn new() -> Self {
        Listeners {
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds a thread. One at a time: the caller holds a lock.
    pub(crate) fn add(&self, thread: Thread, process: i32) -> &'static Listening {
        let listening: &'static Listening = Box::leak(Box::new(Listening {
            thread,
            process,
            told: AtomicU8::new(Told::Nothing as u8),
            is_over: AtomicBool::new(false),
            next: self.first(),
        }));
        // Release what is in it to whoever finds it.
        let first = ptr::from_ref(listening).cast_mut();
        self.first.store(first, Release);
        listening
    }

    #[allow(unsafe_code)]
    fn first(&self) -> Option<&'static Listening> {
        // SAFETY: null, or what was leaked by `add` and is only ever shared.
        unsafe { self.first.load(Acquire).as_ref() }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Listening> {
        std::iter::successors(self.first(), |one| one.next)
    }
}

impl Listening {
    /// Tells it, and wakes it. A handler may call it: it is an exchange, and `unpark`, a swap and a futex call.
    pub(crate) fn tell(&self, what: Told) {
        self.told.fetch_max(what as u8, AcqRel);
        self.thread.unpark();
    }

    /// What it was told. Of an end it is told for good.
    pub(crate) fn take(&self) -> Told {
        let told = ALL[usize::from(self.told.load(Acquire)).min(ALL.len() - 1)];
        if told == Told::Flush {
            let (flush, nothing) = (Told::Flush as u8, Told::Nothing as u8);
            // Or it was told of the end meanwhile, and hears of that next.
            let _ = self.told.compare_exchange(flush, nothing, AcqRel, Relaxed);
        }
        told
    }

    /// The thread has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    pub(crate) fn set_over(&self) {
        self.is_over.store(true, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_stays_and_a_flush_is_told_once() {
        static LISTENERS: Listeners = Listeners::new();
        let [first, second] = [(); 2].map(|()| LISTENERS.add(std::thread::current(), 1));
        assert_eq!(LISTENERS.all().count(), 2);
        assert_eq!(first.take(), Told::Nothing);
        first.tell(Told::Flush);
        assert_eq!([first.take(), first.take()], [Told::Flush, Told::Nothing]);
        second.tell(Told::End);
        second.tell(Told::Flush);
        assert_eq!([second.take(), second.take()], [Told::End, Told::End]);
        first.set_over();
        let over: Vec<_> = LISTENERS.all().map(Listening::is_over).collect();
        assert_eq!(over, [false, true]);
    }
}
