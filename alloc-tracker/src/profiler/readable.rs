//! Stacks as a person reads them: names without generics, and what runs the program folded into one line.
//!
//! Of a stack of ninety frames in a service, two are the user's. The others are the standard library's and those of the
//! crates that run tasks and serve requests: *plumbing*. Two or more of it in a row become a band, which says how many
//! there are and of which crates.

use crate::fork::Lock;
use crate::symbols::Whose;
use std::collections::BTreeMap;
use std::path::Path;

/// Crates whose frames are folded. Those of the standard library are, too.
static PLUMBING: [&str; 33] = [
    "async_executor",
    "async_std",
    "async_task",
    "axum",
    "axum_core",
    "axum_server",
    "crossbeam_deque",
    "crossbeam_epoch",
    "futures",
    "futures_core",
    "futures_executor",
    "futures_util",
    "h2",
    "http_body_util",
    "hyper",
    "hyper_util",
    "matchit",
    "pin_project_lite",
    "rayon",
    "rayon_core",
    "smol",
    "tokio",
    "tokio_util",
    "tonic",
    "tower",
    "tower_http",
    "tower_layer",
    "tower_service",
    "tracing",
    "tracing_core",
    "tracing_futures",
    "tracing_subscriber",
    "want",
];

static MORE: Lock<Vec<String>> = Lock::new();

/// Crates whose frames flame graphs and reports fold into one band, beside those of the standard library.
///
/// ```
/// assert!(alloc_tracker::profiler::folded_crates().contains(&"tokio"));
/// ```
pub fn folded_crates() -> &'static [&'static str] {
    &PLUMBING
}

/// Has frames of one more crate folded, from here on and in the whole program: a framework of one's own, say.
///
/// ```
/// alloc_tracker::profiler::fold_crate("our_framework");
/// ```
pub fn fold_crate(name: impl Into<String>) {
    let name = name.into().replace('-', "_");
    crate::raw::for_a_tool(|| {
        let mut more = MORE.lock();
        if !more.contains(&name) {
            more.push(name.clone());
        }
    });
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    /// A function, by its name without generics.
    Frame(String, Whose),
    /// Plumbing.
    Band(Band),
}

/// Frames that are one line together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Band {
    /// How many, where stacks are together that have more and fewer.
    fewest: usize,
    most: usize,
    /// By crate.
    crates: BTreeMap<String, usize>,
}

impl Band {
    fn of(frames: &[(String, String)]) -> Self {
        let mut band = Band {
            fewest: frames.len(),
            most: frames.len(),
            ..Band::default()
        };
        for (_, krate) in frames {
            *band.crates.entry(krate.clone()).or_default() += 1;
        }
        band
    }

    /// How many there are of one stack.
    pub(super) fn frames(&self) -> usize {
        self.most
    }

    /// Both, where they are one.
    pub(super) fn join(&mut self, other: &Band) {
        self.fewest = self.fewest.min(other.fewest);
        self.most = self.most.max(other.most);
        for (krate, frames) in &other.crates {
            let of = self.crates.entry(krate.clone()).or_default();
            *of = (*of).max(*frames);
        }
    }

    /// `… 40 to 42 frames of tokio, hyper, axum and others`.
    pub(super) fn describe(&self) -> String {
        const NAMED: usize = 3;
        let mut crates: Vec<_> = self.crates.iter().collect();
        crates.sort_by_key(|(name, frames)| (std::cmp::Reverse(**frames), *name));
        let named: Vec<&str> = crates
            .iter()
            .take(NAMED)
            .map(|(name, _)| name.as_str())
            .collect();
        let mut text = match self.fewest == self.most {
            true => format!("… {} frames of ", self.most),
            false => format!("… {} to {} frames of ", self.fewest, self.most),
        };
        text.push_str(&named.join(", "));
        if crates.len() > NAMED {
            text.push_str(" and others");
        }
        text
    }
}

/// The lines of a stack whose frames are given by readable names, in their order. Where there is nothing but plumbing, nothing is folded.
pub(super) fn lines(frames: impl Iterator<Item = (String, Whose)>) -> Vec<Line> {
    let more = MORE.lock();
    let frames: Vec<(String, Whose, Option<String>)> = frames
        .map(|(name, whose)| {
            let folded = plumbing(&name, whose, &more);
            (name, whose, folded)
        })
        .collect();
    drop(more);
    let mut lines = Vec::new();
    let folds = frames.iter().any(|(_, _, folded)| folded.is_none());
    let mut band: Vec<(String, String)> = Vec::new();
    let close = |band: &mut Vec<(String, String)>, lines: &mut Vec<Line>| {
        match &band[..] {
            [] => {}
            [(name, _)] => lines.push(Line::Frame(name.clone(), Whose::Standard)),
            frames => lines.push(Line::Band(Band::of(frames))),
        }
        band.clear();
    };
    for (name, whose, folded) in frames {
        match folded.filter(|_| folds) {
            Some(krate) => band.push((name, krate)),
            None => {
                close(&mut band, &mut lines);
                lines.push(Line::Frame(name, whose));
            }
        }
    }
    close(&mut band, &mut lines);
    lines
}

/// Whose plumbing a function is, if it is.
fn plumbing(name: &str, whose: Whose, more: &[String]) -> Option<String> {
    let krate = crate_of(name);
    match whose {
        Whose::Standard => Some(krate.unwrap_or("std").to_owned()),
        Whose::Trackers => Some("alloc_tracker".to_owned()),
        Whose::Foreign => Some("C".to_owned()),
        Whose::Users | Whose::Nobody => None,
        Whose::Unplaced | Whose::Dependencys => {
            let krate = krate?;
            let is_folded = PLUMBING.contains(&krate) || more.iter().any(|more| more == krate);
            is_folded.then(|| krate.to_owned())
        }
    }
}

fn crate_of(name: &str) -> Option<&str> {
    Some(name.split_once("::")?.0)
}

/// A function's path without generics, of a method of a trait's that of the type.
///
/// `<shop::Cache<K, V> as core::ops::Drop>::drop` is `shop::Cache::drop`, `shop::put::<u8>::{{closure}}` is
/// `shop::put::{closure}`.
pub(super) fn short(name: &str) -> String {
    let mut short = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        if rest.starts_with('<') {
            let (inside, after) = bracketed(rest);
            if short.is_empty() {
                short = of_type(inside);
            } else if let Some(of_impl) = inside.strip_prefix("impl ") {
                short = of_type(match part(of_impl, " for ") {
                    Some((_, of)) => of,
                    None => of_impl,
                });
            } else if short.ends_with("::") {
                // The arguments of a function, or of a type.
                short.truncate(short.len() - 2);
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{{closure}}") {
            short.push_str("{closure}");
            rest = after;
        } else {
            let first = rest.chars().next().map_or(1, char::len_utf8);
            short.push_str(&rest[..first]);
            rest = &rest[first..];
        }
    }
    let hash = short
        .rsplit_once("::h")
        .filter(|(_, hash)| hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit()));
    match hash {
        Some((path, _)) => path.to_owned(),
        None => short,
    }
}

/// The path of the module that a file is, as Cargo lays out packages: that of `futures-util-0.3.34/src/future/map.rs` is
/// `futures_util::future::map`.
pub(super) fn module(file: &Path) -> Option<String> {
    let parts: Vec<&str> = file
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .collect();
    let (stem, folders) = parts.split_last()?;
    let stem = stem.strip_suffix(".rs")?;
    let is_named = |part: &&str| {
        ![
            "mod", "lib", "main", "src", "tests", "examples", "benches", "bin", "/", ".",
        ]
        .contains(part)
    };
    let mut path: Vec<String> = Vec::new();
    let folders = match folders.iter().rposition(|folder| *folder == "src") {
        Some(src) => {
            let package = folders[..src].last().filter(|name| is_named(name));
            path.extend(package.map(|name| package_name(name)));
            &folders[src + 1..]
        }
        None => folders.last().map_or(&[][..], std::slice::from_ref),
    };
    let modules = folders.iter().chain([&stem]).filter(|part| is_named(part));
    path.extend(modules.map(|part| (*part).to_owned()));
    (!path.is_empty()).then(|| path.join("::"))
}

/// The crate of a package's folder, which may have the version, too.
fn package_name(folder: &str) -> String {
    let version = folder
        .char_indices()
        .find(|&(at, c)| c == '-' && folder[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let name = version.map_or(folder, |(at, _)| &folder[..at]);
    name.replace('-', "_")
}

/// What a path goes on from: `T` of `<T>::f` or `<T as Trait>::f`, or the trait, if the type has no path.
fn of_type(text: &str) -> String {
    let (of, of_trait) = match part(text, " as ") {
        Some((of, of_trait)) => (of, Some(of_trait)),
        None => (text, None),
    };
    let of = of.trim_start_matches(['&', '*']);
    let of = ["mut ", "const ", "dyn "]
        .iter()
        .fold(of, |of, word| of.strip_prefix(word).unwrap_or(of));
    match of_trait {
        // A parameter, a slice, a tuple, a closure without a path.
        Some(of_trait) if !of.contains("::") || of.starts_with(['[', '(', '{']) => short(of_trait),
        _ => {
            let mut of = short(of);
            // `dyn Trait + Send`
            if let Some((first, _)) = of.split_once(" + ") {
                of = first.to_owned();
            }
            of
        }
    }
}

/// What stands in the brackets that the text begins with, and what comes after them.
fn bracketed(text: &str) -> (&str, &str) {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            // Not an arrow.
            '>' if before != '-' => {
                depth -= 1;
                if depth == 0 {
                    return (&text[1..at], &text[at + 1..]);
                }
            }
            _ => {}
        }
        before = c;
    }
    // Cut somewhere.
    (&text[1..], "")
}

/// What stands before and after a word, outside of all brackets.
fn part<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' if before == '-' => {}
            '>' | ')' | ']' => depth -= 1,
            ' ' if depth == 0 && text[at..].starts_with(word) => {
                return Some((&text[..at], &text[at + word.len()..]));
            }
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generics_are_cut_and_paths_kept() {
        for (name, expected) in [
            (
                "shop::cache::Cache<K,V>::insert",
                "shop::cache::Cache::insert",
            ),
            (
                "<shop::Cache<K, V> as core::ops::drop::Drop>::drop",
                "shop::Cache::drop",
            ),
            (
                "shop::put::<alloc::vec::Vec<u8>>::{{closure}}",
                "shop::put::{closure}",
            ),
            (
                "<F as axum::handler::Handler<(M,T1),S>>::call",
                "axum::handler::Handler::call",
            ),
            (
                "<&mut F as core::future::future::Future>::poll",
                "core::future::future::Future::poll",
            ),
            (
                "<alloc::boxed::Box<dyn Fn(u8) -> u8> as core::ops::Fn<(u8,)>>::call",
                "alloc::boxed::Box::call",
            ),
            (
                "telemetry::lean::<impl tracing::Subscriber for telemetry::lean::Lean<S>>::exit",
                "telemetry::lean::Lean::exit",
            ),
            (
                "core::ptr::drop_in_place<shop::Order>",
                "core::ptr::drop_in_place",
            ),
            ("alloc::slice::<impl [T]>::to_vec", "[T]::to_vec"),
            (
                "<[T] as alloc::slice::Concat<Item>>::concat",
                "alloc::slice::Concat::concat",
            ),
            (
                "<dyn shop::Store + core::marker::Send>::get",
                "shop::Store::get",
            ),
            (
                "<shop::Shop as shop::Serve<fn(u8) -> Vec<u8>>>::serve",
                "shop::Shop::serve",
            ),
            ("shop::serve::h0123456789abcdef", "shop::serve"),
            ("main", "main"),
            ("größe::<T>::f", "größe::f"),
            ("a::<b", "a"),
            ("", ""),
        ] {
            assert_eq!(short(name), expected, "{name}");
        }
    }

    #[test]
    fn whatever_the_name_is_it_is_no_longer_without_its_generics() {
        proptest::proptest!(|(name in "[a-z<>:&{}(), \\[\\]-]{0,60}")| {
            let cut = short(&name);
            proptest::prop_assert!(cut.len() <= name.len() + 1, "{name}: {cut}");
        });
    }

    #[test]
    fn a_file_is_a_module() {
        for (file, expected) in [
            (
                "/r/futures-util-0.3.34/src/future/map.rs",
                Some("futures_util::future::map"),
            ),
            (
                "/rustc/0123/library/alloc/src/vec/mod.rs",
                Some("alloc::vec"),
            ),
            ("/work/shop/src/lib.rs", Some("shop")),
            ("src/cache.rs", Some("cache")),
            ("src/bin/worker.rs", Some("worker")),
            (
                "examples/incident/recommendations.rs",
                Some("incident::recommendations"),
            ),
            ("tests/cache.rs", Some("cache")),
            ("src/main.rs", None),
            ("cache.c", None),
            ("", None),
        ] {
            assert_eq!(module(Path::new(file)).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn a_band_says_how_many_and_of_whom() {
        let frames = |crates: &[&str]| {
            let frames = crates
                .iter()
                .map(|name| (String::new(), (*name).to_owned()));
            Band::of(&frames.collect::<Vec<_>>())
        };
        let mut band = frames(&["std", "tokio", "tokio"]);
        assert_eq!(band.describe(), "… 3 frames of tokio, std");
        band.join(&frames(&["a", "b", "tokio", "tokio", "tokio"]));
        assert_eq!(band.describe(), "… 3 to 5 frames of tokio, a, b and others");
    }

    #[test]
    fn plumbing_goes_by_whose_it_is_and_then_by_its_crate() {
        let more = ["ours".to_owned()];
        let of = |name, whose| plumbing(name, whose, &more);
        assert_eq!(
            of("tokio::park", Whose::Dependencys).as_deref(),
            Some("tokio")
        );
        assert_eq!(of("ours::run", Whose::Unplaced).as_deref(), Some("ours"));
        assert_eq!(of("serde_json::from_str", Whose::Dependencys), None);
        // A person may call a module so.
        assert_eq!(of("tokio::f", Whose::Users), None);
        assert_eq!(
            of("__libc_start_main", Whose::Foreign).as_deref(),
            Some("C")
        );
        assert_eq!(of("clone", Whose::Standard).as_deref(), Some("std"));
        assert_eq!(of("0x1234", Whose::Nobody), None);
    }
}
