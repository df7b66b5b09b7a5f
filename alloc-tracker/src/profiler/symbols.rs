//! From addresses to functions. Each is looked up once in the life of the process.

use crate::call_site;
use crate::fork::Lock;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The functions at an address: the innermost of those that were inlined first. Empty: unknown.
pub(super) type Symbols = Arc<[Symbol]>;

#[derive(Debug)]
pub(super) struct Symbol {
    pub(super) function: String,
    /// As the linker knows it.
    pub(super) mangled: String,
    pub(super) file: Option<PathBuf>,
    pub(super) line: u32,
}

static KNOWN: Lock<HashMap<usize, Symbols>> = Lock::new();

/// The functions at each of the addresses that a call returns to.
pub(super) fn resolve(addresses: impl IntoIterator<Item = usize>) -> HashMap<usize, Symbols> {
    let mut known = KNOWN.lock();
    let mut found = HashMap::new();
    for address in addresses {
        found.entry(address).or_insert_with(|| {
            let symbols = known.entry(address).or_insert_with(|| look_up(address));
            Arc::clone(symbols)
        });
    }
    found
}

fn look_up(address: usize) -> Symbols {
    let mut symbols = Vec::new();
    backtrace::resolve(address as *mut _, |symbol| {
        if let Some(name) = symbol.name() {
            symbols.push(Symbol {
                function: format!("{name:#}"),
                mangled: name.as_str().unwrap_or_default().to_owned(),
                file: symbol.filename().map(PathBuf::from),
                line: symbol.lineno().unwrap_or(0),
            });
        }
    });
    symbols.into()
}

/// Where a stack begins for a reader: so many frames are left out, and so many functions of the first one
/// that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) frames: usize,
    pub(super) functions: usize,
}

/// What is left out of a stack: the tracker, what the compiler makes around a global allocator, and what
/// of the standard library leads there, such as how a vector grows. A profile is to say first who asked
/// for memory. If there is nobody but the standard library, all of that is shown.
pub(super) fn start(frames: &[usize], symbols: &HashMap<usize, Symbols>) -> Start {
    let mut start = Start {
        frames: 0,
        functions: 0,
    };
    for (index, frame) in frames.iter().enumerate() {
        match symbols.get(frame).map(|symbols| whose(symbols)) {
            Some(Whose::Trackers) => start.frames = index + 1,
            // The tracker calls it, or it is the user's.
            Some(Whose::Librarys) => {}
            Some(Whose::Others) | None => break,
        }
    }
    for (index, frame) in frames.iter().enumerate().skip(start.frames) {
        let known = symbols.get(frame).map_or(&[][..], |symbols| symbols);
        let asks = |symbol: &Symbol| symbol.origin() != call_site::Origin::Runtime;
        if known.is_empty() {
            // Without names nothing can be left out.
            return start;
        }
        if let Some(functions) = known.iter().position(asks) {
            return Start {
                frames: index,
                functions,
            };
        }
    }
    start
}

enum Whose {
    Trackers,
    Librarys,
    Others,
}

fn whose(symbols: &[Symbol]) -> Whose {
    // Where a program has line tables only, functions that were inlined have no path before their
    // name, but a file.
    let starts = |symbol: &Symbol, with: &[&str]| {
        let name = symbol.function.trim_start_matches('<');
        with.iter().any(|prefix| name.starts_with(prefix))
    };
    let lies = |symbol: &Symbol, in_: &[&str]| {
        let file = symbol
            .file
            .as_deref()
            .unwrap_or("".as_ref())
            .to_string_lossy();
        in_.iter().any(|part| file.contains(part))
    };
    let trackers = |symbol: &Symbol| {
        starts(symbol, &["alloc_tracker::", "__rust", "__rdl_", "__rg_"])
            || lies(symbol, &[call_site::OWN_SOURCES])
    };
    let librarys = |symbol: &Symbol| {
        starts(symbol, &["std::", "core::", "backtrace::"])
            || lies(symbol, &["/library/std/src/", "/library/core/src/"])
    };
    // By the function that the others were inlined into.
    match symbols.last() {
        Some(function) if trackers(function) => Whose::Trackers,
        Some(function) if librarys(function) => Whose::Librarys,
        _ => Whose::Others,
    }
}

impl Symbol {
    fn origin(&self) -> call_site::Origin {
        call_site::Origin::of(&self.function, self.file.as_deref())
    }

    pub(super) fn frame(&self) -> super::formats::Frame {
        super::formats::Frame {
            function: self.function.clone(),
            place: match &self.file {
                Some(file) => format!("{}:{}", call_site::relative(file).display(), self.line),
                None => String::new(),
            },
            origin: self.origin(),
        }
    }
}
