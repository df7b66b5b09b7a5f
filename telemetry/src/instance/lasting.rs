//! What of a telemetry lasts as long as the program.

use crate::background::Bell;
use crate::ledger::UntoldCounts;
use crate::tool::clock::Clock;
use alloc_tracker::raw::{Lock, for_a_tool};

/// What may be asked for when the telemetry is gone: by calls that outlive it.
///
/// PERF: a call need not keep the telemetry, which would be counted where all threads count. It is some 100 bytes for each
/// telemetry that a program ever builds.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) clock: Clock,
    pub(crate) untold: UntoldCounts,
    pub(crate) bell: Bell,
}

impl Lasting {
    pub(super) fn new(clock: Clock) -> &'static Self {
        /// So that who looks for memory that is lost finds it.
        static ALL: Lock<Vec<&'static Lasting>> = Lock::new();
        for_a_tool(|| {
            let lasting: &'static Lasting = Box::leak(Box::new(Lasting {
                clock,
                untold: UntoldCounts::default(),
                bell: Bell::new(),
            }));
            ALL.lock().push(lasting);
            lasting
        })
    }
}
