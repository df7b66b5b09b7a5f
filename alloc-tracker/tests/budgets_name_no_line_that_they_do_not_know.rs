//! A broken budget names the user's own lines however the program was built, and says what is missing
//! where it cannot know them.
#![cfg(all(feature = "profile", target_os = "linux"))]

mod programs;

use std::path::{Path, PathBuf};

/// Allocates in a function of its own, in one that is inlined, inside of the standard library, and where
/// the C library calls back. Argument `gone`: its file is gone by then.
const SOURCE: &str = r#"
use alloc_tracker::{AllocTracker, assert_budget};
use std::{collections::HashMap, ffi::c_void, hint::black_box};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

#[inline(never)]
fn alone() { drop(black_box(vec![1u8; 7000])); } // line 9
#[inline(always)]
fn inlined() { drop(black_box(vec![1u8; 6000])); } // line 11
#[inline(never)]
fn map() -> HashMap<u32, u32> { black_box(HashMap::with_capacity(400)) } // line 13
#[inline(never)]
fn text() -> String { black_box("ab").repeat(2500) } // line 15

extern "C" fn compare(_: *const c_void, _: *const c_void) -> i32 {
    drop(black_box(vec![1u8; 3000])); // line 18
    0
}
unsafe extern "C" {
    fn qsort(base: *mut c_void, n: usize, size: usize, f: extern "C" fn(*const c_void, *const c_void) -> i32);
}
fn by_c() {
    let mut numbers = [2, 1];
    unsafe { qsort(numbers.as_mut_ptr().cast(), 2, 4, compare) }
}

fn main() {
    assert!(!alloc_tracker::profiler::is_running());
    if std::env::current_exe().unwrap().ends_with("gone") {
        std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    }
    assert_budget!(alloc_bytes <= 1, { alone(); inlined(); map(); text(); by_c() });
}
"#;

fn lines(program: &Path) -> Vec<String> {
    let output = programs::run(program);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("budget exceeded"), "{text}");
    let sites = text.lines().filter_map(|line| line.strip_prefix("  at "));
    sites.map(str::to_owned).collect()
}

fn compiled(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let program = programs::compile(directory.path(), SOURCE, options);
    (directory, program)
}

/// All five lines are the program's own, in a file of this name.
fn assert_all_known(lines: &[String], file: &str) {
    for line in [9, 11, 13, 15, 18] {
        let place = format!("{file}:{line} ");
        assert!(
            lines.iter().any(|known| known.starts_with(&place)),
            "{place}: {lines:#?}"
        );
    }
    assert!(
        lines.iter().all(|line| line.starts_with(file)),
        "{lines:#?}"
    );
}

#[test]
fn with_debug_information_every_line_is_the_users_own() {
    for options in [
        &["-Cdebuginfo=2"][..],
        &["-Cdebuginfo=line-tables-only", "-Copt-level=3"],
        &[
            "-Cdebuginfo=1",
            "-Cpanic=abort",
            "-Copt-level=z",
            "-Ccodegen-units=1",
        ],
        &["-Cdebuginfo=2", "-Csplit-debuginfo=packed", "-Copt-level=1"],
        &["-Cdebuginfo=2", "-Csplit-debuginfo=unpacked"],
        &[
            "-Cdebuginfo=2",
            "-Clink-arg=-Wl,--compress-debug-sections=zlib",
        ],
    ] {
        let (_directory, program) = compiled(options);
        assert_all_known(&lines(&program), "src/main.rs");
    }
}

#[test]
fn mapped_paths_are_shown_as_they_were_mapped() {
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().display();
    for (to, file) in [("/shop", "/shop/src/main.rs"), ("", "src/main.rs")] {
        let map = format!("--remap-path-prefix={from}={to}");
        let program = programs::compile(directory.path(), SOURCE, &["-Cdebuginfo=2", &map]);
        assert_all_known(&lines(&program), file);
    }
}

#[test]
fn a_program_whose_file_is_gone_still_knows_its_lines() {
    let (directory, program) = compiled(&["-Cdebuginfo=2"]);
    let gone = directory.path().join("gone");
    std::fs::rename(program, &gone).unwrap();
    assert_all_known(&lines(&gone), "src/main.rs");
    assert!(!gone.exists());
}

/// No line of any file, and what to do.
fn assert_all_unknown(lines: &[String], why: &str) {
    assert!(!lines.is_empty());
    for line in lines {
        assert!(
            line.starts_with("unknown: no debug information"),
            "{lines:#?}"
        );
        assert!(line.contains(why), "{lines:#?}");
    }
}

#[test]
fn a_stripped_program_says_so_and_names_nobody() {
    for options in [
        &["-Cstrip=symbols"][..],
        &[
            "-Cstrip=symbols",
            "-Cpanic=abort",
            "-Copt-level=z",
            "-Ccodegen-units=1",
        ],
        &["-Cstrip=symbols", "-Cforce-frame-pointers=yes"],
    ] {
        let (_directory, program) = compiled(options);
        let lines = lines(&program);
        assert_all_unknown(
            &lines,
            "add `debug = \"line-tables-only\"` and `strip = \"none\"`",
        );
    }
}

#[test]
fn functions_without_lines_are_named_without_a_line() {
    for options in [
        &["-Cdebuginfo=0"][..],
        &["-Cdebuginfo=2", "-Cstrip=debuginfo"],
    ] {
        let (_directory, program) = compiled(options);
        let lines = lines(&program);
        assert!(
            lines[0].starts_with("shop::alone (no debug information; add "),
            "{lines:#?}"
        );
        for line in &lines {
            assert!(
                line.starts_with("shop::") && line.contains("debug = "),
                "{lines:#?}"
            );
        }
    }
}

#[test]
fn debug_information_that_is_somewhere_else_is_asked_for() {
    let (directory, program) =
        compiled(&["-Cdebuginfo=2", "-Csplit-debuginfo=packed", "-Copt-level=1"]);
    std::fs::remove_file(directory.path().join("program.dwp")).unwrap();
    let lines = lines(&program);
    assert!(
        lines[0].starts_with("shop::alone (no debug information: the files that"),
        "{lines:#?}"
    );
    assert!(
        lines.iter().all(|line| line.contains("split-debuginfo")),
        "{lines:#?}"
    );
}

/// `main` and what it calls are compiled to files of their own.
const MODULES: &str = r#"
use alloc_tracker::{AllocTracker, assert_budget};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

mod price {
    #[inline(never)]
    pub fn small() { drop(std::hint::black_box(vec![1u8; 70])); } // line 9
    #[unsafe(no_mangle)]
    #[inline(never)]
    pub extern "C" fn large() { drop(std::hint::black_box(vec![1u8; 700])); } // line 12
}

fn main() {
    assert!(!alloc_tracker::profiler::is_running());
    assert_budget!(allocs <= 1, { price::small(); price::large() });
}
"#;

#[test]
fn a_function_whose_file_alone_is_missing_is_not_passed_over_for_its_caller() {
    let directory = tempfile::tempdir().unwrap();
    let options = [
        "-Cdebuginfo=2",
        "-Csplit-debuginfo=unpacked",
        "-Cincremental=incremental",
    ];
    let program = programs::compile(directory.path(), MODULES, &options);
    let [small, large] = ["src/main.rs:9 ", "src/main.rs:12 "];
    let has_both = |lines: &[String]| {
        let mut both = lines.iter().zip([large, small]);
        both.all(|(line, place)| line.starts_with(place))
    };
    assert!(has_both(&lines(&program)));
    let mut missing = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "dwo") {
            continue;
        }
        let information = std::fs::read(&file).unwrap();
        if !information.windows(6).any(|bytes| bytes == b"small\0") {
            continue;
        }
        std::fs::remove_file(&file).unwrap();
        let lines = lines(&program);
        std::fs::write(&file, information).unwrap();
        if has_both(&lines) {
            continue; // it has the name for another reason
        }
        missing += 1;
        for (line, name) in lines.iter().zip(["large", "shop::price::small"]) {
            let start = format!("{name} (no debug information: the files that `split-debuginfo`");
            assert!(line.starts_with(&start), "{lines:#?}");
        }
        assert_eq!(lines.len(), 2, "{lines:#?}");
    }
    assert_eq!(missing, 1);
}

#[test]
fn debug_information_that_cannot_be_unpacked_says_how_to_link() {
    let compress = "-Clink-arg=-Wl,--compress-debug-sections=zstd";
    let (_directory, program) = compiled(&["-Cdebuginfo=2", compress]);
    let lines = lines(&program);
    assert!(
        lines[0].starts_with("shop::alone (no debug information: it is compressed with zstd"),
        "{lines:#?}"
    );
    assert!(
        (lines.iter()).all(|line| line.contains("-Wl,--compress-debug-sections=none")),
        "{lines:#?}"
    );
}

#[test]
fn a_program_that_cannot_be_unwound_says_so() {
    // By the compiler's default for this target a function without cleanup has an entry all the same.
    let options = [
        "-Cpanic=abort",
        "-Cforce-unwind-tables=no",
        "-Cstrip=symbols",
    ];
    let (_directory, program) = compiled(&options);
    let lines = lines(&program);
    assert!(
        lines.iter().all(|line| line.starts_with("unknown: ")),
        "{lines:#?}"
    );
}
