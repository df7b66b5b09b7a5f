//! An oracle that shares no code with the tracker: Valgrind's "total heap usage".
//!
//! The same program runs twice under Valgrind and does N operations, then 2 N. All else being
//! equal, the difference of Valgrind's totals is what N operations cost, and the tracker must say
//! the same.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, measure};
use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

const OPERATIONS: &str = "OPERATIONS_UNDER_VALGRIND";

/// One of everything. Its `realloc`s go to sizes whose sum is known: Valgrind counts a `realloc`
/// as a new block of the new size and a free of the old.
fn operation(n: u64) {
    black_box(Box::new([n; 8]));
    let mut grown: Vec<u8> = Vec::with_capacity(100);
    grown.push(1);
    grown.reserve_exact(300);
    grown.truncate(1);
    black_box(&grown);
    grown.shrink_to(50);
    black_box(&grown);
    black_box(vec![0u8; 4096]);
    black_box(String::from("a string of forty bytes, to the letter.."));
    let tree: BTreeMap<u64, u64> = (0..30).map(|k| (k, n)).collect();
    let table: HashMap<u64, u64> = (0..30).map(|k| (k, n)).collect();
    let shared: Arc<dyn Send> = Arc::new([n; 3]);
    black_box((&tree, &table, &shared));
    let layout = Layout::from_size_align(200, 256).unwrap();
    // SAFETY: the size is not zero; freed with the same layout.
    unsafe {
        let block = black_box(std::alloc::alloc(layout));
        std::alloc::dealloc(block, layout);
    }
}

/// Bytes of new blocks that an operation's `realloc`s make in Valgrind's eyes, and the bytes by
/// which they grow and shrink in the tracker's.
const REALLOC_SIZES: i64 = 301 + 50;
const REALLOC_GROWTH: i64 = 301 - 100;

#[test]
fn the_operations() {
    let Ok(times) = std::env::var(OPERATIONS) else {
        return; // not the run under Valgrind
    };
    let times: u64 = times.parse().unwrap();
    operation(0);
    let ((), usage) = measure(|| (1..=times).for_each(operation));
    println!(
        "\nTRACKED {:09} {:09} {:09} {:09}",
        usage.allocs, usage.reallocs, usage.frees, usage.alloc_bytes
    );
}

/// Allocations, frees and bytes by Valgrind; allocations, reallocations, frees and bytes by the
/// tracker.
fn run(times: u64) -> Option<([i64; 3], [i64; 4])> {
    let output = Command::new("valgrind")
        .args(["--leak-check=no", "--error-exitcode=7"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "the_operations",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        // As many digits in both runs: the program handles them, too.
        .env(OPERATIONS, format!("{times:06}"))
        .output()
        .ok()?;
    let (out, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{log}");
    let numbers = |line: &str| -> Vec<i64> {
        let words = line.split_whitespace();
        words
            .filter_map(|word| word.replace(',', "").parse().ok())
            .collect()
    };
    let usage = log.lines().find(|l| l.contains("total heap usage"))?;
    let tracked = out.lines().find(|l| l.starts_with("TRACKED"))?;
    Some((
        numbers(usage).try_into().ok()?,
        numbers(tracked).try_into().ok()?,
    ))
}

#[test]
fn both_count_the_same() {
    const TIMES: i64 = 500;
    let Some((valgrind, tracked)) = run(TIMES as u64) else {
        eprintln!("skipped: valgrind was not found");
        return;
    };
    let (valgrind_2, tracked_2) = run(2 * TIMES as u64).unwrap();
    let [allocs, frees, bytes] = std::array::from_fn(|i| valgrind_2[i] - valgrind[i]);
    let [t_allocs, t_reallocs, t_frees, t_bytes] =
        std::array::from_fn(|i| tracked_2[i] - tracked[i]);
    assert!(t_reallocs >= 2 * TIMES, "the operation reallocates");
    assert_eq!(allocs, t_allocs);
    assert_eq!(frees, t_frees + t_reallocs);
    assert_eq!(
        bytes,
        t_bytes + TIMES * (REALLOC_SIZES - REALLOC_GROWTH),
        "all reallocs are the two of the vector"
    );
    assert_eq!(t_reallocs, 2 * TIMES);
}
