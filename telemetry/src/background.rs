//! The one background thread: it writes out what came in, and sleeps without a timer while
//! nothing does.
//!
//! ```text
//!            first unit since the last flush             flush_every is over,
//!            or flush()                                  or flush(), or shutdown()
//!   ASLEEP ───────────────────────────────► COLLECTING ───────────────────────► FLUSHING
//!      ▲                                                                            │
//!      └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! So a service at work wakes the thread twice per interval, an idle one never.

use crate::core::Core;
use crate::export::Exporter;
use crate::frames;
use crate::incidents::Watch;
use crate::ledger::Stream;
use crate::output::{OutputLimit, Writer};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// No store stays in a core's buffer for anywhere near this long.
const STORES_ARE_VISIBLE: Duration = Duration::from_micros(50);

/// How others talk to the thread.
pub(crate) struct Background {
    thread: OnceLock<Thread>,
    /// The process that the thread is in.
    process: u32,
    /// Something came in since the last flush.
    dirty: AtomicBool,
    /// Flushes asked for, in all.
    asked: AtomicU64,
    stop: AtomicBool,
    progress: Mutex<Progress>,
    progressed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// Flushes asked for that are done.
    flushed: u64,
    stopped: bool,
}

impl Background {
    pub(crate) fn new() -> Self {
        Background {
            thread: OnceLock::new(),
            process: std::process::id(),
            dirty: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            progress: Mutex::default(),
            progressed: Condvar::new(),
        }
    }

    /// Starts the thread.
    pub(crate) fn start(
        core: &Arc<Core>,
        exporters: Vec<Box<dyn Exporter>>,
        flush_every: Duration,
        output: OutputLimit,
        watches: Vec<Watch>,
    ) -> io::Result<()> {
        let worker = Worker {
            writer: Writer::new(output, flush_every, core.clock.now()),
            core: Arc::clone(core),
            exporters,
            flush_every,
            told: Stream::default(),
            watches,
        };
        let handle = thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || worker.run())?;
        let _ = core.background.thread.set(handle.thread().clone());
        Ok(())
    }

    /// Called for every unit: one relaxed load, and a wake-up for the first since a flush.
    #[inline]
    pub(crate) fn something_happened(&self) {
        if !self.dirty.load(Relaxed) && !self.dirty.swap(true, AcqRel) {
            self.wake();
        }
    }

    /// The thread, to be woken.
    #[cfg(all(feature = "signal", target_os = "linux"))]
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.thread.get().cloned()
    }

    /// Whether this process was forked from the one that started the thread: it has none then.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// Has everything written out; false if that took longer than `within`.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let mine = self.asked.fetch_add(1, AcqRel) + 1;
        self.wake();
        self.wait(within, |progress| {
            progress.flushed >= mine || progress.stopped
        })
    }

    /// Has everything written out, and does not wait for it.
    pub(crate) fn flush_soon(&self) {
        self.asked.fetch_add(1, AcqRel);
        self.wake();
    }

    /// Has everything written out and ends the thread; false if that took longer than `within`.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        self.stop.store(true, Release);
        self.wake();
        self.wait(within, |progress| progress.stopped)
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Whether the thread has ended, and reads nothing any more.
    pub(crate) fn has_stopped(&self) -> bool {
        let progress = self.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner).stopped
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn wait(&self, within: Duration, done: impl Fn(&Progress) -> bool) -> bool {
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

    fn report(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
        self.progressed.notify_all();
    }
}

struct Worker {
    core: Arc<Core>,
    exporters: Vec<Box<dyn Exporter>>,
    flush_every: Duration,
    writer: Writer,
    /// The ledger's account of units as it was last written.
    told: Stream,
    /// What starts incidents by itself.
    watches: Vec<Watch>,
}

impl Worker {
    fn run(mut self) {
        frames::be_silent();
        alloc_tracker::raw::be_a_tools_own();
        // However this thread ends, nobody waits for it any more.
        let _stopped = ReportStopped(Arc::clone(&self.core));
        let mut flushed = 0;
        loop {
            let background = &self.core.background;
            while !self.is_called(flushed) && !background.dirty.load(Acquire) {
                self.sleep(None);
            }
            // An interval past the end of time is none.
            let deadline = Instant::now().checked_add(self.flush_every);
            while !self.is_called(flushed) {
                match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                    Some(Duration::ZERO) => break,
                    left => self.sleep(left),
                }
            }
            // In this order: whoever asks or adds something from here on is in the next round.
            let stop = background.stop.load(Acquire);
            let asked = background.asked.load(Acquire);
            background.dirty.store(false, SeqCst);
            // PERF: a thread that adds a unit stores it and then looks at `dirty`, without the
            // fence (8 ns a unit) that would keep the two in order for us. We wait instead, far
            // longer than a store takes to become visible: a unit whose thread still saw `dirty`
            // set is then in this round.
            thread::sleep(STORES_ARE_VISIBLE);
            self.core.attend_incidents(stop);
            self.flush(stop);
            flushed = asked;
            if stop {
                self.drop_exporters();
                return;
            }
            let report = |progress: &mut Progress| progress.flushed = flushed;
            self.core.background.report(report);
        }
    }

    /// Sleeps so long, or until woken or until an incident wants to be looked at.
    fn sleep(&self, left: Option<Duration>) {
        let core = &self.core;
        // Before, too: what wakes the thread may have been taken by an exporter that parks.
        #[cfg(all(feature = "signal", target_os = "linux"))]
        core.answer_signals();
        let due = (core.incidents.due())
            .map(|due| Duration::from_nanos(due.saturating_sub(core.clock.now())));
        match left.into_iter().chain(due).min() {
            None => thread::park(),
            Some(left) => thread::park_timeout(left),
        }
        #[cfg(all(feature = "signal", target_os = "linux"))]
        core.answer_signals();
        if core.attend_incidents(false) {
            core.background.flush_soon();
        }
    }

    /// An exporter may have something to write when it is dropped: before the end is reported.
    fn drop_exporters(&mut self) {
        for exporter in self.exporters.drain(..) {
            if catch_unwind(AssertUnwindSafe(|| drop(exporter))).is_err() {
                self.core.counters.records_dropped(0, "exporter_panicked");
            }
        }
    }

    fn is_called(&self, flushed: u64) -> bool {
        let background = &self.core.background;
        background.stop.load(Acquire) || background.asked.load(Acquire) != flushed
    }

    fn flush(&mut self, last: bool) {
        let core = &self.core;
        core.counters.note_own_cpu();
        let interval = core.end_interval(!self.watches.is_empty());
        let units = interval
            .as_ref()
            .map_or(&[][..], |interval| &interval.units);
        if !last {
            core.pull_triggers(&mut self.watches, units);
        }
        if self.exporters.is_empty() {
            core.close_incidents();
            core.incidents.take_records();
            return;
        }
        let mut records = self.writer.records(core, interval, last);
        let units = core.ledger_so_far().units;
        if records.is_empty() && !last && units == self.told {
            return;
        }
        self.told = units;
        records.push(self.writer.ledger(core));
        let mut is_written = false;
        for exporter in &mut self.exporters {
            // An exporter is the user's code: its panic is counted, and ends nothing.
            let result = catch_unwind(AssertUnwindSafe(|| exporter.export(&records)));
            let counters = &self.core.counters;
            let count = records.len() as u64;
            match result {
                Ok(Ok(bytes)) => {
                    is_written = true;
                    counters.records_written(count, bytes);
                }
                Ok(Err(error)) => {
                    counters.records_dropped(count, &format!("write_failed: {}", error.kind()));
                }
                Err(_) => counters.records_dropped(count, "exporter_panicked"),
            }
        }
        if !is_written {
            self.writer.nothing_was_written(&self.core);
        }
        self.core.counters.note_own_cpu();
    }
}

/// Says that the thread has ended, when dropped.
struct ReportStopped(Arc<Core>);

impl Drop for ReportStopped {
    fn drop(&mut self) {
        self.0.abandon_incidents();
        self.0.background.report(|progress| progress.stopped = true);
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}
