//! What an orderly end of the process does for a handle that nobody drops: in a `static`, say, or where
//! `std::process::exit` is called.
//!
//! The C library calls us when `main` returns and when somebody calls `exit`. Of an end by a signal, by
//! `abort` or by `_exit` nobody hears of it; what was flushed before is written then, and no more.

#![cfg_attr(unix, allow(unsafe_code))] // registers a function with the C library

#[cfg(all(feature = "signal", target_os = "linux"))]
pub(crate) mod signals;

use crate::instance::Instance;
use std::sync::Arc;

#[cfg(unix)]
pub(crate) use unix::at_exit;

/// Nobody tells us here.
#[cfg(not(unix))]
pub(crate) fn at_exit(_: &Arc<Instance>) {}

#[cfg(unix)]
mod unix {
    use super::{Arc, Instance};
    use crate::tool::panics::caught;
    use crate::tool::silence;
    use alloc_tracker::raw::Lock;
    use std::sync::Weak;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    /// How long an exit may wait for exporters, all instances together.
    const WITHIN: Duration = Duration::from_secs(1);
    /// Between two looks whether they are done.
    const LOOK_EVERY: Duration = Duration::from_micros(500);

    static INSTANCES: Lock<Vec<Weak<Instance>>> = Lock::new();

    /// Has the instance written out at exit, unless it was shut down before.
    pub(crate) fn at_exit(instance: &Arc<Instance>) {
        static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
        let mut instances = INSTANCES.lock();
        instances.retain(|instance| instance.strong_count() > 0);
        instances.push(Arc::downgrade(instance));
        drop(instances);
        if !IS_REGISTERED.swap(true, SeqCst) {
            // SAFETY: the function has the right signature, lives as long as the code, and does not
            // unwind. If there is no room for it, exits are as they were.
            let _ = unsafe { libc::atexit(exits) };
        }
    }

    extern "C" fn exits() {
        // An exporter that ends the process waits for nobody: it would be for itself.
        if !silence::is_silent() {
            caught(write_out);
        }
    }

    fn write_out() {
        // Nothing here waits for a lock: `exit` may have been called anywhere, in a signal's handler too,
        // which interrupted whoever holds it.
        let Some(instances) = INSTANCES.try_lock() else {
            return;
        };
        let running = |instance: &Arc<Instance>| {
            let background = &instance.background;
            // Whoever ended it before has waited for it as long as he wanted.
            !background.is_forked() && (!background.is_stopping() || background.ends_by_a_signal())
        };
        let alive = || instances.iter().filter_map(Weak::upgrade);
        let to_be_stopped: Vec<_> = alive().filter(running).collect();
        let start = Instant::now();
        for instance in &to_be_stopped {
            instance.background.stop_soon();
        }
        for instance in to_be_stopped {
            while !instance.background.has_stopped() && start.elapsed() < WITHIN {
                std::thread::sleep(LOOK_EVERY);
            }
            // It may be the last handle, and the process ends: nothing is to be done for its memory.
            std::mem::forget(instance);
        }
    }
}
