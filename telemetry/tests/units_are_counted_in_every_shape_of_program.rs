//! Units against what the program really did: nesting, threads, polls, odd orders, panics.

mod counted;

use counted::{allocate, counted, counted_by, sum, tracked};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use telemetry::{SettableClock, Telemetry};
use tracing::{Span, debug_span, error, info_span, trace_span};
use tracing_subscriber::prelude::*;

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
fn a_future_that_is_dropped_between_polls_ends_its_unit() {
    use std::future::{Future, pending};
    use std::task::{Context, Waker};
    use tracing::Instrument;

    let snapshot = counted(|_| {
        let work = async {
            allocate(64);
            let held = vec![1u8; 5000];
            pending::<()>().await;
            drop(held);
        };
        let mut work = Box::pin(work.instrument(info_span!("root")));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut cx).is_pending());
        // On another thread, where it was never polled.
        std::thread::spawn(move || drop(work)).join().unwrap();
    });
    assert_eq!(snapshot.unit("root").unwrap().count, 1);
    // The poll; and the drop, which `tracing` does inside the span.
    assert_eq!(sum(&snapshot, "root", "wakeups"), Some(2));
    assert_eq!(sum(&snapshot, "root", "allocs"), tracked(2));
    assert_eq!(snapshot.ledger.units.seen, 1);
}

#[test]
fn to_follow_from_a_unit_is_not_to_belong_to_it() {
    let snapshot = counted(|_| {
        let first = info_span!("first");
        let second = info_span!(parent: None, "second");
        second.follows_from(&first);
        first.in_scope(|| allocate(64));
        second.in_scope(|| (0..2).for_each(|_| allocate(64)));
    });
    assert_eq!(sum(&snapshot, "first", "allocs"), tracked(1));
    assert_eq!(sum(&snapshot, "second", "allocs"), tracked(2));
}

#[test]
fn wall_ends_at_the_last_exit_and_busy_leaves_out_the_waiting() {
    let clock = SettableClock::new();
    let passes = |millis| clock.advance(Duration::from_millis(millis));
    let snapshot = counted_by(&clock, |_| {
        let root = info_span!("root");
        root.in_scope(|| passes(20));
        passes(60);
        root.in_scope(|| passes(20));
        passes(200); // a handle kept: not the unit's time
        drop(root);
        let never_entered = info_span!("never entered");
        passes(30);
        drop(never_entered);
    });
    let ms = |unit, metric| sum(&snapshot, unit, metric).unwrap() / 1_000_000;
    assert_eq!(ms("root", "wall"), 100);
    assert_eq!(ms("root", "busy"), 40);
    assert_eq!(ms("never entered", "wall"), 30);
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
fn units_that_do_not_cross_a_boundary_count_as_zero_in_every_interval() {
    let snapshot = counted(|telemetry| {
        let unit = |crosses: bool| {
            info_span!("root").in_scope(|| {
                if crosses {
                    telemetry::call!("rare").sent(10);
                }
            });
        };
        for crossed in [[false; 3], [false, true, false], [false; 3], [true; 3]] {
            crossed.into_iter().for_each(unit);
            telemetry.flush();
        }
        [false; 7].into_iter().for_each(unit); // in no record yet
    });
    let rare = &snapshot.unit("root").unwrap().boundaries["rare"];
    for (distribution, most) in [
        (&rare.calls, 1),
        (&rare.bytes_sent, 10),
        (&rare.bytes_received, 0),
    ] {
        assert_eq!(distribution.count, 19);
        assert_eq!(distribution.sum, 4 * most);
        assert_eq!(distribution.quantile(15.0 / 19.0), 0);
        assert_eq!(distribution.quantile(16.0 / 19.0), most);
    }
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
