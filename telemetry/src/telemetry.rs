//! The handle.

use crate::incidents::{Incident, IncidentError, IncidentId};
use crate::instance::Instance;
use crate::record::IncidentRecord;
use crate::record::Ledger;
use crate::record::Snapshot;
use crate::thread;
use crate::tool::silence;
use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long [`Telemetry::flush`] may wait for the exporters.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// How long dropping the handle may wait for them.
const DROP_WITHIN: Duration = Duration::from_secs(2);

/// The handle of a running telemetry. The layer counts as long as its subscriber is in use; this
/// handle reads the figures and ends the background thread.
///
/// Dropping it writes out what there is and waits up to two seconds for that.
///
/// # Without a drop
///
/// A handle in a `static` is never dropped, nor is any when `std::process::exit` is called. On Unix the
/// process then writes out what there is as it exits, when `main` returns and when `exit` is called, and
/// waits up to a second for that. An end by a signal, `abort` or `_exit` is no exit: what was
/// [flushed](Telemetry::flush) before is with the exporters, and no more. [`shutdown`](Telemetry::shutdown)
/// alone says whether everything was written.
///
/// ```
/// use std::sync::OnceLock;
/// use telemetry::{Telemetry, export};
/// use tracing_subscriber::prelude::*;
///
/// static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let (layer, telemetry) = Telemetry::builder()
///         .export(export::json_lines(std::io::stdout()))
///         .build()?;
///     tracing_subscriber::registry().with(layer).init();
///     let _ = TELEMETRY.set(telemetry);
///     tracing::info_span!("job").in_scope(|| ());
///     Ok(()) // the record of `job` is written now
/// }
/// ```
///
/// # In a forked child
///
/// The background thread does not survive a fork: build telemetry after daemonising. In a forked child
/// units are counted, but nothing is written; all functions answer at once, and the
/// [ledger](Ledger::forked) says that it is a child. More in `docs/fork.md`.
#[derive(Debug)]
#[must_use = "dropping the handle ends the telemetry"]
pub struct Telemetry {
    instance: Arc<Running>,
}

/// An instance with its handle. A [`Handle`] shares it for no longer than a call.
#[derive(Debug)]
struct Running {
    instance: Arc<Instance>,
    /// The handle was dropped, while others were at a call.
    is_gone: AtomicBool,
}

impl Deref for Running {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl Telemetry {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        Telemetry {
            instance: Arc::new(Running {
                instance,
                is_gone: AtomicBool::new(false),
            }),
        }
    }

    /// A reader that may be cloned and kept anywhere, in the state of a web server say, and that keeps
    /// nothing alive.
    pub fn handle(&self) -> Handle {
        Handle {
            instance: Arc::downgrade(&self.instance),
        }
    }

    /// As [`Handle::thread_starts`].
    pub fn thread_starts(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        self.handle().thread_starts()
    }

    /// What every kind of unit has cost since the start; in a forked child, since the start of its parent,
    /// as far as the parent's threads were not just changing it.
    ///
    /// ```
    /// # let (layer, telemetry) = telemetry::Telemetry::builder().build()?;
    /// println!("{}", telemetry.snapshot()); // a table
    /// # drop(layer);
    /// # Ok::<(), telemetry::BuildError>(())
    /// ```
    ///
    /// # Cost
    ///
    /// Reads the rings of all threads and computes percentiles on the calling thread, some
    /// 10 µs per kind. The application's threads do not wait for it.
    #[must_use = "the figures are lost"]
    pub fn snapshot(&self) -> Snapshot {
        self.instance.snapshot()
    }

    /// What became of everything so far, and what telemetry itself cost.
    ///
    /// ```
    /// # let (layer, telemetry) = telemetry::Telemetry::builder().build()?;
    /// let ledger = telemetry.ledger();
    /// assert_eq!(ledger.units.dropped_total(), 0);
    /// assert_eq!(ledger.panics, 0);
    /// # drop(layer);
    /// # Ok::<(), telemetry::BuildError>(())
    /// ```
    #[must_use = "the figures are lost"]
    pub fn ledger(&self) -> Ledger {
        self.instance.ledger()
    }

    /// Turns detail up for a bounded time, within a scope: see [`Incident`]. It begins before this
    /// returns, and is written at once.
    ///
    /// It ends by itself on the monotonic clock; with [`end_incident`](Telemetry::end_incident) before.
    /// Up to 8 may be in progress, with all their effects together.
    ///
    /// ```
    /// use std::time::Duration;
    /// use telemetry::Incident;
    /// # let (layer, telemetry) = telemetry::Telemetry::builder().build()?;
    ///
    /// let id = telemetry.incident(Incident::for_(Duration::from_secs(60)).unit("checkout"))?;
    /// assert_eq!(telemetry.incidents().len(), 1);
    /// assert!(telemetry.end_incident(id)); // before its time
    /// # drop(layer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`IncidentError`]: it would last no time or too long, its share of the processor is none, as many are
    /// in progress as may be, the heap cannot be profiled, telemetry was shut down, or this is a forked
    /// child.
    pub fn incident(&self, incident: Incident) -> Result<IncidentId, IncidentError> {
        begin(&self.instance, &incident)
    }

    /// Ends an incident before its time; false if it is not in progress. What it found is written by
    /// the background thread: [`flush`](Telemetry::flush) waits for it.
    pub fn end_incident(&self, id: IncidentId) -> bool {
        self.instance.end_incident(id)
    }

    /// The last 8 incidents that ended, with what came of them, and those in progress.
    #[must_use = "the records are lost"]
    pub fn incidents(&self) -> Vec<IncidentRecord> {
        self.instance.incidents.known()
    }

    /// The files of an incident that has ended, by name, as bytes: the pprof profile, the flame graph and the stacks of one
    /// with [`heap`](Incident::heap). Empty while it is in progress, for one without, and when it is forgotten.
    ///
    /// Reads them from the disk: not on a thread that serves.
    #[must_use = "the files are lost"]
    pub fn files(&self, id: IncidentId) -> Vec<(String, Vec<u8>)> {
        files_of(&self.instance, id)
    }

    /// Has what came in so far written out, and waits up to 5 seconds for the exporters. In a
    /// forked child, and in an exporter, it does nothing.
    ///
    /// What an exporter fails to write is counted in the ledger.
    pub fn flush(&self) {
        // An exporter would wait for itself.
        if !silence::is_silent() {
            self.instance.background.flush(FLUSH_WITHIN);
        }
    }

    /// Writes out everything, ends the background thread, and returns the last ledger.
    ///
    /// Units that end afterwards are counted as dropped. Calling it again changes nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (layer, telemetry) = telemetry::Telemetry::builder().build()?;
    ///
    /// telemetry.flush(); // what came in so far
    /// match telemetry.shutdown(Duration::from_secs(5)) {
    ///     Ok(ledger) => println!("{} units were counted", ledger.units.kept),
    ///     Err(error) => eprintln!("{error}; so far: {:?}", error.ledger()),
    /// }
    /// # drop(layer);
    /// # Ok::<(), telemetry::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If an exporter is so slow that it is not finished `within` this time. The thread then ends
    /// by itself once the exporter returns. If something panicked on telemetry's own thread, or in an
    /// exporter that was dropped: what was about to be written then is lost, and everything else was
    /// written. And, at once, in a process that was forked from the one that built the telemetry, and in an
    /// exporter, after which the thread ends.
    pub fn shutdown(&self, within: Duration) -> Result<Ledger, ShutdownError> {
        let in_time = self.stop(within);
        let ledger = self.ledger();
        if in_time && ledger.panics == 0 {
            return Ok(ledger);
        }
        Err(ShutdownError {
            in_time,
            is_own: silence::is_silent(),
            within,
            ledger: Box::new(ledger),
        })
    }
}

impl Telemetry {
    /// False if telemetry's thread has not ended in time. That thread itself does not wait.
    fn stop(&self, within: Duration) -> bool {
        let background = &self.instance.background;
        if silence::is_silent() {
            background.stop_soon();
            return background.has_stopped();
        }
        background.stop(within)
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.instance.is_gone.store(true, Relaxed);
        self.stop(DROP_WITHIN);
    }
}

/// Reads a [`Telemetry`] and starts incidents, for as long as there is one. Made by [`Telemetry::handle`].
///
/// ```
/// use telemetry::Telemetry;
/// use tracing_subscriber::prelude::*;
///
/// let (layer, telemetry) = Telemetry::builder().build()?;
/// let guard = tracing_subscriber::registry().with(layer).set_default();
/// let handle = telemetry.handle();
/// let in_a_handler = std::thread::spawn(move || (handle.snapshot().is_some(), handle));
/// # let in_a_handler = in_a_handler.join();
/// # let Ok((is_there, handle)) = in_a_handler else { panic!() };
/// # assert!(is_there);
/// drop(telemetry);
/// assert!(handle.snapshot().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    instance: Weak<Running>,
}

impl Handle {
    fn running(&self) -> Option<Arc<Running>> {
        // Others may share it at any moment: then it is no longer there all the same.
        let running = self.instance.upgrade();
        running.filter(|running| !running.is_gone.load(Relaxed))
    }

    /// As [`Telemetry::snapshot`]; `None` when the telemetry is gone.
    pub fn snapshot(&self) -> Option<Snapshot> {
        Some(self.running()?.snapshot())
    }

    /// A function for a runtime's builder, to be called on each thread when it starts. It makes what telemetry keeps for a
    /// thread. Otherwise that is made in the first unit on the thread, which waits for it.
    ///
    /// ```
    /// # let (_layer, telemetry) = telemetry::Telemetry::builder().build()?;
    /// let runtime = tokio::runtime::Builder::new_multi_thread()
    ///     .on_thread_start(telemetry.thread_starts())
    ///     .build()?;
    /// # drop(runtime);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// For rayon: `let starts = telemetry.thread_starts();` and `start_handler(move |_| starts())`. Which unit the thread
    /// works for, [`follow`](crate::follow) says. The function does nothing when the telemetry is gone.
    pub fn thread_starts(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let handle = self.clone();
        move || {
            if let Some(running) = handle.running() {
                thread::prepare(&running.instance);
            }
        }
    }

    /// As [`Telemetry::ledger`]; `None` when the telemetry is gone.
    pub fn ledger(&self) -> Option<Ledger> {
        Some(self.running()?.ledger())
    }

    /// As [`Telemetry::incident`].
    ///
    /// # Errors
    ///
    /// As there, and [`IncidentError::NotRunning`] when the telemetry is gone.
    pub fn incident(&self, incident: Incident) -> Result<IncidentId, IncidentError> {
        let instance = self.running().ok_or(IncidentError::NotRunning)?;
        begin(&instance, &incident)
    }

    /// As [`Telemetry::end_incident`]; false when the telemetry is gone.
    pub fn end_incident(&self, id: IncidentId) -> bool {
        self.running()
            .is_some_and(|instance| instance.end_incident(id))
    }

    /// As [`Telemetry::files`]; `None` when the telemetry is gone.
    ///
    /// A route of three lines has them, until there is a page for it:
    ///
    /// ```
    /// # use telemetry::{Handle, IncidentId};
    /// fn profile(telemetry: &Handle, id: IncidentId) -> Option<Vec<u8>> {
    ///     let files = telemetry.files(id)?;
    ///     let pprof = files.into_iter().find(|(name, _)| name.ends_with(".heap.pb.gz"))?;
    ///     Some(pprof.1)
    /// }
    /// # let _ = profile;
    /// ```
    pub fn files(&self, id: IncidentId) -> Option<Vec<(String, Vec<u8>)>> {
        let running = self.running()?;
        Some(files_of(&running, id))
    }

    /// As [`Telemetry::incidents`]; `None` when the telemetry is gone.
    pub fn incidents(&self) -> Option<Vec<IncidentRecord>> {
        Some(self.running()?.incidents.known())
    }
}

/// The files that an incident has written, by their names, as they lie there; one that is gone or cannot be read is left
/// out.
fn files_of(instance: &Instance, id: IncidentId) -> Vec<(String, Vec<u8>)> {
    let records = alloc_tracker::raw::for_a_tool(|| instance.incidents.known());
    let of = |record: &&IncidentRecord| record.id == u64::from(id) && record.end.is_some();
    let heap = records
        .iter()
        .find(of)
        .and_then(|record| record.end.as_ref()?.heap.as_ref());
    let paths: Vec<PathBuf> = heap
        .iter()
        .flat_map(|heap| &heap.files)
        .map(PathBuf::from)
        .collect();
    alloc_tracker::raw::for_a_tool(|| drop(records));
    let read = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some((name, std::fs::read(&path).ok()?))
    };
    paths.into_iter().filter_map(read).collect()
}

fn begin(instance: &Instance, incident: &Incident) -> Result<IncidentId, IncidentError> {
    // What is kept is a copy: the caller's own texts are the program's, to their end.
    alloc_tracker::raw::for_a_tool(|| instance.begin_incident(incident.clone()))
}

/// Not everything was written, or not in time.
#[derive(Debug)]
pub struct ShutdownError {
    in_time: bool,
    /// It was asked for by an exporter, for whose end nobody there can wait.
    is_own: bool,
    within: Duration,
    ledger: Box<Ledger>,
}

impl ShutdownError {
    /// The ledger at the time of giving up.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ledger.forked {
            return f.write_str(
                "telemetry cannot finish: this process was forked from the one that built it, and \
                 threads do not survive a fork; build telemetry after forking",
            );
        }
        if self.is_own && !self.in_time {
            return f.write_str(
                "telemetry was shut down by one of its exporters, and ends when that returns: ask \
                 for its last ledger from another thread",
            );
        }
        if self.in_time {
            let times = match self.ledger.panics {
                1 => "once".to_owned(),
                n => format!("{n} times"),
            };
            return write!(
                f,
                "telemetry's own threads panicked {times}: what they were about to write is missing \
                 from the records, and exporters may not have finished; the panic's message, on \
                 standard error, says where"
            );
        }
        write!(
            f,
            "telemetry did not finish within {:?}: an exporter is slow or blocked, and its last \
             records may be lost; give it more time or look at where it writes to",
            self.within
        )
    }
}

impl Error for ShutdownError {}
