//! With line tables only, functions that were inlined have no path: file and line make a name of its own, so
//! that tools which merge by name merge nothing that is not the same.
#![cfg(all(feature = "profile", target_os = "linux"))]

mod programs;

use std::collections::HashSet;

const SOURCE: &str = r#"
use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config, Figure};
use std::hint::black_box;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

mod cart { pub fn of(n: usize) -> Vec<Vec<u8>> { (0..n).map(|_| vec![1; 1000]).collect() } } // line 9
mod stock {
    pub fn of(n: usize) -> Vec<Vec<u8>> { (0..n).map(|_| vec![2; 3000]).collect() } // line 11
}
#[inline(never)]
fn serve() -> [Vec<Vec<u8>>; 2] { [cart::of(black_box(20)), stock::of(black_box(20))] }

fn main() {
    let session = profiler::start(Config::default().mean_bytes(1)).unwrap();
    let before = profiler::snapshot();
    let held = serve();
    session.stop();
    let profile = profiler::snapshot();
    profile.write_collapsed(Figure::InuseSpace, std::io::stdout()).unwrap();
    println!("{}", profile.since(&before));
    profile.write_pprof(std::fs::File::create("heap.pb.gz").unwrap()).unwrap();
    black_box(held);
}
"#;

#[test]
fn a_closure_has_a_name_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["-Cdebuginfo=line-tables-only", "-Copt-level=3"];
    let program = programs::compile(directory.path(), SOURCE, &options);
    let output = programs::run(&program);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let frames: HashSet<&str> = (text.lines())
        .take_while(|line| !line.is_empty() && !line.starts_with("In use"))
        .flat_map(|line| {
            line.rsplit_once(' ')
                .map_or("", |(stack, _)| stack)
                .split(';')
        })
        .collect();
    // What the linker knows has its path.
    assert!(frames.contains("shop::serve"), "{frames:#?}");
    for closure in [
        "{closure#0} at src/main.rs:9",
        "{closure#0} at src/main.rs:11",
    ] {
        assert!(frames.contains(closure), "{frames:#?}");
    }
    for frame in frames {
        // Symbols of C have no path.
        let is_c = frame.starts_with('_') || ["main", "start_thread", "clone3"].contains(&frame);
        assert!(
            is_c || frame.contains("::") || frame.contains(" at "),
            "{frame}"
        );
    }
    assert!(text.contains("{closure#0} (src/main.rs:11)"), "{text}");

    let top = std::process::Command::new("go")
        .args(["tool", "pprof", "-top", "-nodecount=500", "heap.pb.gz"])
        .current_dir(directory.path())
        .env("PPROF_TMPDIR", directory.path())
        .output();
    let Ok(top) = top else {
        // CI installs it, and says that it has.
        assert!(
            std::env::var_os("EXPECT_PPROF").is_none(),
            "go is not installed"
        );
        return eprintln!("skipped: go is not installed");
    };
    let top = String::from_utf8_lossy(&top.stdout);
    for (line, size) in [(9, "19.53kB"), (11, "58.59kB")] {
        let node = format!("{{closure#0}} at src/main.rs:{line}");
        let node = top
            .lines()
            .find(|known| known.contains(&node))
            .unwrap_or_default();
        assert!(node.contains(size), "{line}: {top}");
    }
}
