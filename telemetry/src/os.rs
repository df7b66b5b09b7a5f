//! What only the operating system knows of a thread: its CPU time, context switches, input and
//! output. Asking takes a microsecond, so it is asked for a sample of the units. And its coarse
//! clock.
//!
//! Asking is itself work of the thread. Of all questions only the halves of two readings of the CPU
//! clock lie between the two that are compared:
//!
//! ```text
//!   input and output, switches, CPU clock ──── the unit's work ──── CPU clock, switches, input and output
//!                               └────────── what is counted ──────────┘
//! ```
//!
//! Together they take what one reading does. That is [measured](calibrate) when an instance is built, and
//! subtracted each time.

pub(crate) use platform::{name_of_thread, process_cpu, tick, ticks};

use crate::cost::{Metric, Source};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a thread has used since it started, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SystemCosts {
    /// Nanoseconds on a processor.
    pub(crate) cpu: u64,
    /// Context switches because the thread waited for something.
    pub(crate) voluntary: u64,
    /// Context switches because another thread's turn came.
    pub(crate) involuntary: u64,
    /// What files, pipes and sockets were read and written; `None` if it was not asked for.
    pub(crate) io: Option<Io>,
}

/// Calls of `read`, `write` and their kin, and the bytes that they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Io {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

/// Which units are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampling {
    /// One in this many; 0: none.
    every: u32,
    /// A random number below this is drawn for one in this many.
    ///
    /// PERF: compared at every unit, where a remainder would be a division.
    below: u64,
}

/// Bits of the random numbers.
pub(crate) const RANDOM_BITS: u32 = 56;

/// Input and output takes a multiple of the rest to ask for: of one in this many of the sample.
const IO_EVERY: u32 = 8;

/// What is asked about a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    No,
    Use,
    UseAndIo,
}

impl Sampling {
    /// `None` if it is no probability.
    pub(crate) fn new(probability: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&probability) {
            return None;
        }
        let every = if probability == 0.0 {
            0.0
        } else {
            (1.0 / probability).round()
        };
        let every = every as u32;
        let below = (1u64 << RANDOM_BITS).checked_div(u64::from(every));
        Some(Sampling {
            every,
            below: below.unwrap_or(0),
        })
    }

    /// Decides, with a random number of [`RANDOM_BITS`], before the unit starts.
    #[inline]
    pub(crate) fn decide(self, random: u64) -> Sampled {
        if random >= self.below {
            Sampled::No
        } else if random % self.io_of_sample() == 0 {
            // The low bits, on which being below a bound does not depend.
            Sampled::UseAndIo
        } else {
            Sampled::Use
        }
    }

    /// Whether no unit is sampled.
    pub(crate) fn is_off(self) -> bool {
        self.every == 0
    }

    /// Of how many units a sampled one is an example.
    pub(crate) fn weight(self) -> u64 {
        u64::from(self.every)
    }

    /// Of how many units one that has the figure is an example.
    pub(crate) fn weight_of(self, metric: Metric) -> u64 {
        match metric.source() {
            Source::Ended | Source::Added | Source::Tracked | Source::Woken => 1,
            Source::Asked => self.weight(),
            Source::AskedForIo => self.io_weight(),
        }
    }

    /// The same for input and output.
    pub(crate) fn io_weight(self) -> u64 {
        self.weight() * self.io_of_sample()
    }

    fn io_of_sample(self) -> u64 {
        // Who wants every unit wants all of it.
        if self.every == 1 {
            1
        } else {
            u64::from(IO_EVERY)
        }
    }
}

/// The start of a thread's work for a sampled unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    costs: SystemCosts,
    /// Bytes of the answer about input and output: the next one has them, too.
    answer: u64,
}

impl Started {
    /// `None` if the unit is not sampled, or the platform cannot tell.
    #[inline]
    pub(crate) fn now(sampled: Sampled) -> Option<Started> {
        if sampled == Sampled::No {
            return None;
        }
        Self::ask(sampled)
    }

    #[cold]
    fn ask(sampled: Sampled) -> Option<Started> {
        let io = (sampled == Sampled::UseAndIo).then(platform::io).flatten();
        let answer = io.map_or(0, |(_, answer)| answer);
        let (voluntary, involuntary) = platform::switches()?;
        let costs = SystemCosts {
            voluntary,
            involuntary,
            io: io.map(|(io, _)| io),
            // Last: asking for the others is not part of what is measured.
            cpu: platform::cpu()?,
        };
        Some(Started { costs, answer })
    }

    /// What the thread has used since.
    #[cold]
    pub(crate) fn elapsed(self) -> Option<SystemCosts> {
        // First, as above.
        let cpu = platform::cpu()?;
        let (voluntary, involuntary) = platform::switches()?;
        let before = self.costs;
        let io = self.costs.io.and_then(|before| {
            let (now, _) = platform::io()?;
            // The question before is in the answer now, as one call and as long as it was.
            Some(Io {
                calls: now.calls.saturating_sub(before.calls + 1),
                bytes: now.bytes.saturating_sub(before.bytes + self.answer),
            })
        });
        let own = CPU_READING.load(Relaxed);
        Some(SystemCosts {
            cpu: cpu.saturating_sub(before.cpu).saturating_sub(own),
            voluntary: voluntary.saturating_sub(before.voluntary),
            involuntary: involuntary.saturating_sub(before.involuntary),
            io,
        })
    }
}

/// What a reading of the CPU clock takes, by that clock, in nanoseconds.
static CPU_READING: AtomicU64 = AtomicU64::new(0);

/// Measures what a reading of the CPU clock takes: the median of some, in a tenth of a millisecond.
/// `None` if there is no such clock.
pub(crate) fn calibrate() -> Option<u64> {
    let mut readings = [0; 65];
    let mut last = platform::cpu()?;
    for reading in &mut readings {
        let now = platform::cpu()?;
        *reading = now.saturating_sub(last);
        last = now;
    }
    readings.sort_unstable();
    let median = readings[readings.len() / 2];
    CPU_READING.store(median, Relaxed);
    Some(median)
}

/// Nanoseconds that the thread was on a processor for some work; `None` if there is no such clock.
pub(crate) fn cpu_of<T>(work: impl FnOnce() -> T) -> (T, Option<u64>) {
    let before = platform::cpu();
    let done = work();
    let ended = before.and_then(|before| platform::cpu()?.checked_sub(before));
    let reading = CPU_READING.load(Relaxed);
    (done, ended.map(|took| took.saturating_sub(reading)))
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // system calls that fill a structure
mod platform {
    use super::Io;
    use std::fs::File;
    use std::io::Read;

    /// Nanoseconds of the thread on a processor.
    pub(super) fn cpu() -> Option<u64> {
        read_clock(libc::CLOCK_THREAD_CPUTIME_ID, libc::clock_gettime)
    }

    /// Nanoseconds of all the process's threads on processors.
    pub(crate) fn process_cpu() -> Option<u64> {
        read_clock(libc::CLOCK_PROCESS_CPUTIME_ID, libc::clock_gettime)
    }

    /// The name of the process's thread with this number, if it is there.
    pub(crate) fn name_of_thread(number: u32) -> Option<String> {
        let name = std::fs::read_to_string(format!("/proc/self/task/{number}/comm")).ok()?;
        Some(name.trim_end_matches('\n').to_owned())
    }

    /// Context switches of the thread, voluntary and involuntary.
    pub(super) fn switches() -> Option<(u64, u64)> {
        // SAFETY: a structure of integers, for which all zero is valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a valid place for the answer.
        if unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) } != 0 {
            return None;
        }
        Some((usage.ru_nvcsw as u64, usage.ru_nivcsw as u64))
    }

    /// Nanoseconds of a clock that moves with the kernel's ticks: its reading is a load from memory.
    #[inline]
    pub(crate) fn ticks() -> Option<u64> {
        read_clock(libc::CLOCK_MONOTONIC_COARSE, libc::clock_gettime)
    }

    /// Nanoseconds from tick to tick.
    pub(crate) fn tick() -> Option<u64> {
        read_clock(libc::CLOCK_MONOTONIC_COARSE, libc::clock_getres)
    }

    #[inline]
    fn read_clock(
        clock: libc::clockid_t,
        read: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int,
    ) -> Option<u64> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a valid place for the answer, which is all that both functions ask for.
        let failed = unsafe { read(clock, &mut time) } != 0;
        (!failed).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// And how many bytes the answer had. `None` where the kernel does not say, or not to us.
    pub(super) fn io() -> Option<(Io, u64)> {
        let mut text = [0u8; 512];
        // No heap: a path this short is copied to the stack.
        let mut file = File::open("/proc/thread-self/io").ok()?;
        let len = file.read(&mut text).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        let figure = |name: &str| -> Option<u64> {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let io = Io {
            calls: figure("syscr:")? + figure("syscw:")?,
            bytes: figure("rchar:")? + figure("wchar:")?,
        };
        Some((io, len as u64))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::Io;

    pub(super) fn cpu() -> Option<u64> {
        None
    }

    pub(crate) fn process_cpu() -> Option<u64> {
        None
    }

    pub(crate) fn name_of_thread(_: u32) -> Option<String> {
        None
    }

    pub(super) fn switches() -> Option<(u64, u64)> {
        None
    }

    pub(super) fn io() -> Option<(Io, u64)> {
        None
    }

    pub(crate) fn ticks() -> Option<u64> {
        None
    }

    pub(crate) fn tick() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_decided_for() {
        let sampling = Sampling::new(1.0 / 64.0).unwrap();
        let (mut sampled, mut io) = (0u64, 0u64);
        let mut random = 1u64;
        for _ in 0..1_000_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match sampling.decide(random >> (u64::BITS - RANDOM_BITS)) {
                Sampled::No => {}
                Sampled::Use => sampled += 1,
                Sampled::UseAndIo => (sampled, io) = (sampled + 1, io + 1),
            }
        }
        // Three standard deviations of a binomial distribution.
        assert!((sampled * sampling.weight()).abs_diff(1_000_000) < 24_000);
        assert!((io * sampling.io_weight()).abs_diff(1_000_000) < 68_000);
    }

    #[test]
    fn none_and_all_can_be_asked_for_and_nonsense_cannot() {
        let decide =
            |p| Sampling::new(p).map(|s| (0..100).map(|r| s.decide(r)).collect::<Vec<_>>());
        assert_eq!(decide(0.0), Some(vec![Sampled::No; 100]));
        assert_eq!(decide(1.0), Some(vec![Sampled::UseAndIo; 100]));
        for nonsense in [-0.1, 1.1, f64::NAN] {
            assert_eq!(decide(nonsense), None);
        }
    }
}
