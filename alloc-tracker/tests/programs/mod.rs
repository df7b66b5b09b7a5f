//! Small programs that use this crate as it was built for the test, each compiled with options of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// The compiler that built the test.
fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// This crate's libraries beside the test, the newest first: one for each set of features.
fn libraries(dependencies: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dependencies).unwrap();
    let mut libraries: Vec<(SystemTime, PathBuf)> = files
        .filter_map(|file| {
            let file = file.ok()?;
            let name = file.file_name().into_string().ok()?;
            let is_ours = name.starts_with("liballoc_tracker-") && name.ends_with(".rlib");
            is_ours.then(|| (file.metadata().unwrap().modified().unwrap(), file.path()))
        })
        .collect();
    libraries.sort();
    libraries.into_iter().rev().map(|(_, path)| path).collect()
}

/// Compiles `source` in `directory` to a program there. It must use the feature `profile`, so that it is
/// compiled with no library that lacks it.
pub(crate) fn compile(directory: &Path, source: &str, options: &[&str]) -> PathBuf {
    assert!(source.contains("profiler"), "it may get any library");
    std::fs::create_dir_all(directory.join("src")).unwrap();
    std::fs::write(directory.join("src/main.rs"), source).unwrap();
    let program = directory.join("program");
    let dependencies = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    // What the library was compiled with, as for a sanitizer.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut errors = String::new();
    for library in libraries(&dependencies) {
        let output = rustc()
            .args(["src/main.rs", "--crate-name=shop", "--edition=2024", "-o"])
            .arg(&program)
            .arg("-L")
            .arg(format!("dependency={}", dependencies.display()))
            .arg("--extern")
            .arg(format!("alloc_tracker={}", library.display()))
            .args(flags.split_whitespace())
            .args(options)
            .current_dir(directory)
            .output()
            .unwrap();
        if output.status.success() {
            return program;
        }
        errors = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    panic!("{errors}");
}

/// Runs a program where it was compiled.
pub(crate) fn run(program: &Path) -> Output {
    Command::new(program)
        .current_dir(program.parent().unwrap())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}
