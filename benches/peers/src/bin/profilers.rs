//! Heap profilers in one run: what an allocation, a free and a reallocation take more, and real work.
//!
//! `cargo build --release --manifest-path benches/peers/Cargo.toml`, which builds the others, then
//! `cargo run` with the same arguments and `--bin profilers [-- --smoke]`.

use std::process::Command;

/// What is measured: binary, environment, arguments, and what it is compared with.
struct Row {
    name: &'static str,
    with: Program,
    without: Program,
}

#[derive(Clone, Copy)]
struct Program {
    binary: &'static str,
    environment: &'static str,
    arguments: &'static [&'static str],
}

const fn program(binary: &'static str, arguments: &'static [&'static str]) -> Program {
    Program {
        binary,
        environment: "",
        arguments,
    }
}

const SYSTEM: Program = program("profiled_system", &[]);
const OFF: Program = program("profiled_lightweight", &["--profile", "off"]);
const STOPPED: Program = program("profiled_lightweight", &["--profile", "stopped"]);
const RUNNING: Program = program("profiled_lightweight", &["--profile", "running"]);
const JEMALLOC: Program = program("profiled_jemalloc", &[]);
const JEMALLOC_PROFILED: Program = Program {
    environment: "prof:true,lg_prof_sample:19",
    ..JEMALLOC
};

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let rows = [
        ("this project, counting, over System", OFF, SYSTEM),
        ("  the profiler was stopped, over counting", STOPPED, OFF),
        ("  it runs at 512 KiB, over counting", RUNNING, OFF),
        ("  it runs at 512 KiB, over System", RUNNING, SYSTEM),
        (
            "jemalloc's own at 512 KiB, over jemalloc",
            JEMALLOC_PROFILED,
            JEMALLOC,
        ),
        (
            "pprof-alloc 0.6, over System",
            program("profiled_pprof_alloc", &[]),
            SYSTEM,
        ),
        (
            "dhat 0.3 (every allocation), over System",
            program("profiled_dhat", &[]),
            SYSTEM,
        ),
    ];
    println!(
        "Heap profilers: ns more for each call, and ratios of real work; medians of runs in turn"
    );
    print!("{:<44}", "");
    for title in ["alloc", "free", "realloc", "JSON", "map", "sort"] {
        print!("{title:>16}");
    }
    println!();
    for (name, with, without) in rows {
        let row = Row {
            name,
            with,
            without,
        };
        print!("{:<44}", row.name);
        for case in ["alloc", "free", "realloc", "json", "map", "sort"] {
            let [low, median, high] = row.compare(case, smoke);
            let is_call = matches!(case, "alloc" | "free" | "realloc");
            let text = if is_call {
                format!("{median:+.1} ({low:+.1}..{high:+.1})")
            } else {
                format!("x{median:.2} ({low:.2}..{high:.2})")
            };
            print!("{text:>18}");
        }
        println!();
    }
    println!(
        "dial9 0.5, as published: off +0.05 / +0.29; sampling +3.7 alloc, +7.8 free, +30.7 realloc"
    );
}

impl Row {
    /// The 10th, 50th and 90th percentile of differences, for single calls, or ratios.
    fn compare(&self, case: &str, smoke: bool) -> [f64; 3] {
        let is_call = matches!(case, "alloc" | "free" | "realloc");
        let (rounds, target) = if smoke { (1, 1e5) } else { (21, 3e7) };
        let once = self.without.time(case, 1000).max(1.0);
        let slower = (self.with.time(case, 1000) / once).max(1.0);
        let times = (target / once / slower) as u64;
        let times = times
            .max(20)
            .next_multiple_of(if is_call { 1000 } else { 1 });
        let mut found: Vec<f64> = (0..rounds)
            .map(|round| {
                // Each goes first in every other round.
                let (with, without) = if round % 2 == 0 {
                    let without = self.without.time(case, times);
                    (self.with.time(case, times), without)
                } else {
                    (self.with.time(case, times), self.without.time(case, times))
                };
                if is_call {
                    with - without
                } else {
                    with / without
                }
            })
            .collect();
        found.sort_by(f64::total_cmp);
        [0.1, 0.5, 0.9].map(|q| found[((found.len() - 1) as f64 * q).round() as usize])
    }
}

impl Program {
    /// Nanoseconds of one repetition.
    fn time(self, case: &str, times: u64) -> f64 {
        let me = std::env::current_exe().expect("this program's path");
        let mut command = Command::new(me.with_file_name(self.binary));
        command.args(["--case", case, "--times", &times.to_string()]);
        command.args(self.arguments);
        if !self.environment.is_empty() {
            command.env("_RJEM_MALLOC_CONF", self.environment);
        }
        let run = command
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary));
        let text = String::from_utf8_lossy(&run.stdout);
        let figure = text.lines().find_map(|line| line.strip_prefix("ns "));
        figure
            .and_then(|figure| figure.parse().ok())
            .unwrap_or_else(|| {
                let errors = String::from_utf8_lossy(&run.stderr);
                panic!("{} {case}: {text}{errors}", self.binary)
            })
    }
}
