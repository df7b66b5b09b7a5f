//! What telemetry took on the application's threads, as the ledger has it, whatever else the machine does.

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use telemetry::record::TimeKind;
use telemetry::{Telemetry, export};
use tracing::info_span;
use tracing::subscriber::with_default;
use tracing_subscriber::prelude::*;

/// Nanoseconds of each of many units.
fn ns_per_unit() -> f64 {
    let builder = Telemetry::builder().export(export::json_lines(io::sink()));
    let (layer, telemetry) = builder.build().unwrap();
    with_default(tracing_subscriber::registry().with(layer), || {
        for n in 0..60_000u64 {
            info_span!("unit", n).in_scope(|| black_box(n));
        }
    });
    let cost = telemetry.ledger().cost;
    let is_known = cfg!(target_os = "linux");
    let expected = if is_known {
        TimeKind::Cpu
    } else {
        TimeKind::Wall
    };
    assert_eq!(cost.ns_per_unit_is, expected);
    cost.ns_per_unit.expect("every 64th unit is timed")
}

/// While as many threads as there are cores do nothing but use them.
fn beside_busy_neighbours<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let cores = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|threads| {
        for _ in 0..cores {
            threads.spawn(|| {
                while !done.load(Relaxed) {
                    black_box((0..10_000u64).map(black_box).sum::<u64>());
                }
            });
        }
        let result = work();
        done.store(true, Relaxed);
        result
    })
}

/// Where neighbours take caches and cycles of shared cores as well, work itself takes longer: so each round is beside one
/// that is quiet.
#[test]
#[cfg(target_os = "linux")]
fn busy_neighbours_do_not_move_it_by_more_than_a_quarter() {
    ns_per_unit();
    let mut ratios = [0.0; 7].map(|_: f64| {
        let quiet = ns_per_unit();
        beside_busy_neighbours(ns_per_unit) / quiet
    });
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    assert!((0.75..=1.25).contains(&median), "{ratios:?}");
}
