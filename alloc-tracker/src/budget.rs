//! Budgets: limits on a measurement, and what is said of a broken one.

use crate::call_site::CallSite;
use crate::enforce::{Outside, say_outside};
use crate::{Retained, Usage, engine};
use std::fmt;

/// Limits on what a piece of work may cost. What is not limited is free; of two limits on the same
/// figure the lower one counts.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::{Budget, measure};
///
/// let (_, usage) = measure(|| "a".repeat(100));
/// let budget = Budget::new().allocs(1).peak_bytes(100).live_bytes(0);
/// # #[cfg(feature = "track")] {
/// assert!(budget.check(&usage).is_err()); // `measure` hands the string out: 100 bytes are live
/// budget.run(|| "a".repeat(100).len()); // this one keeps nothing
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a budget does nothing until it is checked"]
pub struct Budget {
    limits: [Option<i64>; Metric::ALL.len()],
}

macro_rules! metrics {
    ($(
        $(#[$doc:meta])*
        $metric:ident = $name:ident($limit:ident): $counts:ident, |$usage:ident| $of:expr $(, |$retained:ident| $kept:expr)?;
    )*) => {
        /// A figure of [`Usage`] that a [`Budget`] can limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Metric {
            $(
                #[doc = concat!("[`Usage::", stringify!($name), "`]")]
                $metric,
            )*
        }

        impl Metric {
            /// All of them.
            pub const ALL: [Metric; [$(Metric::$metric),*].len()] = [$(Metric::$metric),*];

            /// The name that `assert_budget!` and the methods of [`Budget`] use, for example `alloc_bytes`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Metric::$metric => stringify!($name),)*
                }
            }

            pub(crate) fn is_count(self) -> bool {
                match self {
                    $(Metric::$metric => matches!(Counts::$counts, Counts::Calls),)*
                }
            }

            fn of(self, usage: &Usage) -> i64 {
                match self {
                    $(Metric::$metric => {
                        let $usage = usage;
                        $of
                    })*
                }
            }

            /// What of it is kept, where it is about that and it is known.
            fn of_retained(self, retained: Option<Retained>) -> Option<i64> {
                match self {
                    $($(Metric::$metric => {
                        let $retained = retained?;
                        Some(saturate($kept))
                    })?)*
                    _ => None,
                }
            }
        }

        impl Budget {
            $(
                $(#[$doc])*
                pub const fn $name(self, at_most: $limit) -> Self {
                    self.limit(Metric::$metric, limit::$limit(at_most))
                }
            )*
        }
    };
}

/// What a figure counts.
enum Counts {
    Calls,
    Bytes,
}

metrics! {
    /// At most this many allocations, `realloc`s included.
    Allocs = allocs(u64): Calls, |usage| saturate(usage.allocs);

    /// At most this many `realloc`s.
    Reallocs = reallocs(u64): Calls, |usage| saturate(usage.reallocs);

    /// At most this many frees.
    Frees = frees(u64): Calls, |usage| saturate(usage.frees);

    /// At most this many bytes allocated in all.
    AllocBytes = alloc_bytes(u64): Bytes, |usage| saturate(usage.alloc_bytes);

    /// At most this many bytes freed in all.
    FreedBytes = freed_bytes(u64): Bytes, |usage| saturate(usage.freed_bytes);

    /// At most this many bytes above the starting level at any moment.
    PeakBytes = peak_bytes(u64): Bytes, |usage| saturate(usage.peak_bytes);

    /// At most this many bytes kept at the end. 0: nothing may be kept.
    ///
    /// Of work that is run under the budget (by [`Budget::run`], [`assert_budget!`](crate::assert_budget!) or
    /// `#[budget]`), a block is not kept once it is freed, by whatever thread: see
    /// [`Unit::retained`](crate::Unit::retained). Blocks of others that the work frees make up for what it keeps,
    /// as in [`Usage::live_bytes`]; [`Budget::check`] knows that figure alone.
    LiveBytes = live_bytes(i64): Bytes, |usage| usage.live_bytes(), |retained| retained.bytes;

    /// At most this many blocks kept at the end: as for [`live_bytes`](Budget::live_bytes).
    LiveBlocks = live_blocks(i64): Calls, |usage| usage.live_blocks(), |retained| retained.blocks;
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const fn saturate(n: u64) -> i64 {
    if n > i64::MAX as u64 {
        i64::MAX
    } else {
        n as i64
    }
}

/// From what a method takes to a limit, by the type.
mod limit {
    pub(super) const fn u64(at_most: u64) -> i64 {
        super::saturate(at_most)
    }

    pub(super) const fn i64(at_most: i64) -> i64 {
        at_most
    }
}

impl Budget {
    /// No limits.
    pub const fn new() -> Self {
        Budget {
            limits: [None; Metric::ALL.len()],
        }
    }

    /// Of two limits on the same figure both hold.
    const fn limit(mut self, metric: Metric, limit: i64) -> Self {
        self.limits[metric as usize] = match self.limits[metric as usize] {
            Some(known) if known < limit => Some(known),
            _ => Some(limit),
        };
        self
    }

    /// Compares figures with the limits.
    ///
    /// # Errors
    ///
    /// Names every broken limit. Figures that nobody counted (see [`Usage::is_tracked`]) are an
    /// error too: a budget that cannot be checked never passes.
    pub fn check(&self, usage: &Usage) -> Result<(), BudgetExceeded> {
        self.check_kept(usage, None)
    }

    /// The same, where it is known what of the work's own blocks is left.
    pub(crate) fn check_kept(
        &self,
        usage: &Usage,
        retained: Option<Retained>,
    ) -> Result<(), BudgetExceeded> {
        let exceeded = |excesses| BudgetExceeded {
            excesses,
            sites: Vec::new(),
            elsewhere: (0, 0),
            outside: Outside::default(),
            estimated: false,
        };
        // Zeros that nobody counted may come from `Usage::default()`, too.
        if !usage.is_tracked() || !engine::is_installed() {
            return Err(exceeded(Vec::new()));
        }
        let excesses: Vec<Excess> = Metric::ALL
            .into_iter()
            .filter_map(|metric| {
                let limit = self.limits[metric as usize]?;
                // What others have freed meanwhile is not kept, though no free of the work's own.
                let kept = metric.of_retained(retained).unwrap_or(i64::MAX);
                let actual = metric.of(usage).min(kept);
                (actual > limit).then_some(Excess {
                    metric,
                    limit,
                    actual,
                })
            })
            .collect();
        if excesses.is_empty() {
            Ok(())
        } else {
            Err(exceeded(excesses))
        }
    }

    /// Whether what is left at the end is limited.
    pub(crate) fn limits_what_is_kept(&self) -> bool {
        let limits = |metric: Metric| self.limits[metric as usize].is_some();
        limits(Metric::LiveBytes) || limits(Metric::LiveBlocks)
    }
}

/// One broken limit of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Excess {
    /// Which figure.
    pub metric: Metric,
    /// What the budget allows, in bytes or calls.
    pub limit: i64,
    /// What was measured, in bytes or calls.
    pub actual: i64,
}

/// A budget was broken, or could not be checked.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
///
/// use alloc_tracker::{Budget, measure};
///
/// let (_, usage) = measure(|| vec![0u8; 4096]);
/// let exceeded = Budget::new().allocs(0).check(&usage).unwrap_err();
/// for excess in exceeded.excesses() {
///     println!("{}: {} instead of {}", excess.metric.name(), excess.actual, excess.limit);
///     # assert_eq!((excess.actual, excess.limit), (1, 0));
/// }
/// // Who allocated is known of a budget that ran the work itself.
/// let (_, report) = Budget::new().allocs(0).report(|| vec![0u8; 4096].len());
/// for site in report.result().unwrap_err().call_sites() {
///     println!("{}, {} bytes: {site}", site.function, site.bytes);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetExceeded {
    /// Empty: nothing was counted.
    excesses: Vec<Excess>,
    /// The largest first.
    pub(crate) sites: Vec<CallSite>,
    /// Allocations and bytes that were counted, and not seen at any call site: in work that was
    /// handed to other threads, or left out where there were too many to look at each.
    pub(crate) elsewhere: (u64, u64),
    /// What was allocated meanwhile and not counted.
    pub(crate) outside: Outside,
    /// The figures of call sites are estimates.
    pub(crate) estimated: bool,
}

impl BudgetExceeded {
    /// Every broken limit; empty if nothing was counted, so that nothing could be checked.
    pub fn excesses(&self) -> &[Excess] {
        &self.excesses
    }

    /// The places in the user's own code that allocated inside the budget, the largest first: by
    /// bytes, or by count if only counts were exceeded.
    ///
    /// Empty for [`Budget::check`], which has figures only and did not see the work.
    pub fn call_sites(&self) -> &[CallSite] {
        &self.sites
    }
}

impl fmt::Display for BudgetExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.excesses.is_empty() {
            return f.write_str(&not_tracked());
        }
        f.write_str("alloc_tracker: budget exceeded")?;
        for (index, excess) in self.excesses.iter().enumerate() {
            let Excess {
                metric,
                limit,
                actual,
            } = excess;
            let over = actual.saturating_sub(*limit);
            let lead = if index == 0 { ": " } else { "; " };
            write!(
                f,
                "{lead}{metric}: limit {limit}, actual {actual}, excess {over}"
            )?;
        }
        for site in self.sites.iter().take(SHOWN_SITES) {
            write!(f, "\n  at {}", Printable(site))?;
        }
        if let Some(more @ 1..) = self.sites.len().checked_sub(SHOWN_SITES) {
            write!(f, "\n  and {more} more")?;
        }
        say_outside(self.outside, f)?;
        if let (allocs @ 1.., bytes) = self.elsewhere {
            let s = if allocs == 1 { "" } else { "s" };
            write!(f, "\n  elsewhere: {allocs} alloc{s}, {bytes} B")?;
        }
        if self.estimated {
            f.write_str("\n  (only a part of the allocations was looked at: lines are estimates)")?;
        }
        Ok(())
    }
}

/// Without what a terminal would obey: names and paths are other people's.
struct Printable<T>(T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if is_obeyed(c) => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

/// Control characters, and those that turn the direction of what follows.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Call sites in the message of a broken budget.
const SHOWN_SITES: usize = 5;

impl std::error::Error for BudgetExceeded {}

fn not_tracked() -> String {
    let mend = if cfg!(not(feature = "track")) {
        "this build has no feature `track`; add `features = [\"track\"]` to the dependency on \
         lightweight-alloc-tracker (under [dev-dependencies] if only tests need it)"
    } else if !engine::is_installed() {
        "the tracker is not the global allocator; add to this test or program:\n  \
         #[global_allocator]\n  \
         static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();"
    } else {
        "the figures were taken where the tracker was not installed"
    };
    format!("alloc_tracker: a budget cannot be checked: {mend}")
}

#[cfg(test)]
mod tests {
    use super::Printable;

    #[test]
    fn a_terminal_obeys_nothing_in_a_name() {
        let name = "a\u{1b}[2J\nb\r\u{9b}\u{202e}\u{2028}\u{7f}é\\\"";
        let shown = Printable(name).to_string();
        assert_eq!(
            shown,
            "a\\u{1b}[2J\\nb\\r\\u{9b}\\u{202e}\\u{2028}\\u{7f}é\\\""
        );
        assert_eq!(Printable(&shown).to_string(), shown, "once is enough");
    }
}
