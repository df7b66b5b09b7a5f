//! What the library is called in the crate that is being compiled: its manifest says so.

use crate::Error;
use crate::template::fill;
use crate::toml::{self, Fact};
use proc_macro::{Ident, Span, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

const PACKAGE: &str = "lightweight-alloc-tracker";
/// What the library calls itself.
const LIBRARY: &str = "alloc_tracker";

/// The path of the library, `::alloc_tracker` unless the dependency has another name.
///
/// It is read anew for each attribute: a server that expands macros for an editor outlives changes.
pub(crate) fn path() -> Result<TokenStream, Error> {
    let name = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(directory) if !is_own_package() => name_in(Path::new(&directory)),
        _ => Found::CannotTell,
    };
    let name = match name {
        Found::Name(name) => name,
        // Not built by Cargo, perhaps.
        Found::CannotTell => LIBRARY.to_owned(),
        Found::Absent => {
            return Err(Error::new(
                Span::call_site(),
                format!(
                    "this package does not depend on `{PACKAGE}`: add it, or, where another crate \
                     re-exports it (`pub use alloc_tracker;`), say where: \
                     `#[budget(crate = that_crate::alloc_tracker, ..)]`"
                ),
            ));
        }
    };
    let name = TokenTree::from(Ident::new(&name, Span::call_site()));
    Ok(fill("::#name", &[("name", name.into())]))
}

/// Whether these are the library's own tests.
fn is_own_package() -> bool {
    std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == PACKAGE)
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Name(String),
    Absent,
    CannotTell,
}

fn name_in(directory: &Path) -> Found {
    let Some(manifest) = read(directory) else {
        return Found::CannotTell;
    };
    name_of(&manifest, || workspace_of(&manifest, directory))
}

fn read(directory: &Path) -> Option<Vec<Fact>> {
    let text = std::fs::read_to_string(directory.join("Cargo.toml")).ok()?;
    toml::read(&text)
}

/// The manifest of the workspace that the package is in.
fn workspace_of(manifest: &[Fact], directory: &Path) -> Option<Vec<Fact>> {
    let is_root = |facts: &Vec<Fact>| facts.iter().any(|(path, _)| path[0] == "workspace");
    let named = value(manifest, &["package", "workspace"]);
    let candidates: Vec<PathBuf> = match named {
        Some(path) => vec![directory.join(path)],
        None => directory.ancestors().map(Path::to_owned).collect(),
    };
    candidates.iter().find_map(|d| read(d).filter(is_root))
}

fn value<'facts>(facts: &'facts [Fact], path: &[&str]) -> Option<&'facts str> {
    let fact = facts.iter().find(|(known, _)| known == path);
    fact.map(|(_, value)| value.as_str())
}

/// Where dependencies are listed. A name that is usual comes first.
const TABLES: [&str; 5] = [
    "dependencies",
    "dev-dependencies",
    "dev_dependencies",
    "build-dependencies",
    "build_dependencies",
];

fn name_of(manifest: &[Fact], workspace: impl FnOnce() -> Option<Vec<Fact>>) -> Found {
    let mut workspace = Some(workspace);
    let mut shared = None;
    let mut is_unread = false;
    for table in TABLES {
        for (path, _) in manifest {
            let at = match path.as_slice() {
                [first, ..] if first == table => 0,
                [target, _, third, ..] if target == "target" && third == table => 2,
                _ => continue,
            };
            let Some(key) = path.get(at + 1) else {
                continue;
            };
            let entry: Vec<&str> = path[..at + 2].iter().map(String::as_str).collect();
            let of = |what| value(manifest, &[entry.as_slice(), &[what]].concat());
            let package = if of("workspace") == Some("true") {
                if let Some(workspace) = workspace.take() {
                    shared = workspace();
                }
                let Some(shared) = &shared else {
                    // Under the name of the package, or under another that nobody can read.
                    if key == PACKAGE {
                        return Found::Name(LIBRARY.to_owned());
                    }
                    is_unread = true;
                    continue;
                };
                value(shared, &["workspace", "dependencies", key, "package"])
            } else {
                of("package")
            };
            match package {
                // So does Cargo: only a renamed dependency has the name that is written.
                Some(package) if package == PACKAGE => return Found::Name(key.replace('-', "_")),
                None if key == PACKAGE => return Found::Name(LIBRARY.to_owned()),
                _ => {}
            }
        }
    }
    match is_unread {
        true => Found::CannotTell,
        false => Found::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, name_of};
    use crate::toml;

    fn name(manifest: &str, workspace: &str) -> Found {
        let manifest = toml::read(manifest).unwrap();
        name_of(&manifest, || toml::read(workspace))
    }

    fn is(name: &str) -> Found {
        Found::Name(name.to_owned())
    }

    #[test]
    fn a_dependency_has_the_name_that_cargo_gives_it() {
        let plain = "[dependencies]\nlightweight-alloc-tracker = \"0.1\"";
        assert_eq!(name(plain, ""), is("alloc_tracker"));
        let table = "[dependencies.lightweight-alloc-tracker]\npath = '..'";
        assert_eq!(name(table, ""), is("alloc_tracker"));
        let renamed = "[dev-dependencies]\nat = { package = \"lightweight-alloc-tracker\" }";
        assert_eq!(name(renamed, ""), is("at"));
        let dashed = "[dependencies]\nmy-at.package = 'lightweight-alloc-tracker'";
        assert_eq!(name(dashed, ""), is("my_at"));
        let own_name = "[dependencies]\n\
            lightweight-alloc-tracker = { package = \"lightweight-alloc-tracker\" }";
        assert_eq!(name(own_name, ""), is("lightweight_alloc_tracker"));
        let target = "[target.'cfg(unix)'.dev-dependencies]\n\
            at = { package = \"lightweight-alloc-tracker\" }";
        assert_eq!(name(target, ""), is("at"));
    }

    #[test]
    fn the_plain_name_of_another_package_is_not_taken_for_it() {
        let both = "[dependencies]\nalloc_tracker = \"1\"\n\
            at = { package = \"lightweight-alloc-tracker\" }";
        assert_eq!(name(both, ""), is("at"));
        assert_eq!(
            name("[dependencies]\nalloc_tracker = \"1\"", ""),
            Found::Absent
        );
    }

    #[test]
    fn a_workspace_may_have_renamed_it() {
        let workspace = "[workspace.dependencies]\n\
            at = { package = \"lightweight-alloc-tracker\", path = \"..\" }\n\
            lightweight-alloc-tracker = \"0.1\"";
        assert_eq!(
            name("[dependencies]\nat.workspace = true", workspace),
            is("at")
        );
        let table = "[dev-dependencies]\nat = { workspace = true, features = [] }";
        assert_eq!(name(table, workspace), is("at"));
        let plain = "[dependencies]\nlightweight-alloc-tracker.workspace = true";
        assert_eq!(name(plain, workspace), is("alloc_tracker"));
        assert_eq!(
            name("[dependencies]\nserde.workspace = true", workspace),
            Found::Absent
        );
    }
}
