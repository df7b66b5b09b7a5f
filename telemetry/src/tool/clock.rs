//! The one clock: nanoseconds since the instance was built.
//!
//! Where the kernel itself keeps its time by the processor's counter, that is read directly: a third
//! of the cost of asking the kernel. On x86-64 it is calibrated once per process, which takes a millisecond,
//! on a very busy machine up to 200; a 64-bit Arm processor says how fast its own is. Elsewhere the standard
//! library's clock is used. Counters of
//! different cores may differ by a little, so every difference of two readings must saturate. A test may bring
//! a clock of its own.

use crate::os;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(any(debug_assertions, feature = "settable-clock"))]
pub use settable::SettableClock;

#[derive(Clone, Debug)]
pub(crate) struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Counter(Counter),
    System {
        start: Instant,
    },
    #[cfg(any(debug_assertions, feature = "settable-clock"))]
    Set(SettableClock),
}

/// The processor's counter.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Clone, Debug)]
struct Counter {
    start: u64,
    /// A tick is this many nanoseconds, times 2^32.
    nanos_of_tick: u64,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Counter {
    /// From now on; `None` where the kernel does not trust it, or nobody can tell how fast it is.
    fn new() -> Option<Self> {
        kernel_trusts_the_counter().then(Self::untrusted).flatten()
    }

    /// The same, whatever the kernel thinks of it.
    fn untrusted() -> Option<Self> {
        Some(Counter {
            nanos_of_tick: processor::nanos_of_tick()?,
            start: processor::ticks(),
        })
    }

    #[inline(always)]
    fn elapsed(&self) -> u64 {
        let ticks = processor::ticks().saturating_sub(self.start);
        ((u128::from(ticks) * u128::from(self.nanos_of_tick)) >> 32) as u64
    }
}

#[cfg(target_arch = "x86_64")]
mod processor {
    /// What the kernel calls the counter.
    pub(super) const SOURCE: &str = "tsc";

    pub(super) fn nanos_of_tick() -> Option<u64> {
        // Exact to a billionth: three seconds in a hundred years.
        let nanos = quanta::Clock::new().delta_as_nanos(0, 1 << 40) >> 8;
        // A tick of exactly a nanosecond is that of another clock, which is taken where the processor does not say
        // that the counter is steady, whatever the kernel knows.
        (nanos != 1 << 32).then_some(nanos)
    }

    /// PERF: three instructions; the library that calibrates takes fourteen and a call.
    #[inline(always)]
    #[allow(unsafe_code)] // an instruction of the processor
    pub(super) fn ticks() -> u64 {
        #[allow(unused_unsafe)] // newer compilers know that it is safe
        // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
        unsafe {
            std::arch::x86_64::_rdtsc()
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod processor {
    use std::arch::asm;

    /// What the kernel calls the counter.
    pub(super) const SOURCE: &str = "arch_sys_counter";

    #[allow(unsafe_code)] // a register of the processor
    pub(super) fn nanos_of_tick() -> Option<u64> {
        let ticks_per_second: u64;
        // SAFETY: reads a register, which Linux lets programs read where it keeps its own time by the counter.
        unsafe {
            asm!("mrs {}, cntfrq_el0", out(reg) ticks_per_second, options(nomem, nostack, preserves_flags));
        }
        // Firmware sets it, and may have forgotten to. From a megahertz to ten gigahertz there is a tick for every
        // span, and the product fits.
        let is_known = (1_000_000..=10_000_000_000).contains(&ticks_per_second);
        is_known.then(|| (1_000_000_000 << 32) / ticks_per_second)
    }

    /// No barrier before it: it may be read a few nanoseconds early, as on x86-64.
    #[inline(always)]
    #[allow(unsafe_code)] // a register of the processor
    pub(super) fn ticks() -> u64 {
        let ticks: u64;
        // SAFETY: as above.
        unsafe {
            asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags));
        }
        ticks
    }
}

impl Clock {
    pub(crate) fn new() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if let Some(counter) = Counter::new() {
            return Clock {
                source: Source::Counter(counter),
            };
        }
        Clock::system()
    }

    fn system() -> Self {
        Clock {
            source: Source::System {
                start: Instant::now(),
            },
        }
    }

    /// One that a test sets.
    #[cfg(any(debug_assertions, feature = "settable-clock"))]
    pub(crate) fn set_by(clock: &SettableClock) -> Self {
        Clock {
            source: Source::Set(clock.clone()),
        }
    }

    /// Sleeps until this moment, or until woken; `None`: until woken.
    pub(crate) fn park_until(&self, moment: Option<u64>) {
        let Some(moment) = moment else {
            return thread::park();
        };
        #[cfg(any(debug_assertions, feature = "settable-clock"))]
        if let Source::Set(clock) = &self.source {
            return clock.park_until(moment);
        }
        let left = moment.saturating_sub(self.now());
        if left > 0 {
            thread::park_timeout(Duration::from_nanos(left));
        }
    }

    /// Whether time passes by itself.
    fn runs(&self) -> bool {
        match &self.source {
            #[cfg(any(debug_assertions, feature = "settable-clock"))]
            Source::Set(_) => false,
            _ => true,
        }
    }

    /// Never 0, so that 0 can stand for "never".
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let elapsed = match &self.source {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Source::Counter(counter) => counter.elapsed(),
            Source::System { start } => {
                // PERF: `as_nanos` computes in 128 bits; 64 last for 584 years.
                let elapsed = start.elapsed();
                let seconds = elapsed.as_secs().wrapping_mul(1_000_000_000);
                seconds.wrapping_add(u64::from(elapsed.subsec_nanos()))
            }
            #[cfg(any(debug_assertions, feature = "settable-clock"))]
            Source::Set(clock) => clock.elapsed(),
        };
        elapsed.max(1)
    }
}

/// A clock for rate limits: cheaper to read than [`Clock`], and as coarse as the limits allow. Its
/// readings compare with each other, not with those of the other.
#[derive(Debug)]
pub(crate) struct CoarseClock {
    /// Of the kernel's coarse clock; `None`: the other clock is fine enough, and this one is not.
    start: Option<u64>,
}

impl CoarseClock {
    /// For limits that let one pass in this many nanoseconds.
    pub(crate) fn new(interval: u64, clock: &Clock) -> Self {
        // A tick is a millisecond to ten.
        let is_fine_enough = clock.runs() && os::tick().is_some_and(|tick| interval / 8 >= tick);
        CoarseClock {
            start: is_fine_enough.then(os::ticks).flatten(),
        }
    }

    /// Nanoseconds, never 0.
    #[inline]
    pub(crate) fn now(&self, clock: &Clock) -> u64 {
        let Some(start) = self.start else {
            return clock.now();
        };
        // PERF: half the time of the processor's counter.
        match os::ticks() {
            Some(now) => now.saturating_sub(start).max(1),
            None => 1,
        }
    }
}

/// Whether the kernel keeps its own time by the counter. It stops doing so when it finds that the
/// counters of the cores disagree or change their pace, of which CPUID says nothing.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn kernel_trusts_the_counter() -> bool {
    const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    std::fs::read_to_string(CURRENT).is_ok_and(|source| source.trim() == processor::SOURCE)
}

#[cfg(any(debug_assertions, feature = "settable-clock"))]
mod settable {
    use std::sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    };
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread::{self, Thread};
    use std::time::Duration;

    /// A clock for tests: its time passes when the test says so. For
    /// [`Builder::clock`](crate::Builder::clock).
    #[derive(Clone, Debug, Default)]
    pub struct SettableClock {
        shared: Arc<Shared>,
    }

    #[derive(Debug, Default)]
    struct Shared {
        nanoseconds: AtomicU64,
        /// Threads that sleep by this clock.
        sleepers: Mutex<Vec<Thread>>,
    }

    impl SettableClock {
        /// A clock at its start.
        pub fn new() -> Self {
            SettableClock::default()
        }

        /// So much time passes at once. Who sleeps by this clock, and need not any more, is woken.
        pub fn advance(&self, time: Duration) {
            let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let later = |now: u64| Some(now.saturating_add(time));
            let _ = (self.shared.nanoseconds).fetch_update(Release, Acquire, later);
            let sleepers = self.shared.sleepers.lock();
            for sleeper in sleepers.unwrap_or_else(PoisonError::into_inner).iter() {
                sleeper.unpark();
            }
        }

        /// From 1 on, as the others: so what lasts a time is over when that time has passed, to the nanosecond.
        pub(super) fn elapsed(&self) -> u64 {
            self.shared.nanoseconds.load(Acquire).saturating_add(1)
        }

        pub(super) fn park_until(&self, moment: u64) {
            let sleepers = self.shared.sleepers.lock();
            let mut sleepers = sleepers.unwrap_or_else(PoisonError::into_inner);
            let own = thread::current();
            if sleepers.iter().all(|sleeper| sleeper.id() != own.id()) {
                sleepers.push(own);
            }
            drop(sleepers);
            // Time that passes from here on wakes.
            if self.elapsed() < moment {
                thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// All that there are here. In an emulator the kernel's clock is not the counter of the processor that it shows,
    /// which is right all the same.
    fn clocks() -> Vec<Clock> {
        #[allow(unused_mut)] // on other processors
        let mut clocks = vec![Clock::new(), Clock::system()];
        #[cfg(target_arch = "aarch64")]
        clocks.extend(Counter::untrusted().map(|counter| Clock {
            source: Source::Counter(counter),
        }));
        clocks
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn an_arm_processor_says_how_fast_it_counts() {
        assert!(Counter::untrusted().is_some());
    }

    #[test]
    fn all_clocks_agree_with_the_systems() {
        for clock in clocks() {
            let (start, before) = (Instant::now(), clock.now());
            std::thread::sleep(Duration::from_millis(50));
            let measured = clock.now().saturating_sub(before);
            let elapsed = start.elapsed().as_nanos() as u64;
            // The system's readings are outside of the clock's, by as long as the thread waited
            // for a core in between.
            assert!(
                measured <= elapsed + elapsed / 100,
                "{measured} of {elapsed}"
            );
            assert!(measured >= 49_500_000, "{measured} of {elapsed}");
        }
    }

    #[test]
    fn the_coarse_clock_follows() {
        let clock = Clock::new();
        for coarse in [1, 1_000_000_000].map(|interval| CoarseClock::new(interval, &clock)) {
            let before = coarse.now(&clock);
            std::thread::sleep(Duration::from_millis(100));
            let measured = coarse.now(&clock).saturating_sub(before);
            assert!(measured >= 80_000_000, "{measured} {coarse:?}");
        }
    }

    #[test]
    fn time_passes_and_is_never_zero() {
        for clock in clocks() {
            let mut last = 0;
            for _ in 0..100_000 {
                let now = clock.now();
                assert!(now > 0 && now >= last);
                last = now;
            }
        }
    }
}
