//! Whose code a function is.
//!
//! Where the sources of the standard library lie, those of this crate and those of dependencies, is what
//! this build of them says: the location of a call that they make, and the debug information of functions
//! of theirs. So it holds for whoever has built the compiler, and wherever paths were mapped to.

use super::told::{file_of_core, file_of_dependency, file_of_hashbrown};
use super::{Function, Source};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Whose a function is; the order is that of preference when somebody is to be named.
///
/// Without lines nothing tells the user's code from that of dependencies: such a function is the user's
/// rather than a dependency's. Where the lines are lost with a file and the folder is known that it was compiled
/// in, that tells: else a function of the user's would be passed over for one that calls it and has a line.
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
    /// The folders of dependencies are called by name and version.
    are_versioned: bool,
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
        Self::from_files(
            file_of_core(),
            file_of_hashbrown(),
            file!(),
            file_of_dependency(),
        )
    }

    fn from_files(
        core: &str,
        hashbrown: Option<&str>,
        own: &str,
        dependency: Option<&str>,
    ) -> Self {
        let mut landmarks = Landmarks::default();
        landmarks.add(Path::new(core), Library::Standard);
        landmarks.add(Path::new(own), Library::Tracker);
        if let Some(package) = hashbrown.and_then(|file| package_of(Path::new(file))) {
            // Beside it lie the other packages that the standard library is made of, unless it was built
            // with this program, from where all packages are.
            let others = package.parent().filter(|others| !is_cargos(others));
            let folder = others.unwrap_or(package).to_owned();
            landmarks.standard.push(folder);
        }
        if let Some(package) = dependency.and_then(|file| package_of(Path::new(file))) {
            landmarks.dependencies.extend(folder_of_packages(package));
            landmarks.are_versioned = is_versioned(package);
        }
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
        if let Some(folder) = folder {
            if !folders.iter().any(|known| known == folder) {
                folders.push(folder.to_owned());
            }
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
            None => {
                let whose = by_name(function);
                // A name without a path is one that somebody gave to the linker.
                let is_open = || whose == Whose::Unplaced || !name.contains("::");
                match function.compiled_in.as_ref().filter(|_| is_open()) {
                    None => whose,
                    Some(folder) => match by_source(folder) {
                        Whose::Dependencys => Whose::Dependencys,
                        _ => Whose::Users,
                    },
                }
            }
        }
    }

    /// A compiler that is given relative paths says so wherever it runs: `src/lib.rs` is then no folder of
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
            None if self.is_dependencys(source) => Whose::Dependencys,
            None => Whose::Users,
        }
    }

    fn is_dependencys(&self, source: &Source) -> bool {
        self.dependencies
            .iter()
            .any(|folder| match folder.as_os_str().is_empty() {
                // Trimmed paths begin with the package's folder, and the user's own with other folders.
                true => {
                    let first = source.given.iter().next();
                    self.are_versioned && first.is_some_and(|first| is_versioned(Path::new(first)))
                }
                false => folder_has(folder, source),
            })
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
    // The directory that the compiler ran in may have been mapped to a relative path.
    source.full.starts_with(folder) || (folder.is_relative() && source.given.starts_with(folder))
}

/// By the name alone, where there is nothing else. The names of crates are those that types of theirs have.
fn by_name(function: &Function) -> Whose {
    let krate = |name: &'static str| name.split("::").next().unwrap_or(name);
    let standard = [
        krate(std::any::type_name::<Option<u8>>()),
        krate(std::any::type_name::<Vec<u8>>()),
        krate(std::any::type_name::<HashMap<u8, u8>>()),
        // What they are made of, and what runs tests.
        "hashbrown",
        "test",
    ];
    let of = |path: &str| match crate_of(path) {
        // A type of the language, which only the standard library gives functions of its own.
        None => Whose::Standard,
        Some(name) if name == krate(module_path!()) || name == "backtrace" => Whose::Trackers,
        Some(name) if standard.contains(&name) => Whose::Standard,
        Some(_) => Whose::Unplaced,
    };
    // `<Type as Trait>::f` is of the crate that has the one or the other.
    match function
        .name
        .strip_prefix('<')
        .and_then(|name| name.split_once(" as "))
    {
        Some((of_type, of_trait)) => of(of_type).min(of(of_trait)),
        None => of(&function.name),
    }
}

/// The crate that a path begins with, if it is one.
fn crate_of(path: &str) -> Option<&str> {
    let marks = ['<', '&', '[', '(', '*'];
    let path = path.trim_start_matches(marks).trim_start_matches("mut ");
    let path = path.trim_start_matches("dyn ").trim_start_matches(marks);
    // Names have signs of other languages that are no letters by themselves.
    let end = path.find(|c: char| c.is_ascii() && !(c.is_ascii_alphanumeric() || c == '_'))?;
    path[end..].starts_with("::").then(|| &path[..end])
}

/// The folder of the package that a file belongs to: what stands before its `src`.
fn package_of(file: &Path) -> Option<&Path> {
    let src = file.ancestors().find(|folder| folder.ends_with("src"))?;
    src.parent()
}

/// The folder in which the folders of packages lie, by that of one of them.
fn folder_of_packages(package: &Path) -> Option<PathBuf> {
    let mut package = package;
    // Some builds unpack each package into a folder of its own, which has its name, too.
    while let (Some(name), Some(outer)) = (package.file_name(), package.parent()) {
        let has_name = || Some(outer.file_name()?.to_str()?.contains(name.to_str()?));
        if has_name() != Some(true) {
            break;
        }
        package = outer;
    }
    Some(package.parent()?.to_owned())
}

/// `serde-1.0.228`.
fn is_versioned(package: &Path) -> bool {
    let name = package
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let version = name
        .split('-')
        .skip(1)
        .find(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    version.is_some_and(|version| version.split('.').count() >= 3)
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

#[cfg(test)]
mod tests;
