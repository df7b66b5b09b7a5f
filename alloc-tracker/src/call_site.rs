//! From noted call stacks to the lines of a person's own code.

use crate::engine::Sites;
use crate::escape::escaped;
#[cfg(feature = "track")]
use crate::symbols::{CodePlace, Function, Lack, Symbols, Whose};
use std::fmt;
use std::path::PathBuf;

/// A place in the user's own code that allocated inside a budget.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::Budget;
///
/// let (_, report) = Budget::new().allocs(0).report(|| "a".repeat(100).len());
/// let exceeded = report.result().unwrap_err();
/// if let [site, ..] = exceeded.call_sites() {
///     // `src/lib.rs:8 work: 1 alloc, 100 B`; without debug information no file and no line.
///     println!("{site}");
///     # #[cfg(feature = "track")]
///     assert_eq!((site.allocs, site.bytes), (1, 100));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallSite {
    /// The source file, relative to the working directory where it lies below it. `None` where the
    /// program has no debug information, as in the release profile unless it says
    /// `debug = "line-tables-only"`.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// The function, or `unknown` where the program has no symbols.
    pub function: String,
    /// Allocations made there, by it or by what it calls.
    pub allocs: u64,
    /// Bytes allocated there.
    pub bytes: u64,
    /// Why there is no line, and how to mend it.
    lacks: Option<&'static str>,
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", escaped(&file.to_string_lossy()))?;
            match self.line {
                Some(line) => write!(f, ":{line} ")?,
                None => f.write_str(" ")?,
            }
        }
        write!(f, "{}", escaped(&self.function))?;
        match self.lacks {
            Some(lacks) if self.function == UNKNOWN => write!(f, ": {lacks}")?,
            Some(lacks) => write!(f, " ({lacks})")?,
            None => {}
        }
        let s = if self.allocs == 1 { "" } else { "s" };
        write!(f, ": {} alloc{s}, {} B", self.allocs, self.bytes)
    }
}

const UNKNOWN: &str = "unknown";

/// Resolves the stacks and adds them up by the innermost line that is the user's own.
#[cfg(feature = "track")]
pub(crate) fn resolve(sites: &Sites) -> Vec<CallSite> {
    let mut addresses = Vec::new();
    sites.for_each_stack(|stack, _, _| addresses.extend_from_slice(stack));
    let symbols = Symbols::look_up(addresses);
    let mut found: Vec<CallSite> = Vec::new();
    sites.for_each_stack(|stack, allocs, bytes| {
        let mut site = users_own(stack, &symbols);
        let same = |known: &&mut CallSite| {
            (&known.file, known.line, &known.function, known.lacks)
                == (&site.file, site.line, &site.function, site.lacks)
        };
        match found.iter_mut().find(same) {
            Some(known) => {
                known.allocs += allocs;
                known.bytes += bytes;
            }
            None => {
                site.allocs = allocs;
                site.bytes = bytes;
                found.push(site);
            }
        }
    });
    found
}

/// Nothing was noted.
#[cfg(not(feature = "track"))]
pub(crate) fn resolve(_sites: &Sites) -> Vec<CallSite> {
    Vec::new()
}

/// The innermost frame of the user's own code; failing that, of a dependency; failing that, of the
/// standard library, if nobody knows of another. A line that is only the best of those that are known is
/// not named.
#[cfg(feature = "track")]
fn users_own(stack: &[usize], symbols: &Symbols) -> CallSite {
    let places = || stack.iter().map(|&address| symbols.place(address));
    let functions = places().flat_map(|place| {
        let functions = place.functions.iter();
        functions.map(move |function| (function, place.lacks))
    });
    let best = functions.min_by_key(|(function, _)| function.whose);
    let best = best.filter(|(function, _)| function.whose <= Whose::Standard);
    // C libraries do not allocate by Rust's allocator. Code of a library that does, and of which nobody knows a
    // line, is a plugin's, and its host's line is not where it was.
    let is_told = |place: &&CodePlace| {
        place.functions.is_empty() || place.functions.iter().any(|f| f.whose < Whose::Standard)
    };
    if let Some(plugin) = places().find(is_told).filter(|place| !place.in_program) {
        match plugin.functions.iter().min_by_key(|f| f.whose) {
            None => return unknown(plugin.lacks.map(|lack| lack.describe())),
            Some(function) if function.whose == Whose::Unplaced => {
                return named(function, plugin.lacks);
            }
            Some(_) => {}
        }
    }
    let hidden = places().find(|place| place.in_program && place.functions.is_empty());
    let lacks = match (best, hidden) {
        (Some((function, _)), Some(hidden)) if function.whose == Whose::Standard => hidden.lacks,
        (Some((function, lacks)), _) => {
            return named(function, lacks);
        }
        (None, Some(hidden)) => hidden.lacks,
        (None, None) => None,
    };
    unknown(lacks.map(|lack| lack.describe()))
}

#[cfg(feature = "track")]
fn named(function: &Function, lacks: Option<Lack>) -> CallSite {
    let source = function.source.as_ref();
    CallSite {
        file: source.map(|source| source.relative().to_owned()),
        line: function.line,
        function: function.name.to_string(),
        lacks: lacks
            .filter(|_| source.is_none())
            .map(|lack| lack.describe()),
        ..unknown(None)
    }
}

#[cfg(feature = "track")]
fn unknown(lacks: Option<&'static str>) -> CallSite {
    /// The program cannot be unwound from where it allocates.
    const NO_STACK: &str = "the call stack ends before the program's own code; compile it with \
                            `-C force-unwind-tables=yes`";
    CallSite {
        file: None,
        line: None,
        function: UNKNOWN.to_owned(),
        allocs: 0,
        bytes: 0,
        lacks: lacks.or(Some(NO_STACK)),
    }
}

#[cfg(all(test, feature = "track"))]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_says_why_once() {
        let mut site = CallSite {
            lacks: Some("no lines"),
            allocs: 1,
            bytes: 8,
            ..unknown(None)
        };
        assert_eq!(site.to_string(), "unknown: no lines: 1 alloc, 8 B");
        site.function = "shop::parse".to_owned();
        site.allocs = 2;
        assert_eq!(site.to_string(), "shop::parse (no lines): 2 allocs, 8 B");
        (site.lacks, site.file, site.line) = (None, Some("src/shop.rs".into()), Some(7));
        assert_eq!(site.to_string(), "src/shop.rs:7 shop::parse: 2 allocs, 8 B");
    }
}
