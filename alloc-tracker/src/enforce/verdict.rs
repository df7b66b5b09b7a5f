//! What was measured against the limits, and what is said of it.

use crate::call_site::{self, CallSite};
use crate::engine::{Here, Meanwhile, Sites};
use crate::raw::for_a_tool;
use crate::{Budget, BudgetExceeded, Retained, Usage, process_usage};
use std::fmt;
use std::thread::panicking;

/// What was allocated while a budget was open, by nobody that it saw: by other threads and tasks, for
/// no [`Unit`](crate::Unit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outside {
    /// Allocations.
    pub allocs: u64,
    /// Bytes allocated.
    pub bytes: u64,
}

/// With units: `1000 allocs, 64000 B`.
impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.allocs == 1 { "" } else { "s" };
        write!(f, "{} alloc{s}, {} B", self.allocs, self.bytes)
    }
}

/// What a piece of work cost, and whether it kept within its budget. Made by
/// [`Budget::report`].
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::Budget;
///
/// let (length, report) = Budget::new().allocs(1).report(|| "a".repeat(100).len());
/// println!("{length} characters: {}, beside them {}", report.usage(), report.outside());
/// # #[cfg(feature = "track")]
/// assert!(report.result().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a report does not panic by itself"]
pub struct BudgetReport {
    usage: Usage,
    outside: Outside,
    result: Result<(), BudgetExceeded>,
}

impl BudgetReport {
    /// What the budget counted.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// What it did not: allocations of other threads and tasks meanwhile, outside of every unit.
    ///
    /// What is spawned with [`in_current_unit`](crate::InUnit::in_current_unit) is inside. What
    /// happens to run at the same time is not told from what the work started; a test that runs
    /// alone sees its own only. A thread that works for a unit already is seen to do so from its
    /// next free on, or after 64 KiB.
    pub fn outside(&self) -> Outside {
        self.outside
    }

    /// Whether it kept within its budget.
    ///
    /// # Errors
    ///
    /// Names every broken limit, as [`Budget::check`] does, and the call sites.
    pub fn result(&self) -> Result<(), &BudgetExceeded> {
        self.result.as_ref().copied()
    }

    /// Where a panic would be the second one, which aborts, it is said on standard error.
    #[doc(hidden)]
    #[track_caller]
    pub fn or_panic(self) {
        match self.result {
            Ok(()) => {}
            Err(exceeded) if panicking() => eprintln!("{exceeded}"),
            Err(exceeded) => panic!("{exceeded}"),
        }
    }
}

/// Ends in [`BudgetReport::or_panic`], and stands where the user's macro does: as a guard is dropped, that
/// is the place to panic at.
pub(super) type Say = fn(BudgetReport);

/// `held: 3 allocs, ..`, or the message of the broken budget; then what was outside of it.
impl fmt::Display for BudgetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Err(exceeded) => write!(f, "{exceeded}"),
            Ok(()) => {
                write!(f, "alloc_tracker: budget held: {}", self.usage)?;
                say_outside(self.outside, f)
            }
        }
    }
}

pub(crate) fn say_outside(outside: Outside, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if outside.allocs == 0 {
        return Ok(());
    }
    write!(
        f,
        "\n  meanwhile, by other threads and tasks outside of every unit: {outside}, not counted here"
    )
}

/// What a budget has found.
pub(super) struct Findings {
    pub(super) usage: Usage,
    pub(super) retained: Option<Retained>,
    pub(super) sites: Sites,
    pub(super) outside: Outside,
}

/// What happens around a budget's work.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// Where the process's figures are the budget's: what they were.
    process: Option<Usage>,
    meanwhile: Meanwhile,
}

impl Surroundings {
    pub(super) fn new(process: bool) -> Self {
        Surroundings {
            meanwhile: Meanwhile::start(),
            process: process.then(process_usage),
        }
    }

    /// What this thread did since `start` was the budget's work.
    pub(super) fn count_as_own(&mut self, start: Here) {
        self.meanwhile.add(start);
    }

    /// What counts, of work that has used `own`, and what does not.
    pub(super) fn end(self, own: Usage) -> (Usage, Outside) {
        match self.process {
            Some(start) => (process_usage() - start, Outside::default()),
            None => {
                let (allocs, bytes) = self.meanwhile.end();
                (own, Outside { allocs, bytes })
            }
        }
    }
}

impl Budget {
    pub(super) fn judge(&self, findings: &Findings) -> BudgetReport {
        let result = self.check_kept(&findings.usage, findings.retained);
        BudgetReport {
            usage: findings.usage,
            outside: findings.outside,
            result: result.map_err(|exceeded| explained(exceeded, findings)),
        }
    }
}

/// Says where it was allocated.
fn explained(mut exceeded: BudgetExceeded, findings: &Findings) -> BudgetExceeded {
    let (usage, sites) = (&findings.usage, &findings.sites);
    if !usage.is_tracked() {
        return exceeded;
    }
    // What the symbols take, and keep, is nobody's. The result is the caller's.
    let mut resolved = for_a_tool(|| call_site::resolve(sites));
    // By what was exceeded: many small blocks and one large one are different finds.
    let by_count = exceeded.excesses().iter().all(|e| e.metric.is_count());
    resolved.sort_by_key(|site| {
        std::cmp::Reverse(if by_count {
            (site.allocs, site.bytes)
        } else {
            (site.bytes, site.allocs)
        })
    });
    exceeded.sites = resolved.clone();
    exceeded.estimated = sites.are_estimates();
    for_a_tool(|| drop(resolved));
    let noted = |figure: fn(&CallSite) -> u64| exceeded.sites.iter().map(figure).sum();
    exceeded.elsewhere = (
        usage.allocs.saturating_sub(noted(|site| site.allocs)),
        usage.alloc_bytes.saturating_sub(noted(|site| site.bytes)),
    );
    exceeded.outside = findings.outside;
    exceeded
}
