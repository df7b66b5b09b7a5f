//! `docs/start.md`, typed into empty projects: a service's dependencies, and a library's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of this language in the guide, in their order.
fn blocks(language: &str) -> Vec<String> {
    let guide = fs::read_to_string(root().join("docs/start.md")).unwrap();
    let fences = guide.split("\n```").skip(1).step_by(2);
    let blocks = fences.filter_map(|fence| fence.strip_prefix(language)?.strip_prefix('\n'));
    blocks.map(str::to_owned).collect()
}

fn block(language: &str, holds: &str) -> String {
    let mut blocks = blocks(language).into_iter();
    let found = blocks.find(|block| block.contains(holds));
    found.unwrap_or_else(|| panic!("the guide has no `{language}` block with `{holds}`"))
}

/// An empty project with these dependencies, which are taken from here, and these files.
fn project(name: &str, dependencies: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = root().join("target/guide").join(name);
    let _ = fs::remove_dir_all(&folder);
    let mut dependencies = dependencies.to_owned();
    for (package, path) in [
        ("lightweight-alloc-tracker", "alloc-tracker"),
        ("lightweight-telemetry", "telemetry"),
    ] {
        let path = root().join(path);
        let from = format!("{package} = {{ version = \"0.1\"");
        let to = format!("{package} = {{ path = {path:?}");
        dependencies = dependencies.replace(&from, &to);
    }
    assert!(
        !dependencies.contains("version = \"0.1\""),
        "{dependencies}"
    );
    let manifest = format!(
        "[workspace]\n\n[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{dependencies}"
    );
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for (path, text) in [("Cargo.toml", &*manifest), ("Cargo.lock", &lock)]
        .iter()
        .chain(files)
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// What a command of Cargo prints in the project.
fn cargo(project: &Path, command: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg(command).current_dir(project);
    cargo.env("CARGO_TARGET_DIR", root().join("target/guide/target"));
    // What is built once and asked for no line.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{said}");
    printed
}

#[test]
fn of_a_service() {
    let allocator = block("rust", "#[global_allocator]");
    let look = block("rust", "telemetry.snapshot()");
    let main = format!(
        "{allocator}
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {{
    let telemetry = telemetry::init(\"shop\")?;
    for _ in 0..3 {{
        tracing::info_span!(\"order\").in_scope(|| drop(std::hint::black_box(vec![1u8; 100])));
    }}
    {look}
    Ok(())
}}
"
    );
    let dependencies = block("toml", "[dependencies]") + "\ntracing = \"0.1\"\n";
    let service = project("shop", &dependencies, &[("src/main.rs", &main)]);
    let table = cargo(&service, "run");
    let row = table.lines().find(|line| line.starts_with("order "));
    let row: Vec<_> = row.expect(&table).split_whitespace().collect();
    assert_eq!((row[1], row[2]), ("3", "0"), "{table}");
}

#[test]
fn of_a_librarys_tests() {
    let dependencies = block("toml", "[dev-dependencies]");
    let tests = block("rust", "assert_budget!");
    let files = [("src/lib.rs", ""), ("tests/budgets.rs", &*tests)];
    let library = project("library", &dependencies, &files);
    let printed = cargo(&library, "test");
    assert!(
        printed.contains("test parsing_costs_what_it_did ... ok"),
        "{printed}"
    );
}
