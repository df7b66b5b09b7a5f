//! From noted call stacks to the lines of a person's own code.

use crate::engine::Sites;
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

/// A path relative to the working directory, where it lies below it.
#[cfg(feature = "profile")]
pub(crate) fn relative(file: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(&here).unwrap_or(file).to_owned()
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
pub(crate) const OWN_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

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
pub(crate) enum Origin {
    User,
    Unplaced,
    Dependency,
    Runtime,
}

#[cfg_attr(not(feature = "track"), allow(dead_code))] // nothing is resolved without it
impl Origin {
    pub(crate) fn of(function: &str, file: Option<&Path>) -> Self {
        // What rustc makes of a global allocator stands at the allocator's line, and an allocator
        // around the tracker allocates for others.
        let shims = ["__rust", "__rdl", "__rg"];
        let is_shim = shims.iter().any(|shim| function.starts_with(shim));
        if is_shim || function.contains("alloc::global::GlobalAlloc>::") {
            return Origin::Runtime;
        }
        match file {
            Some(file) => Self::of_file(file),
            None => Self::of_name(function),
        }
    }

    /// By the name alone, where there is nothing else.
    fn of_name(function: &str) -> Self {
        // `<alloc::vec::Vec<T> as ..>::f` is the standard library's as `alloc::vec::f` is.
        let path = function.trim_start_matches(['<', '&', '[']);
        let crates = [
            "alloc_tracker::",
            "alloc::",
            "core::",
            "std::",
            "backtrace::",
            "hashbrown::",
            "test::",
            "_rust",
            "_Unwind",
            "__libc_start",
        ];
        let functions = [
            "_start",
            "start_thread",
            "clone",
            "clone3",
            "__clone",
            "__clone3",
        ];
        if crates.iter().any(|prefix| path.starts_with(prefix)) || functions.contains(&path) {
            Origin::Runtime
        } else {
            Origin::Unplaced
        }
    }

    /// By the file. Better than the name: a person may implement a trait for `Vec`, or be called
    /// `clone_config`.
    fn of_file(file: &Path) -> Self {
        // This crate's own, and the C library's, where its debug information is installed.
        let extension = file.extension().unwrap_or_default();
        if file.starts_with(OWN_SOURCES) || ["c", "h", "S"].iter().any(|c| extension == *c) {
            return Origin::Runtime;
        }
        let parts: Vec<&str> = file
            .components()
            .map(|part| part.as_os_str().to_str().unwrap_or_default())
            .collect();
        let has = |a: &str, b: &str| parts.windows(2).any(|two| two == [a, b]);
        if parts.get(1) == Some(&"rustc")
            || parts.get(1..3) == Some(&["rust", "deps"])
            || has("lib", "rustlib")
        {
            return Origin::Runtime;
        }
        // `registry/src/<host>-<hash>/<package>-<version>/..`, `git/checkouts/<package>-<hash>/..`
        let ends_in_hash = |part: &str, digits: usize| {
            part.rsplit_once('-').is_some_and(|(_, hash)| {
                hash.len() == digits && hash.bytes().all(|c| c.is_ascii_hexdigit())
            })
        };
        let package = parts.windows(4).find_map(|four| match four {
            ["registry", "src", host, package] if ends_in_hash(host, 16) => Some(*package),
            ["git", "checkouts", package, _] if ends_in_hash(package, 16) => Some(*package),
            _ => None,
        });
        match package {
            Some(package) if package.starts_with("backtrace-") => Origin::Runtime,
            Some(_) => Origin::Dependency,
            None => Origin::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_code_it_is() {
        let of = |function, file: &str| Origin::of(function, Some(Path::new(file)));
        for (users, file) in [
            ("shop::price", "/home/me/shop/src/lib.rs"),
            (
                "<alloc::vec::Vec<u8> as shop::Ext>::f",
                "/home/me/shop/src/lib.rs",
            ),
            ("clone_config", "/home/me/shop/src/lib.rs"),
            ("cloner::main", "/home/me/cloner/src/main.rs"),
            ("lib::f", "/home/me/registry/src/deep/er/lib.rs"),
            ("mine::f", "/rust/mine/src/lib.rs"),
        ] {
            assert_eq!(of(users, file), Origin::User, "{users} in {file}");
        }
        let registry = "/home/me/.cargo/registry/src/index.example-0123456789abcdef";
        for (package, origin) in [
            ("serde-1.0", Origin::Dependency),
            ("backtrace-0.3.77", Origin::Runtime),
        ] {
            assert_eq!(of("f", &format!("{registry}/{package}/src/lib.rs")), origin);
        }
        let own = Path::new(OWN_SOURCES).join("engine/sites.rs");
        assert_eq!(Origin::of("{closure#0}", Some(&own)), Origin::Runtime);
        for shim in [
            "__rustc::__rust_alloc",
            "<shop::A as core::alloc::global::GlobalAlloc>::alloc",
        ] {
            assert_eq!(of(shim, "/home/me/shop/src/main.rs"), Origin::Runtime);
        }
        for runtime in [
            "/rustc/abc/library/core/src/ops.rs",
            "/rust/deps/gimli-0.32/src/lib.rs",
            "./nptl/pthread_create.c",
            "./csu/../sysdeps/nptl/libc_start_call_main.h",
        ] {
            assert_eq!(of("shop::f::<u8>", runtime), Origin::Runtime, "{runtime}");
        }
        for (name, origin) in [
            ("shop::price", Origin::Unplaced),
            ("clone_config", Origin::Unplaced),
            ("clone", Origin::Runtime),
            ("std::rt::lang_start", Origin::Runtime),
            ("<alloc::vec::Vec<T>>::push", Origin::Runtime),
        ] {
            assert_eq!(Origin::of(name, None), origin, "{name}");
        }
    }
}
