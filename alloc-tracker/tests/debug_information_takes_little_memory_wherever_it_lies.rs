//! Names and lines are looked up with little memory, however much debug information there is, and in
//! whichever files: the program's own, those that the compiler splits off, those that `objcopy` parts from
//! it; compressed or not.
#![cfg(all(feature = "profile", target_os = "linux"))]

mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;

/// More than it may take.
const DEBUG_INFORMATION: u64 = 20 << 20;

/// What a look-up may take; an incident may take 32 MiB.
const MOST_KIB: u64 = 16 << 10;

/// Writes its profile, and prints by how many KiB it was larger meanwhile.
const SOURCE: &str = r#"
use alloc_tracker::{AllocTracker, profiler::{self, Config}};
use std::{collections::BTreeMap, hint::black_box};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[inline(never)]
fn grow<const N: usize>() {
    let mut map = BTreeMap::new();
    (0..3).for_each(|i| drop(map.insert([i; N], vec![[0; N]; 2]))); // line 17
    map.retain(|key, value| key[0] > 1 || value.len() > 1);
    black_box(map);
}

fn main() {
    let session = profiler::start(Config::default().mean_bytes(64)).unwrap();
    GROW
    drop(session);
    let profile = profiler::snapshot();
    let before = kib("VmRSS");
    // The highest from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    profile.write_json(std::fs::File::create("profile.json").unwrap()).unwrap();
    println!("{}", kib("VmHWM") - before);
}
"#;

/// A program with much debug information.
fn compiled(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let grow: String = (1..80).map(|n| format!("grow::<{n}>();")).collect();
    let source = SOURCE.replace("GROW", &grow);
    let directory = tempfile::tempdir().unwrap();
    let options = [&["-Cdebuginfo=2", "-Ccodegen-units=1"], options].concat();
    let program = programs::compile(directory.path(), &source, &options);
    (directory, program)
}

fn is_large(file: &Path) {
    let len = std::fs::metadata(file).unwrap().len();
    assert!(len > DEBUG_INFORMATION, "{}: {len}", file.display());
}

/// Runs a program: its own lines are known, and it has taken so little to know them.
fn assert_known(program: &Path) {
    let output = programs::run(program);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let kib: u64 = text.trim().parse().unwrap_or_else(|_| panic!("{errors}"));
    println!("{kib} KiB more, {}", program.display());
    assert!(kib < MOST_KIB, "{kib} KiB more, {}", program.display());
    let profile = std::fs::read_to_string(program.with_file_name("profile.json")).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    let stacks = profile["stacks"].as_array().unwrap().iter();
    let frames = stacks.flat_map(|stack| stack["frames"].as_array().unwrap());
    let is_own = |frame: &&serde_json::Value| {
        let at = frame["at"].as_str().unwrap_or_default();
        at == "src/main.rs:17" && frame["function"].as_str().unwrap().contains("grow")
    };
    let count = frames.filter(is_own).count();
    assert!(count >= 79, "{count}, {}", program.display());
}

/// Makes a file from another with the tool that linkers come with.
fn objcopy(options: &[&str], from: &Path, to: &Path) {
    let status = Command::new("objcopy")
        .args(options)
        .args([from, to])
        .current_dir(from.parent().unwrap())
        .status();
    let status = status.expect("this test needs objcopy: install binutils");
    assert!(status.success(), "{options:?}");
}

#[test]
fn in_the_file_that_rustc_packs_it_into() {
    let (directory, program) = compiled(&["-Csplit-debuginfo=packed"]);
    is_large(&directory.path().join("program.dwp"));
    assert_known(&program);
}

#[test]
fn in_the_file_that_rustc_leaves_unpacked() {
    let (directory, program) = compiled(&["-Csplit-debuginfo=unpacked"]);
    let files = std::fs::read_dir(directory.path()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let split: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "dwo"))
        .collect();
    assert_eq!(split.len(), 1, "{split:?}");
    is_large(&split[0]);
    assert_known(&program);
}

#[test]
fn in_the_program_or_parted_from_it_and_compressed_or_not() {
    let (directory, program) = compiled(&[]);
    is_large(&program);
    assert_known(&program);
    let file = |name: &str| directory.path().join(name);
    for compress in ["none", "zlib", "zlib-gnu"] {
        let compress = format!("--compress-debug-sections={compress}");
        let inside = file("inside");
        objcopy(&[&compress], &program, &inside);
        assert_known(&inside);
        let (debug, stripped) = (file("parted.debug"), file("parted"));
        objcopy(&["--only-keep-debug", &compress], &program, &debug);
        let link = ["--strip-debug", "--add-gnu-debuglink=parted.debug"];
        objcopy(&link, &program, &stripped);
        assert_known(&stripped);
    }
}
