//! From noted call stacks to the lines of a person's own code.

use crate::engine::Sites;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// A place in the user's own code that allocated inside a budget.
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
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line} {}", file.display(), self.function)?,
            (Some(file), None) => write!(f, "{} {}", file.display(), self.function)?,
            (None, _) => f.write_str(&self.function)?,
        }
        let s = if self.allocs == 1 { "" } else { "s" };
        write!(f, ": {} alloc{s}, {} B", self.allocs, self.bytes)
    }
}

/// Resolves the stacks and adds them up by the innermost line that is the user's own.
pub(crate) fn resolve(sites: &Sites) -> Vec<CallSite> {
    let mut found: Vec<CallSite> = Vec::new();
    sites.for_each_stack(|stack, allocs, bytes| {
        let mut site = users_own(stack);
        let same = |known: &&mut CallSite| {
            (&known.file, known.line, &known.function) == (&site.file, site.line, &site.function)
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

#[cfg(not(feature = "track"))]
fn users_own(_stack: &[usize]) -> CallSite {
    unknown()
}

/// The innermost frame of the user's own code; failing that, of a dependency; failing that,
/// whatever has a name.
#[cfg(feature = "track")]
fn users_own(stack: &[usize]) -> CallSite {
    let here = std::env::current_dir().unwrap_or_default();
    let mut best: Option<(Origin, CallSite)> = None;
    for &ip in stack {
        // One address can stand for several functions, inlined into each other, innermost first.
        backtrace::resolve(ip as *mut _, |symbol| {
            let function = symbol.name().map(|name| format!("{name:#}"));
            let Some(function) = function else { return };
            let origin = Origin::of(&function, symbol.filename());
            if best.as_ref().is_some_and(|(known, _)| *known <= origin) {
                return;
            }
            let file = symbol.filename();
            let site = CallSite {
                file: file.map(|file| file.strip_prefix(&here).unwrap_or(file).to_owned()),
                line: symbol.lineno(),
                function,
                ..unknown()
            };
            best = Some((origin, site));
        });
        if matches!(best, Some((Origin::User, _))) {
            break;
        }
    }
    best.map_or_else(unknown, |(_, site)| site)
}

#[cfg_attr(not(feature = "track"), allow(dead_code))] // nothing is resolved without it
const OWN_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

fn unknown() -> CallSite {
    CallSite {
        file: None,
        line: None,
        function: "unknown".to_owned(),
        allocs: 0,
        bytes: 0,
    }
}

/// Whose code a function is; the order is that of preference. Without debug information nothing
/// tells the user's code from that of dependencies: such a function is the user's rather than a
/// dependency's.
#[cfg_attr(not(feature = "track"), allow(dead_code))] // nothing is resolved without it
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    User,
    Unplaced,
    Dependency,
    Runtime,
}

#[cfg_attr(not(feature = "track"), allow(dead_code))] // nothing is resolved without it
impl Origin {
    fn of(function: &str, file: Option<&Path>) -> Self {
        // `<alloc::vec::Vec<T> as ..>::f` is the standard library's as `alloc::vec::f` is.
        let path = function.trim_start_matches(['<', '&', '[']);
        let runtime = [
            "alloc_tracker::",
            "alloc::",
            "core::",
            "std::",
            "backtrace::",
            "hashbrown::",
            "__rust",
            "_rust",
            "__rdl",
            "__rg",
            "_Unwind",
            "_start",
            "__libc_start",
            "start_thread",
            "clone",
            "test::",
        ];
        if runtime.iter().any(|prefix| path.starts_with(prefix)) {
            return Origin::Runtime;
        }
        match file {
            None => Origin::Unplaced,
            // This crate's own. An inlined function has no path in a profile with line tables only.
            Some(file) if file.starts_with(OWN_SOURCES) => Origin::Runtime,
            // The C library's, where its debug information is installed.
            Some(file) if file.extension().is_some_and(|e| e == "c" || e == "S") => Origin::Runtime,
            Some(file) => {
                let parts: Vec<_> = file.components().map(|part| part.as_os_str()).collect();
                let has = |a: &str, b: &str| parts.windows(2).any(|w| w[0] == a && w[1] == b);
                let built_with_rust = ["rustc", "rust"].map(OsStr::new);
                if parts
                    .get(1)
                    .is_some_and(|part| built_with_rust.contains(part))
                    || has("lib", "rustlib")
                {
                    Origin::Runtime
                } else if has("registry", "src") || has("git", "checkouts") {
                    Origin::Dependency
                } else {
                    Origin::User
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_code_it_is() {
        let of = |function, file: &str| Origin::of(function, Some(Path::new(file)));
        assert_eq!(of("shop::price", "/home/me/shop/src/lib.rs"), Origin::User);
        let registry = "/home/me/.cargo/registry/src/index-1/serde-1.0/src/lib.rs";
        assert_eq!(of("serde::parse", registry), Origin::Dependency);
        assert_eq!(of("<alloc::vec::Vec<T>>::push", "/x/y.rs"), Origin::Runtime);
        assert_eq!(
            of("shop::f::<u8>", "/rustc/abc/library/core/src/ops.rs"),
            Origin::Runtime
        );
        assert_eq!(
            of("gimli::read", "/rust/deps/gimli-0.32/src/lib.rs"),
            Origin::Runtime
        );
        assert_eq!(
            of("start_thread", "./nptl/pthread_create.c"),
            Origin::Runtime
        );
        assert_eq!(of("helper", "./csu/helper.c"), Origin::Runtime);
        assert_eq!(Origin::of("shop::price", None), Origin::Unplaced);
        assert_eq!(Origin::of("std::rt::lang_start", None), Origin::Runtime);
    }
}
