//! What the process does for no unit.

use super::Instance;
use crate::os;
use crate::record::{Outside, OutsideCpu, OutsideOfThreads, UnitSnapshot};
use alloc_tracker::Usage;
use std::collections::BTreeMap;

/// What had been done before the instance was there.
#[derive(Clone, Debug)]
pub(super) struct Before {
    process: Usage,
    outside: Usage,
    process_cpu: Option<u64>,
    /// By the number of the thread, of those that there were.
    threads: Vec<(u32, Usage)>,
}

impl Before {
    pub(super) fn now() -> Self {
        Before {
            process: alloc_tracker::process_usage(),
            outside: alloc_tracker::outside_usage(),
            process_cpu: os::process_cpu(),
            threads: alloc_tracker::raw::outside_by_thread(),
        }
    }
}

impl Instance {
    /// What was done for none of these units, all there were, nor for any in progress. `None`: nobody counts.
    pub(super) fn outside(&self, units: &[UnitSnapshot]) -> Option<Outside> {
        let sums = self.outside_sums()?;
        // To find out is telemetry's expense; what is handed over is the caller's.
        let before = &self.before.threads;
        let threads = alloc_tracker::raw::for_a_tool(|| of_threads(before));
        let outside = Outside {
            cpu: self.outside_cpu(units),
            threads: threads.clone(),
            ..sums
        };
        alloc_tracker::raw::for_a_tool(|| drop(threads));
        Some(outside)
    }

    /// The same without what takes time to know.
    pub(super) fn outside_sums(&self) -> Option<Outside> {
        if !alloc_tracker::is_installed() {
            return None;
        }
        // First: what comes meanwhile is more of the process.
        let outside = alloc_tracker::outside_usage() - self.before.outside;
        let process = alloc_tracker::process_usage() - self.before.process;
        Some(Outside {
            allocs: outside.allocs.min(process.allocs),
            alloc_bytes: outside.alloc_bytes.min(process.alloc_bytes),
            observability: self.observability(),
            process_allocs: process.allocs,
            process_alloc_bytes: process.alloc_bytes,
            ..Outside::default()
        })
    }

    fn outside_cpu(&self, units: &[UnitSnapshot]) -> Option<OutsideCpu> {
        let process = os::process_cpu()?.saturating_sub(self.before.process_cpu?);
        let own = self.counters.own_cpu_ns().unwrap_or(0);
        let (mut sum, mut variance) = (0u64, 0f64);
        for unit in units.iter().filter(|unit| unit.count > 0) {
            let error = match unit.metric("cpu") {
                Some(cpu) => {
                    // Of the time that others have as well, the CPU is in theirs.
                    let busy = unit.metric("busy").map_or(0, |busy| busy.sum);
                    let own = share(busy.saturating_sub(unit.inside.busy), busy);
                    sum = sum.saturating_add((cpu.sum as f64 * own) as u64);
                    cpu.standard_error.unwrap_or(0)
                }
                // None was asked about: from nothing to all the time that they were at work.
                None => {
                    let busy = unit.metric("busy").map_or(0, |busy| busy.sum);
                    let half = busy.saturating_sub(unit.inside.busy) / 2;
                    sum = sum.saturating_add(half);
                    half
                }
            };
            variance += (error as f64).powi(2);
        }
        (!self.sampling.is_off()).then(|| OutsideCpu {
            ns: process.saturating_sub(own).saturating_sub(sum),
            standard_error: variance.sqrt().ceil() as u64,
            process_ns: process,
        })
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 {
        1.0
    } else {
        part as f64 / of as f64
    }
}

/// Names of threads that are told apart.
const MOST_NAMES: usize = 16;

/// By the names of the threads that are there.
fn of_threads(before: &[(u32, Usage)]) -> BTreeMap<String, OutsideOfThreads> {
    let mut by_name: BTreeMap<String, OutsideOfThreads> = BTreeMap::new();
    for (thread, usage) in alloc_tracker::raw::outside_by_thread() {
        let name = os::name_of_thread(thread).unwrap_or_else(|| "unknown".to_owned());
        let of_name = by_name.entry(name).or_default();
        of_name.threads += 1;
        // A number that was somebody else's may be less.
        let was = before.iter().find(|(of, _)| *of == thread);
        let was = was.map_or_else(Usage::default, |(_, usage)| *usage);
        of_name.allocs += usage.allocs.saturating_sub(was.allocs);
        of_name.alloc_bytes += usage.alloc_bytes.saturating_sub(was.alloc_bytes);
    }
    let mut busiest: Vec<_> = by_name
        .into_iter()
        .filter(|(_, of)| of.allocs > 0)
        .collect();
    busiest.sort_by_key(|(_, of)| std::cmp::Reverse(of.allocs));
    let rest = busiest.split_off(busiest.len().min(MOST_NAMES));
    let mut named: BTreeMap<_, _> = busiest.into_iter().collect();
    for (_, of) in rest {
        let other: &mut OutsideOfThreads = named.entry("other".to_owned()).or_default();
        other.threads += of.threads;
        other.allocs += of.allocs;
        other.alloc_bytes += of.alloc_bytes;
    }
    named
}
