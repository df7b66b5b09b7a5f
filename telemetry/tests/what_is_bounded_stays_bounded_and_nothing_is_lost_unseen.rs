//! Many units, threads, kinds and telemetries: nothing is lost unseen, and memory stays bounded.

mod counted;

use counted::stack::dispatch;
use counted::{allocate, counted, sum, tracked};
use std::collections::BTreeMap;
use telemetry::{Telemetry, call};
use tracing::dispatcher::with_default;
use tracing::{Span, error, info_span};

#[test]
fn what_is_inside_a_dropped_unit_is_dropped_with_it() {
    let (layer, telemetry) = Telemetry::builder()
        .max_units_in_progress(64)
        .build()
        .unwrap();
    with_default(&dispatch(layer), || {
        let mut held: Vec<Span> = (0..64).map(|_| info_span!("request")).collect();
        let dropped = info_span!("request");
        dropped.in_scope(|| drop(info_span!("query")));
        held.pop();
        dropped.in_scope(|| drop(info_span!("query"))); // there would be room now
    });
    let snapshot = telemetry.snapshot();
    assert!(snapshot.unit("query").is_none());
    let units = &snapshot.ledger.units;
    assert_eq!((units.kept, units.dropped_total(), units.seen), (64, 1, 65));
}

#[test]
fn short_threads_and_instances_that_are_gone_leave_no_memory_behind() {
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let dispatch = dispatch(layer);
    let before = resident_kib();
    with_default(&dispatch, || {
        for _ in 0..5000 {
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    let unit = || drop(info_span!("short").entered());
                    with_default(&dispatch, unit);
                });
            });
        }
    });
    assert_eq!(telemetry.snapshot().unit("short").unwrap().count, 5000);
    // Two threads that live on while telemetries come and go.
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..100 {
                    counted(|_| drop(info_span!("root").entered()));
                }
            });
        }
    });
    let grown = resident_kib().saturating_sub(before);
    assert!(
        grown < 40 * 1024,
        "{grown} KiB: a ring is 32 KiB, a telemetry 1 MiB"
    );
}

#[test]
fn units_that_never_end_are_seen() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    with_default(&dispatch(layer), || {
        let stuck: Vec<Span> = (0..50).map(|_| info_span!("stuck")).collect();
        let snapshot = telemetry.snapshot();
        let unit = snapshot.unit("stuck").unwrap();
        assert_eq!(
            (unit.count, unit.in_flight, unit.metric("wall")),
            (0, 50, None)
        );
        assert!(
            snapshot.to_string().contains("In progress: 50 stuck"),
            "{snapshot}"
        );
        drop(stuck);
    });
}

#[test]
fn kinds_of_the_same_name_are_told_apart_in_the_table() {
    let snapshot = counted(|_| {
        drop(info_span!(target: "shop::a", "request"));
        drop(info_span!(target: "shop::b", "request"));
    });
    let table = snapshot.to_string();
    assert!(
        table.contains("request (shop::a)") && table.contains("request (shop::b)"),
        "{table}"
    );
}

#[test]
fn units_in_progress_are_gauged() {
    let mut during = None;
    let snapshot = counted(|telemetry| {
        let spans: Vec<Span> = (0..5).map(|_| info_span!("root")).collect();
        drop(info_span!("root"));
        during = Some(telemetry.snapshot());
        drop(spans);
    });
    let during = during.unwrap();
    let root = during.unit("root").unwrap();
    assert_eq!((root.count, root.in_flight, root.in_flight_max), (1, 5, 6));
    let root = snapshot.unit("root").unwrap();
    assert_eq!((root.count, root.in_flight, root.in_flight_max), (6, 0, 6));
}

#[test]
fn more_spans_than_there_is_room_for_are_still_closed() {
    let (layer, telemetry) = Telemetry::builder()
        .max_spans_in_progress(100)
        .build()
        .unwrap();
    with_default(&dispatch(layer), || {
        for _ in 0..3 {
            let unit = info_span!("unit");
            let spans: Vec<Span> = (0..2000)
                .map(|_| unit.in_scope(|| info_span!("child").entered().exit()))
                .collect();
            drop(unit);
            drop(spans);
        }
    });
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.ledger.units.kept, 3, "{snapshot}");
    assert_eq!(snapshot.unit("unit").unwrap().count, 3);
}

#[test]
fn many_threads_lose_no_unit() {
    const THREADS: u64 = 8;
    const UNITS: u64 = 20_000;
    let snapshot = counted(|_| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    with_default(&dispatch, || {
                        for _ in 0..UNITS {
                            info_span!("root").in_scope(|| allocate(32));
                        }
                    });
                });
            }
        });
    });
    let units = &snapshot.ledger.units;
    assert_eq!(units.seen, THREADS * UNITS);
    assert_eq!(units.seen, units.kept + units.dropped_total());
    assert_eq!(snapshot.unit("root").unwrap().count, units.kept);
    assert_eq!(units.dropped_total(), 0, "{units:?}");
    assert_eq!(
        sum(&snapshot, "root", "alloc_bytes"),
        tracked(32 * THREADS * UNITS)
    );
}

#[test]
fn past_a_bound_units_are_counted_as_dropped_or_as_other() {
    let (layer, telemetry) = Telemetry::builder()
        .max_kinds(2)
        .max_units_in_progress(64)
        .build()
        .unwrap();
    with_default(&dispatch(layer), || {
        drop(info_span!("a"));
        drop(info_span!("b"));
        drop(info_span!("c"));
        drop(info_span!("d"));
        let kept: Vec<Span> = (0..100).map(|_| info_span!("a")).collect();
        drop(kept);
        drop(info_span!("a"));
    });
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.unit("other").unwrap().count, 2);
    let units = &snapshot.ledger.units;
    assert_eq!(
        units.dropped,
        BTreeMap::from([("too_many_units".to_owned(), 36)])
    );
    assert_eq!((units.kept, units.seen), (4 + 64 + 1, 105));
}

/// Of a unit 32 boundaries are kept apart, and the rest is `other`, which a boundary may be called, too.
#[test]
fn calls_of_a_boundary_that_is_named_other_are_among_the_others() {
    let snapshot = counted(|_| {
        info_span!("unit").in_scope(|| {
            (0..3).for_each(|_| drop(call!("other")));
            (1..=33).for_each(|n| drop(call!(format!("b{n}"))));
        });
    });
    let boundaries = &snapshot.unit("unit").unwrap().boundaries;
    let calls: u64 = boundaries.values().map(|boundary| boundary.calls.sum).sum();
    assert_eq!(calls, 36, "{boundaries:?}");
    assert_eq!(boundaries["other"].calls.sum, 4, "{boundaries:?}");
    assert_eq!(boundaries.len(), 33);
}

#[test]
fn the_table_shows_every_unit() {
    let snapshot = counted(|_| {
        for _ in 0..1234 {
            info_span!("GET /a").in_scope(|| drop(telemetry::call!("db.query")));
        }
        info_span!("GET /b").in_scope(|| error!("no"));
    });
    let table = snapshot.to_string();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert!(
        rows[0].starts_with(&["unit", "count", "errors", "wall"]),
        "{table}"
    );
    assert!(
        rows.iter()
            .any(|r| r.starts_with(&["GET", "/a", "1,234", "0", "p50"])),
        "{table}"
    );
    assert!(
        rows.iter()
            .any(|r| r.starts_with(&["GET", "/b", "1", "1", "p50"])),
        "{table}"
    );
    assert_eq!(
        table.contains("not tracked"),
        cfg!(not(feature = "track")),
        "{table}"
    );
    assert!(!table.contains("in progress"), "none is: {table}");
    assert!(table.lines().all(|line| line.trim_end() == line));
}

#[test]
fn reading_the_figures_costs_the_reader_just_what_it_is_handed() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    with_default(&dispatch(layer), || {
        info_span!("unit").in_scope(|| drop(telemetry::call!("db.query")));
        let ((), usage) = alloc_tracker::measure(|| {
            drop(telemetry.snapshot());
            drop(telemetry.ledger());
        });
        assert_eq!((usage.live_bytes(), usage.live_blocks()), (0, 0), "{usage}");
    });
}
