//! Whose code a function is.
//!
//! Where the sources of the standard library lie, those of this crate and those of dependencies, is what
//! this build of them says: the location of a call that they make, and the debug information of functions
//! of theirs. So it holds for whoever has built the compiler, and wherever paths were mapped to.

use super::{Function, Source};
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::Location;
use std::path::{Path, PathBuf};

/// Whose a function is; the order is that of preference when somebody is to be named.
///
/// Without lines nothing tells the user's code from that of dependencies: such a function is the user's
/// rather than a dependency's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Users,
    Unplaced,
    Dependencys,
    /// The standard library's, and that of what is below it.
    Standard,
    /// This crate's, and what the compiler makes around a global allocator.
    Trackers,
    /// No Rust.
    Foreign,
    /// Not asked yet.
    Nobody,
}

/// A library whose sources are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Standard,
    Tracker,
}

/// The folders of sources.
#[derive(Debug, Default)]
pub(super) struct Landmarks {
    standard: Vec<PathBuf>,
    own: Vec<PathBuf>,
    dependencies: Vec<PathBuf>,
}

/// This file in the folder of this crate's sources.
const OWN_FILE: &str = "symbols/whose.rs";

/// Functions of the standard library and of this crate, as addresses that a call in them would return to.
/// The first are compiled with the standard library, others here.
pub(super) fn known_functions() -> Vec<(usize, Library)> {
    let park: fn() = std::thread::park;
    let utf8: fn(&[u8]) -> Result<&str, std::str::Utf8Error> = std::str::from_utf8;
    let push: fn(&mut Vec<Whose>, Whose) = Vec::push;
    let own: fn() -> Landmarks = Landmarks::told_by_this_build;
    [
        (park as usize, Library::Standard),
        (utf8 as usize, Library::Standard),
        (push as usize, Library::Standard),
        (own as usize, Library::Tracker),
    ]
    .map(|(function, library)| (function + 2, library))
    .into()
}

impl Landmarks {
    pub(super) fn told_by_this_build() -> Self {
        let mut landmarks = Landmarks::default();
        landmarks.add(Path::new(file_of_core()), Library::Standard);
        landmarks.add(Path::new(file!()), Library::Tracker);
        if let Some(file) = file_of_hashbrown() {
            // Beside it lie the other packages that the standard library is made of, unless it was built
            // with this program, from where all packages are.
            if let Some(package) = package_of(Path::new(file)) {
                let others = package.parent().filter(|others| !is_cargos(others));
                landmarks
                    .standard
                    .push(others.unwrap_or(package).to_owned());
            }
        }
        landmarks
            .dependencies
            .extend(file_of_dependency().and_then(|file| {
                let mut package = package_of(Path::new(file))?;
                // Some builds unpack each package into a folder of its own.
                while let (Some(name), Some(outer)) = (package.file_name(), package.parent()) {
                    let contains = |outer: &Path| {
                        let outer = outer.file_name()?.to_str()?;
                        Some(outer.contains(name.to_str()?))
                    };
                    if contains(outer) != Some(true) {
                        break;
                    }
                    package = outer;
                }
                let all = package.parent()?;
                (all != Path::new("")).then(|| all.to_owned())
            }));
        landmarks
    }

    /// Learns from the debug information of a known function.
    pub(super) fn learn(&mut self, function: Option<&Function>, library: Library) {
        if let Some(source) = function.and_then(|function| function.source.as_deref()) {
            self.add(&source.full, library);
        }
    }

    fn add(&mut self, file: &Path, library: Library) {
        let (folders, folder) = match library {
            // `<folder>/core/src/..`, and so for others.
            Library::Standard => (&mut self.standard, package_of(file).and_then(Path::parent)),
            Library::Tracker => (
                &mut self.own,
                file.ends_with(OWN_FILE)
                    .then(|| file.ancestors().nth(2).unwrap_or(file)),
            ),
        };
        if let Some(folder) = folder
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_owned());
        }
    }

    /// `by_source` is [`Landmarks::whose_source`].
    pub(super) fn whose(
        &self,
        function: &Function,
        by_source: impl FnOnce(&Source) -> Whose,
    ) -> Whose {
        // What rustc makes of a global allocator stands at the allocator's line, and an allocator
        // around the tracker allocates for others.
        let name = &*function.name;
        let shims = ["__rust", "__rdl", "__rg"];
        let is_shim = shims.iter().any(|shim| name.starts_with(shim));
        if is_shim || name.contains("alloc::global::GlobalAlloc>::") {
            return Whose::Trackers;
        }
        if function.is_foreign {
            return Whose::Foreign;
        }
        match &function.source {
            Some(source) => by_source(source),
            None => by_name(function),
        }
    }

    /// A compiler that is told relative paths says so wherever it runs: `src/lib.rs` is then no folder of
    /// this crate's, if debug information has told a better one.
    pub(super) fn prefer_full_paths(&mut self) {
        for folders in [&mut self.standard, &mut self.own] {
            if folders.iter().any(|folder| folder.is_absolute()) {
                folders.retain(|folder| folder.is_absolute());
            }
        }
    }

    /// Better than by the name: a person may implement a trait for `Vec`.
    pub(super) fn whose_source(&self, source: &Source) -> Whose {
        let lies_in = |folders: &[PathBuf]| folders.iter().any(|f| folder_has(f, source));
        if lies_in(&self.own) {
            return Whose::Trackers;
        }
        if self
            .standard
            .iter()
            .any(|f| match f.as_os_str().is_empty() {
                // Then it is the folders in it that tell.
                true => ["core", "alloc", "std"]
                    .iter()
                    .any(|name| folder_has(&Path::new(name).join("src"), source)),
                false => folder_has(f, source),
            })
        {
            return Whose::Standard;
        }
        match cargos_package(&source.full) {
            Some(package) if package.starts_with("backtrace-") => Whose::Trackers,
            Some(_) => Whose::Dependencys,
            None if lies_in(&self.dependencies) => Whose::Dependencys,
            None => Whose::Users,
        }
    }

    /// A file's path without what is the same for all of its kind.
    #[cfg(feature = "profile")]
    pub(super) fn short<'a>(&self, source: &'a Source) -> &'a Path {
        let here = source.relative();
        let folders = (self.standard.iter()).chain(&self.dependencies);
        let mut others = folders
            .filter(|folder| here.is_absolute() && !folder.as_os_str().is_empty())
            .filter_map(|folder| source.full.strip_prefix(folder).ok());
        others.next().unwrap_or(here)
    }
}

fn folder_has(folder: &Path, source: &Source) -> bool {
    match folder.is_absolute() {
        true => source.full.starts_with(folder),
        false => source.given.starts_with(folder),
    }
}

/// By the name alone, where there is nothing else. The names of crates are those that types of theirs have.
fn by_name(function: &Function) -> Whose {
    // `<alloc::vec::Vec<T> as ..>::f` is the standard library's as `alloc::vec::f` is.
    let path = function.name.trim_start_matches(['<', '&', '[', '(', '*']);
    let path = path.strip_prefix("dyn ").unwrap_or(path);
    let of = |name: &'static str| name.split("::").next().unwrap_or(name);
    let krate = of_crate(path);
    let standard = [
        of(std::any::type_name::<Option<u8>>()),
        of(std::any::type_name::<Vec<u8>>()),
        of(std::any::type_name::<HashMap<u8, u8>>()),
        // What they are made of, and what runs tests.
        "hashbrown",
        "test",
    ];
    if krate == of(module_path!()) || krate == "backtrace" {
        Whose::Trackers
    } else if standard.contains(&krate) {
        Whose::Standard
    } else {
        Whose::Unplaced
    }
}

fn of_crate(path: &str) -> &str {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &path[..end.unwrap_or(path.len())]
}

/// The folder of the package that a file belongs to: what stands before its `src`.
fn package_of(file: &Path) -> Option<&Path> {
    let src = file.ancestors().find(|folder| folder.ends_with("src"))?;
    src.parent()
}

/// Whether a folder is one in which Cargo keeps the sources of packages.
fn is_cargos(folder: &Path) -> bool {
    cargos_package(&folder.join("package")).is_some()
}

/// The package of a file where Cargo has unpacked it: `registry/src/<host>-<hash>/<package>-<version>/..`,
/// `git/checkouts/<package>-<hash>/..`.
fn cargos_package(file: &Path) -> Option<&str> {
    let ends_in_hash = |part: &str| {
        part.rsplit_once('-').is_some_and(|(_, hash)| {
            hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit())
        })
    };
    let parts: Vec<&str> = (file.components())
        .map(|part| part.as_os_str().to_str().unwrap_or_default())
        .collect();
    parts.windows(4).find_map(|four| match four {
        ["registry", "src", host, package] if ends_in_hash(host) => Some(*package),
        ["git", "checkouts", package, _] if ends_in_hash(package) => Some(*package),
        _ => None,
    })
}

#[track_caller]
fn caller() -> &'static str {
    Location::caller().file()
}

/// The file of a function of the standard library that calls ours.
fn file_of_core() -> &'static str {
    None.unwrap_or_else(caller)
}

/// The same of the package in it that its hash maps are made of.
fn file_of_hashbrown() -> Option<&'static str> {
    struct Nothing<'a>(&'a Cell<Option<&'static str>>);

    impl Iterator for Nothing<'_> {
        type Item = (u8, ());

        fn next(&mut self) -> Option<Self::Item> {
            None
        }

        #[track_caller]
        fn size_hint(&self) -> (usize, Option<usize>) {
            self.0.set(Some(caller()));
            (0, None)
        }
    }

    let file = Cell::new(None);
    HashMap::new().extend(Nothing(&file));
    // Something else may stand between.
    file.get().filter(|file| file.contains("hashbrown"))
}

/// The file of a dependency that calls ours.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn file_of_dependency() -> Option<&'static str> {
    #[derive(Clone, Copy)]
    struct Asked<'a>(&'a Cell<Option<&'static str>>);

    impl<'a> object::ReadRef<'a> for Asked<'_> {
        fn len(self) -> Result<u64, ()> {
            Err(())
        }

        #[track_caller]
        fn read_bytes_at(self, _: u64, _: u64) -> Result<&'a [u8], ()> {
            self.0.set(Some(caller()));
            Err(())
        }

        fn read_bytes_at_until(self, _: std::ops::Range<u64>, _: u8) -> Result<&'a [u8], ()> {
            Err(())
        }
    }

    let file = Cell::new(None);
    // It asks us for the bytes, and there are none.
    let _ = object::ReadRef::read_bytes(Asked(&file), &mut 0, 1);
    file.get()
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn file_of_dependency() -> Option<&'static str> {
    None
}
