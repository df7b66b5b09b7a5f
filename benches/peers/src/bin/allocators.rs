//! Every allocator beside System, in one run: instructions by callgrind, times in turn.
//!
//! `cargo build --release --manifest-path benches/peers/Cargo.toml`, which builds the others, then
//! `cargo run` with the same arguments `[-- --smoke]`.

use std::path::PathBuf;
use std::process::Command;

/// Binary, what it is, and whether it measures a single piece of work.
const PEERS: [(&str, &str, bool); 8] = [
    ("lightweight", "this project", true),
    ("peer_alloc_tracker", "alloc_tracker 0.7", true),
    ("hotpath", "hotpath 0.30", true),
    ("divan", "divan 0.1", false),
    ("stats_alloc", "stats_alloc 0.1", true),
    ("allocation_counter", "allocation-counter 0.8", true),
    ("tracking_allocator", "tracking-allocator 0.4", false),
    ("dhat", "dhat 0.3", true),
];

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);

    println!("Instructions over System, by callgrind, through the real global allocator");
    println!(
        "{:<26}{:>14}{:>22}",
        "", "64-byte pair", "measuring one pair"
    );
    let bare = instructions("system", "pair");
    for (binary, name, measures) in PEERS {
        let over = |case| match (instructions(binary, case), bare) {
            (Some(with), Some(bare)) => format!("{:+.1}", with - bare),
            _ => "-".to_owned(),
        };
        let measure = if measures {
            over("measure")
        } else {
            "-".to_owned()
        };
        println!("{name:<26}{:>14}{measure:>22}", over("pair"));
    }

    println!("\nTime against System: median ratio of runs in turn [p10 .. p90]");
    print!("{:<26}", "");
    for title in [
        "pair, 1 thread",
        "pair, all cores",
        "JSON",
        "map",
        "regex",
        "sort",
    ] {
        print!("{title:>24}");
    }
    println!();
    for (binary, name, _) in PEERS {
        print!("{name:<26}");
        let columns = [("pair", 1), ("pair", cores)];
        let real = ["json", "map", "regex", "sort"].map(|case| (case, 1));
        for (case, threads) in columns.into_iter().chain(real) {
            let (low, median, high) = ratio(binary, case, threads, smoke);
            print!("{:>24}", format!("x{median:.3} [{low:.2}..{high:.2}]"));
        }
        println!();
    }
}

fn program(binary: &str) -> PathBuf {
    let me = std::env::current_exe().expect("this program's path");
    let path = me.with_file_name(binary);
    assert!(
        path.exists(),
        "{binary} is not built: `cargo build` before `cargo run`"
    );
    path
}

fn arguments(case: &str, times: u64, threads: u64) -> [String; 6] {
    // As many digits in every run: the programs read them, too.
    let numbers = (format!("{times:09}"), threads.to_string());
    [
        "--case",
        case,
        "--times",
        &numbers.0,
        "--threads",
        &numbers.1,
    ]
    .map(str::to_owned)
}

fn instructions(binary: &str, case: &str) -> Option<f64> {
    let (few, many) = (2_000, 12_000);
    let collected = |times| {
        let run = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg("--toggle-collect=peers::run")
            .arg(program(binary))
            .args(arguments(case, times, 1))
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.success(),
            "{binary} {case} under callgrind: {text}"
        );
        let line = text.lines().find(|line| line.contains("Collected :"))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    Some((collected(many)? as f64 - collected(few)? as f64) / (many - few) as f64)
}

/// Nanoseconds of one repetition.
fn time(binary: &str, case: &str, times: u64, threads: u64) -> f64 {
    let run = Command::new(program(binary))
        .args(arguments(case, times, threads))
        .output()
        .unwrap_or_else(|error| panic!("{binary}: {error}"));
    let text = String::from_utf8_lossy(&run.stdout);
    // One of them prints a tree of its own around the line.
    let figure = text
        .split("ns ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    figure
        .and_then(|figure| figure.parse().ok())
        .unwrap_or_else(|| {
            panic!(
                "{binary} {case}: {text}{}",
                String::from_utf8_lossy(&run.stderr)
            )
        })
}

fn ratio(binary: &str, case: &str, threads: u64, smoke: bool) -> (f64, f64, f64) {
    let (rounds, target) = if smoke { (1, 1e5) } else { (21, 2e7) };
    let once = time("system", case, 100, threads).max(1.0);
    // A peer may be slower by a factor of hundreds.
    let slower = (time(binary, case, 100, threads) / once).max(1.0);
    let times = ((target / once / slower.sqrt()) as u64).max(10);
    let mut ratios: Vec<f64> = (0..rounds)
        .map(|round| {
            // Each goes first in every other round.
            if round % 2 == 0 {
                let bare = time("system", case, times, threads);
                time(binary, case, times, threads) / bare
            } else {
                let with = time(binary, case, times, threads);
                with / time("system", case, times, threads)
            }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |q: f64| ratios[((ratios.len() - 1) as f64 * q).round() as usize];
    (at(0.1), at(0.5), at(0.9))
}
