//! Where memory is allocated, by whom, and what is still held: a heap profile by sampling.
//!
//! About every few bytes one allocation is a sample: its call stack is walked, and the block is
//! remembered until it is freed. From the samples follow unbiased estimates of what was allocated and
//! what is in use, by call stack and by unit of work. It works over any inner allocator, and is
//! started, stopped and given another rate while the program runs.
//!
//! ```
//! # #[global_allocator]
//! # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
//! use alloc_tracker::profiler::{self, Config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = profiler::start(Config::default().mean_bytes(4096))?;
//! let held: Vec<Vec<u8>> = (0..1000).map(|_| vec![0; 1000]).collect();
//! session.stop();
//!
//! let profile = profiler::snapshot();
//! let in_use = profile.estimate().inuse_bytes;
//! println!("{:.0} bytes in use, give or take {:.0}", in_use.value, in_use.standard_error);
//! # assert!((in_use.value - 1e6).abs() < 8.0 * in_use.standard_error);
//! profile.write_pprof(std::io::sink())?; // or a file, for `go tool pprof`
//! # drop(held);
//! # Ok(())
//! # }
//! ```
//!
//! # Cost
//!
//! * Compiled in and never started, or stopped: one instruction more for each free than the counters
//!   take.
//! * Running: the same. A sample costs some 150 ns by frame pointers, 3 to 4 µs without.
//! * A live sample begins at a page, by which its free is known from others: a block of the inner
//!   allocator's, aligned so, which leaves up to a page beside it free for other blocks. C code may do with
//!   it what it may do with other blocks of that allocator; see [`Config::slots`] for another way.
//! * 32 bytes for each live sample in a table that is at least a quarter full, and 64 bytes and 8 for each
//!   frame for each different stack; all of it bounded ([`Info::bytes`], [`Info::slot_bytes`]) and kept
//!   for the life of the process.
//!
//! # Limits
//!
//! * What is allocated while the profiler is stopped is unknown to it, and so is its free.
//! * Stacks have at most 128 frames, at most 32,768 are kept apart, and [`Config::max_live`] samples
//!   are live at once; what did not fit is counted in [`Profile::info`], and the sums stay right.
//! * A sampled block that is resized may be copied where it would have stayed: not a large one that the
//!   inner allocator maps 0 or 16 bytes after a page's begin, as the C library, mimalloc and the system
//!   do.
//! * What C code frees is not seen: it counts as in use until its memory is used again
//!   ([`Info::freed_elsewhere`]).

mod difference;
mod figures;
mod flames;
mod formats;

mod pprof;
mod profile;
mod readable;
mod start;

pub use difference::{Difference, Growth};
pub use figures::{Estimate, Estimated, Figure};
pub use formats::ProfileError;
pub use profile::{Info, Profile, Sample, Unwinding};
pub use readable::{fold_crate, folded_crates};

use crate::engine;
use crate::engine::profile as hooks;
use crate::fork::{Guard, Lock};
use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Bytes between two samples, at the mean, unless [`Config::mean_bytes`] says otherwise.
pub const DEFAULT_MEAN_BYTES: u64 = 512 * 1024;

/// The largest mean that is taken: 1 TiB.
pub const MAX_MEAN_BYTES: u64 = 1 << 40;

/// How to sample.
///
/// ```
/// use alloc_tracker::profiler::Config;
/// use std::time::Duration;
///
/// let config = Config::default()
///     .mean_bytes(64 * 1024) // a quiet service
///     .max_live(100_000)
///     .stop_after(Duration::from_secs(600));
/// # let _ = config.slots(false).seed(1);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration is for `start`"]
pub struct Config {
    mean_bytes: u64,
    max_live: usize,
    slots: bool,
    stop_after: Option<Duration>,
    seed: Option<u64>,
}

impl Default for Config {
    /// A sample every 512 KiB, of which a million may be live.
    fn default() -> Self {
        Config {
            mean_bytes: DEFAULT_MEAN_BYTES,
            max_live: 1 << 20,
            slots: false,
            stop_after: None,
            seed: None,
        }
    }
}

impl Config {
    /// Bytes between two samples, at the mean: 1 to [`MAX_MEAN_BYTES`]. 1 samples everything.
    pub fn mean_bytes(mut self, mean: u64) -> Self {
        self.mean_bytes = mean;
        self
    }

    /// Samples that may be live at once; a million by default, at most 16 million. What comes while there are as many is in
    /// the sums of what was allocated, but not of what is in use, and is counted
    /// ([`Info::not_kept_live`]).
    pub fn max_live(mut self, max: usize) -> Self {
        self.max_live = max;
        self
    }

    /// Has samples lie in memory of the profiler's own, instead of in blocks that the inner allocator
    /// gave for them. Default: no.
    ///
    /// A sample then costs the inner allocator nothing but, now and then, a large block. But C code must
    /// not touch a block that may be a sample with functions of the C library: `malloc_usable_size` says
    /// nonsense of it, and `free` aborts, while the profiler runs and as long as samples live on after.
    pub fn slots(mut self, slots: bool) -> Self {
        self.slots = slots;
        self
    }

    /// Ends the sampling after so long, by the monotonic clock, even if nobody is there to stop the
    /// session any more. See [`set_stop_after`].
    pub fn stop_after(mut self, time: Duration) -> Self {
        self.stop_after = Some(time);
        self
    }

    /// Makes the draws of the calling thread, and of threads that have not allocated since the process
    /// started, repeatable: for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

/// Why the profiler did not start, or its rate did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The process's global allocator is not an [`AllocTracker`](crate::AllocTracker).
    NotInstalled,
    /// A session is running.
    AlreadyRunning,
    /// No session is running.
    NotRunning,
    /// The mean is 0, or above [`MAX_MEAN_BYTES`].
    MeanOutOfRange(u64),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotInstalled => f.write_str(
                "the heap profiler needs the tracker as global allocator: add `#[global_allocator] \
                 static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();`",
            ),
            StartError::AlreadyRunning => f.write_str(
                "the heap profiler is running already: change its rate with `set_mean_bytes`, or stop \
                 that session first",
            ),
            StartError::NotRunning => {
                f.write_str("the heap profiler is not running: start it with `profiler::start`")
            }
            StartError::MeanOutOfRange(mean) => write!(
                f,
                "a mean of {mean} bytes between samples: it must be from 1 to {MAX_MEAN_BYTES}"
            ),
        }
    }
}

impl Error for StartError {}

/// The number of the running session; 0: none.
static RUNNING: Lock<u64> = Lock::new();

fn running() -> Guard<'static, u64> {
    RUNNING.lock()
}

/// The profiler runs until this is stopped or dropped.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::profiler::{self, Config, StartError};
///
/// let session = profiler::start(Config::default())?;
/// assert!(profiler::is_running());
/// assert_eq!(profiler::mean_bytes(), Some(512 * 1024));
/// assert!(matches!(profiler::start(Config::default()), Err(StartError::AlreadyRunning)));
/// session.stop();
/// assert!(!profiler::is_running());
/// # Ok::<(), StartError>(())
/// ```
#[derive(Debug)]
#[must_use = "the profiler stops when the session is dropped"]
pub struct Session {
    number: u64,
}

/// Starts to sample, on all threads.
///
/// What was found in earlier sessions stays in [`snapshot`]: take one before and one after, and ask for
/// the [difference](Profile::since), for what a session has found.
///
/// The calling thread samples from its next allocation on, another from the first after its next free, or
/// within 64 KiB.
///
/// # Errors
///
/// [`StartError`]: a session is running, the tracker is not installed, or the mean is out of range.
pub fn start(config: Config) -> Result<Session, StartError> {
    static LAST: Lock<u64> = Lock::new();
    check(config.mean_bytes)?;
    if !engine::is_installed() {
        return Err(StartError::NotInstalled);
    }
    let mut running = running();
    // One whose time was over may never have been dropped.
    if *running != 0 && is_running() {
        return Err(StartError::AlreadyRunning);
    }
    let mut last = LAST.lock();
    *last += 1;
    *running = *last;
    hooks::stop_after(config.stop_after);
    let seed = config.seed.unwrap_or_else(|| match *last {
        // The standard library's keys are random. Once: threads draw on from where they are.
        1 => RandomState::new().build_hasher().finish(),
        _ => 0,
    });
    hooks::start(
        config.mean_bytes,
        config.max_live,
        config.slots,
        Some(seed).filter(|&seed| seed != 0),
    );
    Ok(Session { number: *last })
}

fn check(mean: u64) -> Result<(), StartError> {
    if (1..=MAX_MEAN_BYTES).contains(&mean) {
        Ok(())
    } else {
        Err(StartError::MeanOutOfRange(mean))
    }
}

impl Session {
    /// Stops to sample. Blocks that were sampled are still followed to their free.
    pub fn stop(self) {}
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut running = running();
        if *running == self.number {
            *running = 0;
            hooks::set_mean(0);
        }
    }
}

/// Whether a session is running.
pub fn is_running() -> bool {
    hooks::mean() > 0
}

/// Bytes between two samples of the running session, at the mean.
pub fn mean_bytes() -> Option<u64> {
    Some(hooks::mean()).filter(|&mean| mean > 0)
}

/// Changes the rate of the running session. No estimate becomes biased by it: every sample has the
/// weight of the rate at which it was drawn.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::profiler::{self, Config};
///
/// let session = profiler::start(Config::default())?;
/// profiler::set_mean_bytes(64 * 1024)?; // eight times as many samples
/// session.stop();
/// # Ok::<(), profiler::StartError>(())
/// ```
///
/// # Errors
///
/// [`StartError`]: no session is running, or the mean is out of range.
pub fn set_mean_bytes(mean: u64) -> Result<(), StartError> {
    check(mean)?;
    let running = running();
    if *running == 0 || !is_running() {
        return Err(StartError::NotRunning);
    }
    hooks::set_mean(mean);
    Ok(())
}

/// The running session's sampling ends so long after this call; `None`: when it is stopped. No sample
/// is drawn from then on, and [`is_running`] says so after the next that would have been.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::profiler::{self, Config};
/// use std::time::Duration;
///
/// let session = profiler::start(Config::default())?;
/// profiler::set_stop_after(Some(Duration::from_secs(60))); // even if nobody stops it
/// # session.stop();
/// # Ok::<(), profiler::StartError>(())
/// ```
pub fn set_stop_after(time: Option<Duration>) {
    hooks::stop_after(time);
}

/// How profiles come about at present, and what it takes: [`Profile::info`] without a profile, in some
/// nanoseconds.
///
/// ```
/// let info = alloc_tracker::profiler::info();
/// println!("{} samples, {} of them live, took {} ns", info.samples, info.live, info.sampling_ns);
/// ```
pub fn info() -> Info {
    Info::now()
}

/// What was found so far, in all sessions of the process.
///
/// Takes no lock that an allocation waits for, and stops no thread: what others allocate and free
/// meanwhile may be in it or not.
///
/// # Cost
///
/// Some 50 ns and 40 bytes for each live sample; names of functions are looked up when the profile is
/// written, not here.
#[must_use = "the profile is lost"]
pub fn snapshot() -> Profile {
    crate::excluded(|| {
        let _busy = hooks::Busy::start();
        Profile::take()
    })
}
