//! What telemetry keeps is bounded by the kinds and threads that there are, and small.

#![cfg(feature = "track")]

mod written;

use std::hint::black_box;
use std::time::Duration;
use telemetry::SettableClock;
use tracing::dispatcher::{get_default, with_default};
use tracing::{info, info_span};
use tracing_subscriber::prelude::*;
use written::builder;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

macro_rules! kind {
    ($a:literal $b:literal) => {
        |work: &dyn Fn()| info_span!(concat!("kind ", $a, $b), path = "/a/path").in_scope(|| work())
    };
}
macro_rules! ten {
    ($a:literal) => {
        [
            kind!($a "0"), kind!($a "1"), kind!($a "2"), kind!($a "3"), kind!($a "4"),
            kind!($a "5"), kind!($a "6"), kind!($a "7"), kind!($a "8"), kind!($a "9"),
        ]
    };
}

type Kind = fn(&dyn Fn());
const KINDS: [[Kind; 10]; 10] = [
    ten!("0"),
    ten!("1"),
    ten!("2"),
    ten!("3"),
    ten!("4"),
    ten!("5"),
    ten!("6"),
    ten!("7"),
    ten!("8"),
    ten!("9"),
];

/// What the requests of a service do: some allocate much, some take long, all call and log.
fn request(n: usize, clock: &SettableClock) {
    let bytes = if n % 50 == 7 { 16 << 20 } else { 1 << (n % 18) };
    black_box(vec![1u8; bytes]);
    let call = telemetry::call!("db.query");
    call.sent(100 * n as u64);
    call.received(1 << (n % 20));
    info_span!("step", n).in_scope(|| info!(n, "half way"));
    if n % 50 == 13 {
        clock.advance(Duration::from_millis(4));
    }
}

#[test]
fn a_hundred_kinds_on_eight_threads_fit_into_24_mib() {
    let (builder, written) = builder();
    let clock = SettableClock::new();
    let (layer, telemetry) = builder.clock(&clock).system_sample(0.1).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    let mut highest = 0;
    tracing::subscriber::with_default(subscriber, || {
        let dispatch = get_default(Clone::clone);
        for round in 0..3 {
            std::thread::scope(|threads| {
                for thread in 0..8 {
                    let (dispatch, clock) = (&dispatch, &clock);
                    threads.spawn(move || {
                        with_default(dispatch, || {
                            for n in 0..25 {
                                for (k, kind) in KINDS.as_flattened().iter().enumerate() {
                                    kind(&|| request(round + thread + n * 7 + k, clock));
                                }
                            }
                        });
                    });
                }
            });
            // While the threads of a service live; here they have ended, and 8 are remembered.
            telemetry.flush();
            // What the exporter of the test was given is not telemetry's.
            written.clear();
            highest = highest.max(telemetry.ledger().cost.live_bytes.unwrap());
        }
    });
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.units.len(), 100);
    assert!(snapshot.units.iter().all(|unit| unit.count == 3 * 8 * 25));
    drop(snapshot);
    println!(
        "telemetry keeps {:.1} MiB",
        highest as f64 / f64::from(1 << 20)
    );
    assert!(highest > 1 << 20, "it was looked at: {highest}");
    assert!(
        highest <= 24 << 20,
        "{:.1} MiB",
        highest as f64 / f64::from(1 << 20)
    );
}
