//! What every binary here runs: the same work, through its own global allocator.
//!
//! `BINARY --case NAME --times N [--threads T]` does the work N times on each of T threads and prints
//! the nanoseconds that one repetition took.

pub mod service;
pub mod subscribers;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Names of the cases, in the order of the table.
pub const CASES: [&str; 6] = ["pair", "json", "map", "regex", "sort", "measure"];

/// What a peer offers to measure a piece of work: runs the work given and throws its figures away.
pub type Measure = fn(&mut dyn FnMut());

/// Runs what the command line asks for.
pub fn main(measure: Option<Measure>) {
    let argument = |name: &str| {
        let mut args = std::env::args().skip_while(|arg| arg != name);
        args.nth(1)
    };
    let case = argument("--case").expect("--case NAME");
    let number = |name: &str| argument(name).map(|n| n.parse::<u64>().expect("a number"));
    let times = number("--times").expect("--times N");
    let threads = number("--threads").unwrap_or(1);
    let work = || run(&case, times, measure);
    let start = Instant::now();
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    println!("ns {:.3}", start.elapsed().as_nanos() as f64 / times as f64);
}

/// As [`main`], for the cases that heap profilers differ in: `alloc`, `free` and `realloc`, each timed
/// without the others, and the cases of real work.
pub fn profiled() {
    let argument = |name: &str| std::env::args().skip_while(|arg| arg != name).nth(1);
    let case = argument("--case").expect("--case NAME");
    let times = argument("--times").expect("--times N");
    let times: u64 = times.parse().expect("a number");
    let mut timed = Duration::ZERO;
    let mut blocks = vec![std::ptr::null_mut(); 1000];
    let layout = black_box(Layout::new::<[u64; 8]>());
    match case.as_str() {
        "alloc" | "free" | "realloc" => {
            for _ in 0..times.div_ceil(1000) {
                timed += batch(&case, layout, &mut blocks);
            }
        }
        _ => {
            let start = Instant::now();
            run(&case, times, None);
            timed = start.elapsed();
        }
    }
    println!("ns {:.3}", timed.as_nanos() as f64 / times as f64);
}

/// A thousand blocks are allocated, grown and freed; what one of the three took.
fn batch(case: &str, layout: Layout, blocks: &mut [*mut u8]) -> Duration {
    let larger = Layout::from_size_align(layout.size() * 2, layout.align()).expect("a layout");
    let start = Instant::now();
    // SAFETY: the size is above zero.
    blocks
        .iter_mut()
        .for_each(|block| *block = unsafe { std::alloc::alloc(layout) });
    let allocated = Instant::now();
    for block in &mut *blocks {
        // SAFETY: allocated above, and the new size is not zero.
        *block = unsafe { std::alloc::realloc(*block, layout, larger.size()) };
    }
    let grown = Instant::now();
    // SAFETY: each is ours, of this layout now.
    blocks
        .iter()
        .for_each(|block| unsafe { std::alloc::dealloc(*block, larger) });
    match case {
        "alloc" => allocated - start,
        "realloc" => grown - allocated,
        _ => grown.elapsed(),
    }
}

/// What callgrind counts: the threads that a peer has of its own are not in it.
#[inline(never)]
fn run(case: &str, times: u64, measure: Option<Measure>) {
    match case {
        "pair" => (0..times).for_each(|_| pair()),
        "measure" => {
            let measure = measure.expect("a peer that measures");
            (0..times).for_each(|_| measure(&mut pair));
        }
        "json" => repeat(times, parse_json()),
        "map" => repeat(times, build_map),
        "regex" => repeat(times, compile_regex),
        "sort" => repeat(times, sort_strings()),
        _ => panic!("no case {case:?}: use one of {CASES:?}"),
    }
}

fn repeat(times: u64, mut work: impl FnMut()) {
    (0..times).for_each(|_| work());
}

/// One block of 64 bytes: allocated and freed through the global allocator, by its real symbols.
fn pair() {
    let layout = black_box(Layout::new::<[u64; 8]>());
    // SAFETY: the size is above zero; freed with the same layout.
    unsafe {
        let block = black_box(std::alloc::alloc(layout));
        std::alloc::dealloc(block, layout);
    }
}

/// 20 KB, as an order in a shop.
fn parse_json() -> impl FnMut() {
    let lines: Vec<serde_json::Value> = (0..182)
        .map(|n| {
            serde_json::json!({
                "sku": format!("SKU-{n:05}"), "title": "A thing of some kind", "quantity": n % 7,
                "price": 19.99 + f64::from(n), "tags": ["new", "sale", "blue"],
            })
        })
        .collect();
    let text = serde_json::json!({ "order": 4711, "lines": lines }).to_string();
    move || {
        let value: serde_json::Value = serde_json::from_str(black_box(&text)).expect("valid JSON");
        black_box(value);
    }
}

fn build_map() {
    let mut map: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for n in 0..500u32 {
        let key = format!("customer-{}", n.wrapping_mul(2_654_435_761) % 200);
        map.entry(key).or_default().push(n);
    }
    black_box(map);
}

fn compile_regex() {
    let pattern = black_box(r"(?i)^(\w+)@([a-z0-9-]+\.)+(com|org|net)\s*$");
    black_box(regex::Regex::new(pattern).expect("a valid pattern"));
}

/// A thousand strings: made, sorted, dropped.
fn sort_strings() -> impl FnMut() {
    let words: Vec<String> = (0..1000u32)
        .map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761)))
        .collect();
    move || {
        let mut copy = black_box(words.clone());
        copy.sort();
        black_box(copy);
    }
}
