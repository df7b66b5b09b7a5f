//! Units against what the program really did: nesting, threads, polls, odd orders, panics.

use alloc_tracker::AllocTracker;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use telemetry::{Snapshot, Telemetry};
use tracing::{Span, debug_span, error, info_span, trace_span};
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Runs `work` under a telemetry of its own, on this thread, and returns what it counted.
fn counted(work: impl FnOnce(&Telemetry)) -> Snapshot {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || work(&telemetry));
    telemetry.snapshot()
}

/// `None` where allocations are not tracked.
fn sum(snapshot: &Snapshot, unit: &str, metric: &str) -> Option<u64> {
    let unit = snapshot
        .unit(unit)
        .unwrap_or_else(|| panic!("no unit {unit} in {snapshot:?}"));
    assert!(
        unit.metrics.contains_key(metric),
        "{metric} is always there"
    );
    unit.metric(metric).map(|d| d.sum)
}

fn tracked(n: u64) -> Option<u64> {
    cfg!(feature = "track").then_some(n)
}

fn allocate(bytes: usize) {
    drop(black_box(vec![1u8; bytes]));
}

#[test]
fn a_unit_includes_its_descendants_once() {
    let snapshot = counted(|_| {
        for _ in 0..10 {
            info_span!("root").in_scope(|| {
                allocate(100);
                info_span!("child").in_scope(|| {
                    allocate(20);
                    info_span!("grandchild").in_scope(|| allocate(3));
                });
            });
        }
    });
    assert_eq!(snapshot.units.len(), 1, "children are no units");
    let root = snapshot.unit("root").unwrap();
    assert_eq!((root.count, root.errors, root.in_flight), (10, 0, 0));
    assert_eq!(sum(&snapshot, "root", "wakeups"), Some(10));
    assert_eq!(sum(&snapshot, "root", "allocs"), tracked(30));
    assert_eq!(sum(&snapshot, "root", "alloc_bytes"), tracked(1230));
    if cfg!(feature = "track") {
        assert_eq!(root.metric("peak_bytes").unwrap().max, 100);
    }
    assert_eq!(snapshot.ledger.units.seen, 10);
}

#[test]
fn a_child_on_another_thread_belongs_to_the_unit() {
    let snapshot = counted(|_| {
        let root = info_span!("root");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        root.in_scope(|| allocate(10));
        let child = info_span!(parent: &root, "child");
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, move || {
                child.in_scope(|| allocate(500));
                allocate(9000); // outside
                drop(child); // `Registry` closes its parent through the thread's dispatcher
            });
        })
        .join()
        .unwrap();
    });
    assert_eq!(sum(&snapshot, "root", "alloc_bytes"), tracked(510));
    assert_eq!(sum(&snapshot, "root", "wakeups"), Some(2));
}

#[test]
fn work_that_was_handed_the_unit_is_charged_to_it() {
    let snapshot = counted(|_| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let worker = info_span!("root").in_scope(|| {
            let work = alloc_tracker::in_current_unit(|| allocate(700));
            std::thread::scope(|threads| {
                threads
                    .spawn(move || tracing::dispatcher::with_default(&dispatch, work))
                    .join()
            })
        });
        worker.unwrap();
    });
    // The spawn costs the unit a few blocks of its own.
    if let Some(bytes) = sum(&snapshot, "root", "alloc_bytes") {
        assert!(bytes >= 700, "{bytes}");
    }
}

#[test]
fn each_poll_is_a_wake_up_and_threads_may_change() {
    let snapshot = counted(|_| {
        let root = info_span!("root");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        for _ in 0..3 {
            let (root, dispatch) = (root.clone(), dispatch.clone());
            std::thread::spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || root.in_scope(|| allocate(64)));
            })
            .join()
            .unwrap();
        }
    });
    assert_eq!(sum(&snapshot, "root", "wakeups"), Some(3));
    assert_eq!(sum(&snapshot, "root", "allocs"), tracked(3));
    let root = snapshot.unit("root").unwrap();
    if cfg!(feature = "track") {
        assert_eq!(root.metric("peak_bytes").unwrap().max, 64);
    }
}

#[test]
fn wall_ends_at_the_last_exit_and_busy_leaves_out_the_waiting() {
    let snapshot = counted(|_| {
        let root = info_span!("root");
        root.in_scope(|| std::thread::sleep(Duration::from_millis(20)));
        std::thread::sleep(Duration::from_millis(60));
        root.in_scope(|| std::thread::sleep(Duration::from_millis(20)));
        std::thread::sleep(Duration::from_millis(200)); // a handle kept: not the unit's time
        drop(root);
        let never_entered = info_span!("never entered");
        std::thread::sleep(Duration::from_millis(30));
        drop(never_entered);
    });
    let ms = |unit, metric| sum(&snapshot, unit, metric).unwrap() / 1_000_000;
    assert!((100..200).contains(&ms("root", "wall")), "{snapshot}");
    assert!((40..100).contains(&ms("root", "busy")), "{snapshot}");
    assert!(
        (30..200).contains(&ms("never entered", "wall")),
        "{snapshot}"
    );
    assert_eq!(sum(&snapshot, "never entered", "wakeups"), Some(0));
}

#[test]
fn spans_left_in_any_order_count_once() {
    let snapshot = counted(|_| {
        let root = info_span!("root");
        let in_root = root.clone().entered();
        let child = info_span!("child").entered();
        allocate(10);
        drop(in_root); // the child is still entered: the thread still works for the unit
        allocate(20);
        drop(child);
        allocate(4000);
        drop(root);
    });
    assert_eq!(sum(&snapshot, "root", "alloc_bytes"), tracked(30));
    assert_eq!(sum(&snapshot, "root", "wakeups"), Some(1));
}

#[test]
fn errors_are_events_or_fields() {
    let snapshot = counted(|_| {
        info_span!("event").in_scope(|| info_span!("child").in_scope(|| error!("broken")));
        info_span!("field", error = tracing::field::Empty).record("error", "no such thing");
        drop(info_span!("at once", error = true));
        drop(info_span!("status", otel.status_code = "ERROR"));
        drop(info_span!("fine", error = false, otel.status_code = "OK"));
        info_span!("warned").in_scope(|| tracing::warn!("hm"));
        error!("outside of any unit");
    });
    let errors: BTreeMap<&str, u64> = snapshot
        .units
        .iter()
        .map(|u| (u.unit.as_str(), u.errors))
        .collect();
    let expected = [
        ("at once", 1),
        ("event", 1),
        ("field", 1),
        ("fine", 0),
        ("status", 1),
        ("warned", 0),
    ];
    assert_eq!(errors, BTreeMap::from(expected));
}

#[test]
fn a_unit_that_panics_has_failed() {
    std::panic::set_hook(Box::new(|_| {}));
    let snapshot = counted(|_| {
        for panics in [true, false] {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                info_span!("root").in_scope(|| {
                    if panics {
                        std::panic::panic_any(1);
                    }
                })
            }));
        }
    });
    let _ = std::panic::take_hook();
    let root = snapshot.unit("root").unwrap();
    assert_eq!((root.count, root.errors), (2, 1));
}

#[test]
fn an_error_field_that_says_nothing_is_no_error() {
    let snapshot = counted(|_| {
        drop(info_span!("none", error = ?None::<u8>));
        drop(info_span!("none", error = %false));
        drop(info_span!("none", error = 0));
        drop(info_span!("none", error = ""));
        drop(info_span!("some", error = ?Some(3)));
        drop(info_span!("some", error = %"falsehood"));
    });
    assert_eq!(snapshot.unit("none").unwrap().errors, 0);
    assert_eq!(snapshot.unit("some").unwrap().errors, 2);
}

/// Wants every span and event, so that they exist.
struct WantsAll;
impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for WantsAll {}

#[test]
fn spans_of_other_layers_do_not_cut_a_unit_in_two() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let subscriber = tracing_subscriber::registry().with(WantsAll).with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let request = info_span!("request");
        let worker = request.in_scope(|| debug_span!("worker"));
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, move || {
                // The registry makes room for a thread's spans at its first one.
                drop(debug_span!(parent: None, "warm up"));
                worker.in_scope(|| {
                    allocate(5000);
                    info_span!("query").in_scope(|| allocate(300));
                    error!("lost");
                });
                drop(worker);
            });
        })
        .join()
        .unwrap();
        let middle = request.in_scope(|| debug_span!("middle"));
        drop(info_span!(parent: &middle, "query"));
        tracing::event!(parent: &middle, tracing::Level::ERROR, "here too");
    });
    let snapshot = telemetry.snapshot();
    let names: Vec<&str> = snapshot.units.iter().map(|u| u.unit.as_str()).collect();
    assert_eq!(names, ["request"]);
    assert_eq!(snapshot.unit("request").unwrap().errors, 1);
    assert_eq!(sum(&snapshot, "request", "alloc_bytes"), tracked(5300));
}

#[test]
fn what_is_inside_a_dropped_unit_is_dropped_with_it() {
    let (layer, telemetry) = Telemetry::builder()
        .max_units_in_progress(64)
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
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
    let subscriber = tracing_subscriber::registry().with(layer);
    let before = resident_kib();
    tracing::subscriber::with_default(subscriber, || {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        for _ in 0..5000 {
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    let unit = || drop(info_span!("short").entered());
                    tracing::dispatcher::with_default(&dispatch, unit);
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
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
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
fn spans_below_info_and_empty_spans_are_no_units_and_hide_none() {
    let snapshot = counted(|_| {
        trace_span!("trace").in_scope(|| {
            debug_span!("debug").in_scope(|| info_span!("unit").in_scope(|| allocate(8)))
        });
        Span::none().in_scope(|| info_span!("another").in_scope(|| ()));
        info_span!(parent: None, "explicit root").in_scope(|| {
            info_span!(parent: None, "its own unit").in_scope(|| allocate(16));
        });
    });
    let names: Vec<&str> = snapshot.units.iter().map(|u| u.unit.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(sum(&snapshot, "unit", "alloc_bytes"), tracked(8));
    assert_eq!(sum(&snapshot, "its own unit", "alloc_bytes"), tracked(16));
    // On one thread the outer figures include the inner ones.
    assert_eq!(sum(&snapshot, "explicit root", "alloc_bytes"), tracked(16));
}

#[test]
fn a_panic_inside_a_unit_ends_it() {
    std::panic::set_hook(Box::new(|_| {}));
    let snapshot = counted(|_| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            info_span!("root").in_scope(|| {
                allocate(5);
                std::panic::panic_any(1);
            })
        }));
        assert!(caught.is_err());
        info_span!("after").in_scope(|| allocate(6));
    });
    let _ = std::panic::take_hook();
    assert_eq!(snapshot.unit("root").unwrap().count, 1);
    assert_eq!(sum(&snapshot, "after", "alloc_bytes"), tracked(6));
}

#[test]
fn calls_and_bytes_are_counted_per_boundary() {
    let snapshot = counted(|_| {
        for n in 0..4u64 {
            info_span!("root").in_scope(|| {
                info_span!("child").in_scope(|| {
                    for _ in 0..n {
                        let call = telemetry::call!("db.query");
                        call.sent(10);
                        call.received(100);
                        call.received(1);
                    }
                });
                if n == 3 {
                    telemetry::call!("http.get").retried();
                }
            });
        }
        let outside = telemetry::call!("db.query");
        outside.sent(1 << 40); // no unit: nothing happens
    });
    let root = snapshot.unit("root").unwrap();
    let query = &root.boundaries["db.query"];
    assert_eq!(
        (query.calls.count, query.calls.sum, query.calls.max),
        (4, 6, 3)
    );
    assert_eq!((query.bytes_sent.sum, query.bytes_received.sum), (60, 606));
    assert_eq!(root.boundaries["http.get"].calls.sum, 2);
    assert_eq!(sum(&snapshot, "root", "retries"), Some(1));
}

#[test]
fn a_call_that_outlives_its_unit_changes_nothing() {
    let snapshot = counted(|_| {
        let late = info_span!("root").in_scope(|| telemetry::call!("late"));
        info_span!("root 2").in_scope(|| late.sent(7));
        late.retried();
    });
    let calls = |unit| {
        snapshot
            .unit(unit)
            .unwrap()
            .boundaries
            .get("late")
            .map(|b| b.calls.sum)
    };
    assert_eq!((calls("root"), calls("root 2")), (Some(1), None));
    assert_eq!(
        snapshot
            .unit("root 2")
            .unwrap()
            .metric("retries")
            .unwrap()
            .sum,
        0
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
fn many_threads_lose_no_unit() {
    const THREADS: u64 = 8;
    const UNITS: u64 = 20_000;
    let snapshot = counted(|_| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    tracing::dispatcher::with_default(&dispatch, || {
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
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
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
    assert!(table.lines().all(|line| line.trim_end() == line));
}
