//! One test in a program of its own, which looks at all that telemetry keeps.

#![cfg(all(feature = "track", debug_assertions))] // the clock is set

mod written;

use std::time::Duration;
use telemetry::{SettableClock, Telemetry};
use tracing::info_span;
use written::builder;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

const MIB: f64 = (1 << 20) as f64;

/// Letters, of which nobody takes any for an id.
fn name(mut n: u64) -> String {
    let mut name = String::new();
    for _ in 0..4 {
        name.push(char::from(b'a' + (n % 26) as u8));
        n /= 26;
    }
    name
}

/// A unit of one kind, that calls across as many boundaries, from that one on.
fn unit(kind: u64, clock: &SettableClock, random: &mut u64, from: u64, boundaries: u64) {
    let mut below = |most: u64| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random % most
    };
    info_span!("request", http.route = name(kind)).in_scope(|| {
        for boundary in from..from + boundaries {
            for _ in 0..1 + below(10) / 9 {
                let call = telemetry::call!(name(boundary));
                clock.advance(Duration::from_nanos(1_000_000 + below(3_000_000)));
                call.sent(100 + below(300));
                call.received(500 + below(1_500));
                if below(50) == 0 {
                    call.failed();
                    call.retried();
                }
            }
        }
    });
}

#[test]
fn what_kinds_keep_of_their_boundaries_is_bounded() {
    let clock = SettableClock::new();
    let (builder, written) = builder();
    let (layer, telemetry) = builder.clock(&clock).build().unwrap();
    let dispatch = written::stack::dispatch(layer);
    let live = |telemetry: &Telemetry| {
        let live = telemetry.ledger().cost.live_bytes.unwrap();
        telemetry.flush();
        written.clear();
        live.max(telemetry.ledger().cost.live_bytes.unwrap()) as f64
    };
    let mut random = 1;
    tracing::dispatcher::with_default(&dispatch, || {
        // What a service has: a few boundaries, and times and bytes that vary fourfold. In the second interval there is
        // one before it.
        const KINDS: u64 = 40;
        (0..300).for_each(|_| unit(0, &clock, &mut random, 0, 8));
        let one = live(&telemetry);
        let mut kind: f64 = 0.0;
        for _ in 0..3 {
            for _ in 0..300 {
                (1..=KINDS).for_each(|kind| unit(kind, &clock, &mut random, 0, 8));
            }
            kind = kind.max((live(&telemetry) - one) / KINDS as f64 / 1024.0);
        }
        println!("a kind with 8 boundaries keeps {kind:.1} KiB");
        assert!(kind > 10.0, "it was looked at");
        assert!(kind <= 96.0, "{kind:.1} KiB");

        // What no service should have.
        for kind in 0..512 {
            (0..512 / 32).for_each(|n| unit(kind, &clock, &mut random, 32 * n, 32));
        }
        let all = live(&telemetry) / MIB;
        println!("512 kinds with 512 boundaries keep {all:.0} MiB");
        assert!(all <= 256.0, "{all:.0} MiB");
    });
    let snapshot = telemetry.snapshot();
    assert!(
        snapshot
            .units
            .iter()
            .all(|unit| unit.boundaries.len() <= 65)
    );
    let calls = |unit: &telemetry::UnitSnapshot| -> u64 {
        unit.boundaries
            .values()
            .map(|boundary| boundary.calls.sum)
            .sum()
    };
    assert!(snapshot.units.iter().map(calls).sum::<u64>() > 512 * 512);
}
