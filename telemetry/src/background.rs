//! The one background thread: it writes out what came in, and sleeps without a timer while
//! nothing does.
//!
//! ```text
//!            first unit, or work for one, since          flush_every is over,
//!            the last flush, or flush()                  or flush(), or shutdown()
//!   ASLEEP ───────────────────────────────► COLLECTING ───────────────────────► FLUSHING
//!      ▲                                                                            │
//!      └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! So a service at work wakes the thread three times per interval, an idle one never: to begin, to end,
//! and to wait in between until all stores are seen.
//!
//! This is what others see of it; what it does is in [`output`](crate::output).

#[cfg(all(feature = "signal", target_os = "linux"))]
use crate::tool::listening::{Listening, Told};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Tells the thread that something came in. It lasts as long as the program, for those who come when the thread is gone.
#[derive(Debug)]
pub(crate) struct Bell {
    pub(crate) thread: OnceLock<Thread>,
    /// Something came in since the last flush.
    pub(crate) dirty: AtomicBool,
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Bell {
            thread: OnceLock::new(),
            dirty: AtomicBool::new(false),
        }
    }

    /// Called for every unit, and for work for one: a relaxed load, and a wake-up for the first since a
    /// flush.
    #[inline]
    pub(crate) fn something_happened(&self) {
        if !self.dirty.load(Relaxed) {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        if !self.dirty.swap(true, AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// How others talk to the thread.
pub(crate) struct Background {
    pub(crate) bell: &'static Bell,
    /// The process that the thread is in, of a line of forks.
    pub(crate) process: u32,
    /// Flushes asked for, in all.
    pub(crate) asked: AtomicU64,
    pub(crate) stop: AtomicBool,
    /// The thread has ended.
    pub(crate) stopped: AtomicBool,
    pub(crate) progress: Mutex<Progress>,
    pub(crate) progressed: Condvar,
    /// What the thread is told by a signal that ends the process.
    #[cfg(all(feature = "signal", target_os = "linux"))]
    pub(crate) listening: OnceLock<&'static Listening>,
}

#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Flushes asked for that are done, but for exporters with a thread of their own.
    pub(crate) flushed: u64,
    /// The last of these numbers, and how often records were handed to those until then; the latest first.
    recent: VecDeque<(u64, u64)>,
    /// How many of these each of them is through with.
    pub(crate) lanes: Vec<u64>,
    pub(crate) stopped: bool,
}

/// Flushes that are remembered for who asked for them and comes late.
const MOST_RECENT: usize = 8;

impl Progress {
    /// This many flushes asked for are done, with this many deliveries.
    pub(crate) fn note_flush(&mut self, flushed: u64, deliveries: u64) {
        self.flushed = flushed;
        self.recent.truncate(MOST_RECENT - 1);
        self.recent.push_front((flushed, deliveries));
    }

    /// Deliveries until the flush with this number was done, which it is.
    fn deliveries_of(&self, flush: u64) -> u64 {
        let with_it = self
            .recent
            .iter()
            .take_while(|(flushed, _)| *flushed >= flush);
        with_it.last().map_or(0, |(_, deliveries)| *deliveries)
    }
}

impl Background {
    pub(crate) fn new(bell: &'static Bell) -> Self {
        Background {
            bell,
            process: alloc_tracker::raw::generation(),
            asked: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            listening: OnceLock::new(),
        }
    }

    /// See [`Bell::something_happened`].
    #[inline]
    pub(crate) fn something_happened(&self) {
        self.bell.something_happened();
    }

    /// The thread, to be woken.
    #[cfg(all(feature = "signal", target_os = "linux"))]
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.bell.thread.get().cloned()
    }

    /// Whether this process was forked from the one that started the thread: it has none then.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != alloc_tracker::raw::generation()
    }

    /// Has everything written out; false if that took longer than `within`.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let mine = self.asked.fetch_add(1, AcqRel) + 1;
        self.bell.wake();
        let mut delivered = None;
        self.wait(within, |progress| {
            if progress.stopped || progress.flushed < mine {
                return progress.stopped;
            }
            // What is delivered later was asked for by others.
            let delivered = *delivered.get_or_insert_with(|| progress.deliveries_of(mine));
            progress.lanes.iter().all(|done| *done >= delivered)
        })
    }

    /// Has everything written out, and does not wait for it.
    pub(crate) fn flush_soon(&self) {
        self.asked.fetch_add(1, AcqRel);
        self.bell.wake();
    }

    /// Has everything written out and ends the thread; false if that took longer than `within`.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        self.stop_soon();
        self.wait(within, |progress| progress.stopped)
    }

    /// Has everything written out and ends the thread, and does not wait for it.
    pub(crate) fn stop_soon(&self) {
        self.stop.store(true, Release);
        self.bell.wake();
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Whether a signal has told it to end: nobody waits for it so far.
    pub(crate) fn ends_by_a_signal(&self) -> bool {
        #[cfg(all(feature = "signal", target_os = "linux"))]
        let told = self
            .listening
            .get()
            .is_some_and(|of| of.take() == Told::End);
        #[cfg(not(all(feature = "signal", target_os = "linux")))]
        let told = false;
        told
    }

    /// Whether the thread has ended, and reads nothing any more.
    pub(crate) fn has_stopped(&self) -> bool {
        // Acquire what the thread did before.
        self.stopped.load(Acquire)
    }

    fn wait(&self, within: Duration, mut done: impl FnMut(&Progress) -> bool) -> bool {
        if self.is_forked() {
            return false;
        }
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let (progress, _) = self
            .progressed
            .wait_timeout_while(progress, within, |progress| !done(progress))
            .unwrap_or_else(PoisonError::into_inner);
        done(&progress)
    }

    pub(crate) fn report(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
        self.progressed.notify_all();
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_over_with_the_deliveries_up_to_it() {
        let mut progress = Progress::default();
        assert_eq!((progress.flushed, progress.deliveries_of(1)), (0, 0));
        for (flushed, deliveries) in [(1, 4), (2, 4), (5, 9)] {
            progress.note_flush(flushed, deliveries);
            assert_eq!(progress.flushed, flushed);
        }
        let deliveries = [1, 2, 3, 5, 6].map(|flush| progress.deliveries_of(flush));
        assert_eq!(deliveries, [4, 4, 9, 9, 0]);
    }

    #[test]
    fn who_comes_late_waits_for_the_oldest_that_is_known() {
        let mut progress = Progress::default();
        for flush in 1..=20 {
            progress.note_flush(flush, 10 * flush);
        }
        let oldest = 20 - MOST_RECENT as u64 + 1;
        assert_eq!(progress.deliveries_of(1), 10 * oldest);
        assert_eq!(progress.deliveries_of(oldest + 1), 10 * (oldest + 1));
        assert_eq!(progress.recent.len(), MOST_RECENT);
    }
}
