//! From addresses to functions and lines, with the memory of a few windows into the program's debug
//! information, and none afterwards.
//!
//! ```text
//!   addresses ─► by module ([`modules`]) ─► its file ([`file`]): symbol table ─► names of functions
//!                                              └─► debug information ([`dwarf`], [`lines`]) ─► inlined functions, lines
//!                                                          all of them ─► whose each is ([`whose`], by what is [`told`])
//! ```
//!
//! The crate `backtrace` does the same and keeps what it has read, which is ten times the debug
//! information of a small service: it serves where there is no ELF ([`elsewhere`]).

#![cfg_attr(
    not(all(target_os = "linux", target_pointer_width = "64")),
    allow(dead_code) // what is made of a program's file
)]

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod dwarf;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod elsewhere;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod file;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod lines;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod look_up;
pub(crate) mod modules;
mod told;
mod whose;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
use elsewhere as look_up;

pub(crate) use whose::Whose;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use whose::Landmarks;

/// What is known of the addresses that were asked for.
#[derive(Debug)]
pub(crate) struct Symbols {
    places: HashMap<usize, CodePlace>,
    #[cfg(feature = "profile")]
    landmarks: Landmarks,
}

/// What is known of an address that a call returns to.
#[derive(Debug, Default)]
pub(crate) struct CodePlace {
    /// The functions there: the innermost of those that were inlined first. Empty: unknown.
    pub(crate) functions: Vec<Function>,
    /// Why functions or lines are not known.
    pub(crate) lacks: Option<Lack>,
    /// It is in the program itself, not in a library.
    pub(crate) in_program: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// The path of the function; where it was inlined and the program has line tables only, its name alone.
    pub(crate) name: Arc<str>,
    /// As the linker knows it; empty where it does not.
    pub(crate) mangled: Arc<str>,
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) line: Option<u32>,
    /// Where it was compiled, if that is all that is known: its debug information lies in a file that is not
    /// there.
    compiled_in: Option<Arc<Source>>,
    /// Not Rust, as far as is known.
    pub(crate) is_foreign: bool,
    pub(crate) whose: Whose,
}

/// A source file, or a folder of them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// As the compiler was told it.
    given: PathBuf,
    /// With the directory that the compiler ran in.
    pub(crate) full: PathBuf,
}

/// Names and files, each kept once: most addresses share theirs with others.
#[derive(Debug, Default)]
struct Kept {
    names: RefCell<HashSet<Arc<str>>>,
    sources: RefCell<HashSet<Arc<Source>>>,
}

/// Why functions or lines are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The module has no symbols.
    Symbols,
    /// The module has symbols, and no lines of this function.
    Lines,
    /// The debug information lies in other files, which are not there.
    Split,
    /// The debug information is compressed, and not in a way that is read.
    Compressed,
    /// The module's file cannot be read, or is another one by now.
    File,
    /// No module is there.
    Module,
}

impl Lack {
    /// What it means, and how to mend it.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Lack::Symbols => {
                "no debug information: the program is stripped; add `debug = \"line-tables-only\"` and \
                 `strip = \"none\"` to its profile in Cargo.toml"
            }
            Lack::Lines => {
                "no debug information; add `debug = \"line-tables-only\"` and `strip = \"none\"` to the \
                 profile in Cargo.toml"
            }
            Lack::Split => {
                "no debug information: the files that `split-debuginfo` made are not where they were; keep \
                 them with the program, or add `split-debuginfo = \"off\"` to its profile in Cargo.toml"
            }
            Lack::Compressed => {
                "no debug information: it is compressed with zstd, which is not read; link with \
                 `-Wl,--compress-debug-sections=none`, or `zlib`"
            }
            Lack::File => "no debug information: the program's file is gone or another one by now",
            Lack::Module => "no debug information: the code belongs to no file",
        }
    }
}

impl Symbols {
    /// Looks up all of the addresses at once.
    pub(crate) fn look_up(addresses: impl IntoIterator<Item = usize>) -> Self {
        let mut addresses: Vec<usize> = addresses.into_iter().collect();
        let known = whose::known_functions();
        addresses.extend(known.iter().map(|(address, _)| *address));
        addresses.sort_unstable();
        addresses.dedup();
        let mut places: HashMap<usize, CodePlace> = HashMap::with_capacity(addresses.len());
        look_up::look_up(&addresses, &Kept::default(), &mut places);
        let mut landmarks = Landmarks::told_by_this_build();
        for (address, library) in known {
            let function = places
                .get(&address)
                .and_then(|place| place.functions.last());
            landmarks.learn(function, library);
        }
        landmarks.prefer_full_paths();
        // Most functions share their file with others.
        let mut by_source: HashMap<*const Source, Whose> = HashMap::new();
        for function in places.values_mut().flat_map(|place| &mut place.functions) {
            function.whose = landmarks.whose(function, |source| {
                *(by_source.entry(std::ptr::from_ref(source)))
                    .or_insert_with(|| landmarks.whose_source(source))
            });
        }
        Symbols {
            places,
            #[cfg(feature = "profile")]
            landmarks,
        }
    }

    /// A name that no function at another place has.
    #[cfg(feature = "profile")]
    pub(crate) fn name_of_its_own(&self, function: &Function) -> Arc<str> {
        let Some(source) = function.source.as_deref().filter(|_| !function.has_path()) else {
            return Arc::clone(&function.name);
        };
        let place = self.place_in(source, function.line);
        format!("{} at {place}", function.name).into()
    }

    /// `file:line`, without folders that are the same for all packages.
    #[cfg(feature = "profile")]
    pub(crate) fn short_place(&self, function: &Function) -> Option<String> {
        let source = function.source.as_deref()?;
        Some(self.place_in(source, function.line))
    }

    #[cfg(feature = "profile")]
    fn place_in(&self, source: &Source, line: Option<u32>) -> String {
        let file = self.landmarks.short(source).display();
        match line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        }
    }

    /// What is known of an address that was asked for.
    pub(crate) fn place(&self, address: usize) -> &CodePlace {
        static UNKNOWN: CodePlace = CodePlace {
            functions: Vec::new(),
            lacks: Some(Lack::Module),
            in_program: false,
        };
        self.places.get(&address).unwrap_or(&UNKNOWN)
    }
}

impl Function {
    /// Whether its name is a path, which no other function has.
    #[cfg(feature = "profile")]
    pub(crate) fn has_path(&self) -> bool {
        !self.mangled.is_empty()
    }

    /// `file:line`, as far as known.
    #[cfg(feature = "profile")]
    pub(crate) fn at(&self) -> Option<String> {
        let file = self.source.as_ref()?.relative().display();
        Some(match self.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        })
    }
}

impl Source {
    fn new(given: PathBuf, directory: Option<&Path>) -> Self {
        let full = directory.map_or_else(|| given.clone(), |directory| directory.join(&given));
        Source { given, full }
    }

    /// Relative to the working directory, where it lies below it.
    pub(crate) fn relative(&self) -> &Path {
        static HERE: OnceLock<PathBuf> = OnceLock::new();
        let here = HERE.get_or_init(|| std::env::current_dir().unwrap_or_default());
        self.full.strip_prefix(here).unwrap_or(&self.full)
    }
}

impl Kept {
    fn name(&self, name: &str) -> Arc<str> {
        let mut names = self.names.borrow_mut();
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    }

    fn source(&self, source: Source) -> Arc<Source> {
        let mut sources = self.sources.borrow_mut();
        if let Some(known) = sources.get(&source) {
            return Arc::clone(known);
        }
        let source = Arc::new(source);
        sources.insert(Arc::clone(&source));
        source
    }
}

/// The name as a person writes it, of a function as the linker knows it.
fn demangled(mangled: &[u8]) -> String {
    format!("{:#}", backtrace::SymbolName::new(mangled))
}

/// Whether the linker's name is one that rustc makes.
fn is_of_rust(mangled: &str) -> bool {
    // The older way ends in a hash: `17h0123456789abcdefE`.
    let older = || {
        let hash = mangled.split("17h").last().unwrap_or_default();
        mangled.starts_with("_ZN") && hash.len() >= 17 && hash.as_bytes()[16] == b'E'
    };
    mangled.starts_with("_R") || older()
}
