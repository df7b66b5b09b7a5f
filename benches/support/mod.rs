//! What the benchmarks share: interleaved timing, and exact instruction counts from callgrind.
//!
//! Times on shared machines drift, so a time is only ever printed beside its alternative, as the
//! median ratio of rounds that ran in turn. Instruction counts repeat exactly.
#![allow(dead_code)] // each benchmark uses the part that it needs

use std::process::Command;
use std::time::{Duration, Instant};

/// `cargo bench -- --smoke`: every benchmark once and briefly, to see that it runs.
pub(crate) fn smoke() -> bool {
    std::env::args().any(|a| a == "--smoke")
}

/// Runs two alternatives in turn and prints both times and their median ratio.
///
/// `bare` and `with` take a number of repetitions. Returns the median ratio.
pub(crate) fn compare(name: &str, bare: &mut dyn FnMut(u64), with: &mut dyn FnMut(u64)) -> f64 {
    let (rounds, target) = if smoke() {
        (3, Duration::from_millis(1))
    } else {
        (41, Duration::from_millis(12))
    };
    let n = repetitions(target, bare);
    let mut ratios = Vec::with_capacity(rounds);
    let (mut bare_ns, mut with_ns) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Each goes first in every other round.
        let (a, b) = if round % 2 == 0 {
            let a = time(n, bare);
            (a, time(n, with))
        } else {
            let b = time(n, with);
            (time(n, bare), b)
        };
        ratios.push(b / a);
        bare_ns.push(a);
        with_ns.push(b);
    }
    let ratio = median(&mut ratios);
    let (low, high) = (quantile(&ratios, 0.1), quantile(&ratios, 0.9));
    println!(
        "{name:<44} {:>11} {:>11}   x{ratio:.3}  [{low:.3} .. {high:.3}]",
        nanoseconds(median(&mut bare_ns)),
        nanoseconds(median(&mut with_ns)),
    );
    ratio
}

pub(crate) fn header(title: &str, bare: &str, with: &str) {
    println!("\n{title}");
    println!("{:<44} {bare:>11} {with:>11}   ratio   [p10 .. p90]", "");
}

fn repetitions(target: Duration, work: &mut dyn FnMut(u64)) -> u64 {
    let mut n = 1;
    loop {
        let start = Instant::now();
        work(n);
        let took = start.elapsed();
        if took >= target {
            return n;
        }
        n = (n * 2)
            .max((n as f64 * target.as_secs_f64() / took.as_secs_f64().max(1e-9) / 2.0) as u64);
    }
}

fn time(n: u64, work: &mut dyn FnMut(u64)) -> f64 {
    let start = Instant::now();
    work(n);
    start.elapsed().as_nanos() as f64 / n as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(values, 0.5)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

fn nanoseconds(ns: f64) -> String {
    match ns {
        _ if ns < 1e4 => format!("{ns:.2} ns"),
        _ if ns < 1e7 => format!("{:.1} us", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

/// A piece of work that can be counted on its own: called as `BINARY --case NAME --times N`.
pub(crate) type Case = (&'static str, fn(u64));

/// The work that callgrind counts: what is done before and after it is not.
#[inline(never)]
pub(crate) fn counted(work: fn(u64), times: u64) {
    work(times);
}

/// If this process was started to run one case, runs it and returns true. The case itself calls
/// [`counted`].
pub(crate) fn ran_as_case(cases: &[Case]) -> bool {
    let args: Vec<String> = std::env::args().collect();
    let Some(at) = args.iter().position(|a| a == "--case") else {
        return false;
    };
    let times: u64 = args[at + 3].parse().expect("--case NAME --times N");
    let case = cases.iter().find(|(name, _)| *name == args[at + 1]);
    case.expect("a known case").1(times);
    true
}

/// Instructions that one repetition of `case` executes, exactly: two runs of this binary under
/// callgrind that differ only in the number of repetitions. `None` without valgrind.
pub(crate) fn instructions(case: &str) -> Option<f64> {
    let (few, many) = (2_000, 12_000);
    let a = collected(case, few)?;
    let b = collected(case, many)?;
    Some((b - a) as f64 / (many - few) as f64)
}

fn collected(case: &str, times: u64) -> Option<u64> {
    let exe = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        // The first call of the function starts the collection, its end stops it.
        .arg("--toggle-collect=*support::counted")
        .arg(exe)
        // As many digits in both runs: the program reads them, too.
        .args(["--case", case, "--times", &format!("{times:06}")])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case} under callgrind: {text}");
    let line = text.lines().find(|l| l.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Prints the instructions of two cases and the difference; returns the difference.
pub(crate) fn compare_instructions(name: &str, bare: &str, with: &str) -> Option<f64> {
    let (Some(bare), Some(with)) = (instructions(bare), instructions(with)) else {
        println!("{name:<44} skipped: valgrind was not found");
        return None;
    };
    println!(
        "{name:<44} {bare:>11.1} {with:>11.1}   {:+.1} instructions",
        with - bare
    );
    Some(with - bare)
}

/// 20 KB of JSON, as an order in a shop.
pub(crate) fn document() -> String {
    let lines: Vec<serde_json::Value> = (0..182)
        .map(|n| {
            serde_json::json!({
                "sku": format!("SKU-{n:05}"), "title": "A thing of some kind", "quantity": n % 7,
                "price": 19.99 + f64::from(n), "tags": ["new", "sale", "blue"],
            })
        })
        .collect();
    serde_json::json!({ "order": 4711, "lines": lines }).to_string()
}
