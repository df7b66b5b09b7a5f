//! A connection and its commands, a batch and its items: each is counted, and the inner ones inside of the outer.
#![cfg(feature = "track")]

mod written;

use alloc_tracker::AllocTracker;
use std::hint::black_box;
use telemetry::{Lean, Snapshot, Telemetry, UnitSnapshot};
use tracing::{Dispatch, Span, dispatcher, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn allocate(n: usize) {
    (0..n).for_each(|_| drop(black_box(vec![1u8; 100])));
}

/// Runs `work` under the layer, and in `Lean`; each time, `check` looks at the snapshot.
fn in_both(work: impl Fn(), check: impl Fn(&Snapshot)) {
    for lean in [false, true] {
        let (layer, telemetry) = Telemetry::builder()
            .unit_span("shop::cache", "command")
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match lean {
            false => Dispatch::new(subscriber),
            true => Dispatch::new(Lean::new(subscriber)),
        };
        dispatcher::with_default(&dispatch, || {
            warm_up();
            work();
        });
        let snapshot = telemetry.snapshot();
        check(&snapshot);
        drop(telemetry);
    }
}

/// The registry has room on this thread for so many spans from here on: what it allocates for more is the program's.
fn warm_up() {
    let spans: Vec<_> = (0..40).map(|_| info_span!("warm up").entered()).collect();
    drop(spans);
}

fn sum(unit: &UnitSnapshot, metric: &str) -> u64 {
    unit.metric(metric).unwrap().sum
}

fn command(n: u32) -> Span {
    info_span!(target: "shop::cache", "command", n)
}

fn on_another_thread(work: impl FnOnce() + Send + 'static) {
    let dispatch = dispatcher::get_default(Clone::clone);
    let work = move || dispatcher::with_default(&dispatch, work);
    std::thread::spawn(work).join().unwrap();
}

#[test]
fn the_outer_one_has_what_the_inner_ones_cost() {
    let work = || {
        info_span!("connection").in_scope(|| {
            allocate(1);
            for n in 0..3 {
                command(n).in_scope(|| {
                    allocate(10);
                    // A span that is no unit belongs to the inner one.
                    info_span!("look up").in_scope(|| allocate(10));
                });
            }
            allocate(1);
        });
        // On its own a command is a unit as any other.
        command(3).in_scope(|| allocate(5));
    };
    in_both(work, |snapshot| {
        let (connection, commands) = (
            snapshot.unit("connection").unwrap(),
            snapshot.unit("command").unwrap(),
        );
        assert_eq!((connection.count, commands.count), (1, 4), "{snapshot}");
        assert_eq!(sum(connection, "allocs"), 62);
        assert_eq!(sum(commands, "allocs"), 65);
        assert_eq!((connection.inside.units, connection.inside.allocs), (0, 0));
        assert_eq!((commands.inside.units, commands.inside.allocs), (3, 60));
        assert_eq!(commands.inside.alloc_bytes, 6000);
        let own = |unit: &UnitSnapshot| unit.outermost("allocs").unwrap();
        assert_eq!((own(connection), own(commands)), (62, 5));
        // The connection was entered once, whatever began in it.
        assert_eq!(sum(connection, "wakeups"), 1);
        assert_eq!(sum(commands, "wakeups"), 4);
    });
}

#[test]
fn where_the_inner_one_goes_the_outer_one_works_too() {
    let work = || {
        let connection = info_span!("connection");
        let part = connection.in_scope(|| info_span!("part"));
        let command = part.in_scope(|| command(0));
        on_another_thread(move || {
            warm_up();
            // Nobody enters the connection here.
            command.in_scope(|| allocate(20));
            // A span inside the command is as good.
            let inside = command.in_scope(|| info_span!("inside"));
            inside.in_scope(|| allocate(3));
            // The last ones go before those around them do.
            drop((command, inside));
            allocate(1000);
        });
        connection.in_scope(|| allocate(1));
    };
    in_both(work, |snapshot| {
        let (connection, command) = (
            snapshot.unit("connection").unwrap(),
            snapshot.unit("command").unwrap(),
        );
        assert_eq!((connection.count, command.count), (1, 1), "{snapshot}");
        assert_eq!(sum(command, "allocs"), 23);
        assert_eq!(sum(connection, "allocs"), 24);
        assert_eq!(command.inside.allocs, 23);
        assert_eq!(sum(command, "wakeups"), 3);
        // For the first two spans, for the command's three entries, and at the end.
        assert_eq!(sum(connection, "wakeups"), 6);
        assert!(sum(connection, "busy") >= sum(command, "busy"));
    });
}

#[test]
fn an_outer_one_that_is_left_first_goes_on_with_the_inner_one() {
    let work = || {
        let connection = info_span!("connection").entered();
        let command = command(0).entered();
        let connection = connection.exit();
        allocate(7);
        drop(command);
        allocate(1000);
        drop(connection);
    };
    in_both(work, |snapshot| {
        let (connection, command) = (
            snapshot.unit("connection").unwrap(),
            snapshot.unit("command").unwrap(),
        );
        assert_eq!(sum(command, "allocs"), 7, "{snapshot}");
        assert_eq!(sum(connection, "allocs"), 7);
        assert_eq!(command.inside.allocs, 7);
        assert_eq!(sum(connection, "wakeups"), 1);
    });
}

#[test]
fn calls_of_the_inner_one_are_the_outer_ones_too() {
    let work = || {
        info_span!("connection").in_scope(|| {
            command(0).in_scope(|| {
                let call = telemetry::call!("disk");
                call.sent(100);
                call.retried();
            });
            telemetry::call!("disk").received(7);
        });
    };
    in_both(work, |snapshot| {
        let of = |unit: &str| {
            let unit = snapshot.unit(unit).unwrap();
            let disk = &unit.boundaries["disk"];
            let sums = [&disk.calls, &disk.bytes_sent, &disk.bytes_received];
            (sums.map(|of| of.sum), sum(unit, "retries"))
        };
        assert_eq!(of("command"), ([2, 100, 0], 1));
        assert_eq!(of("connection"), ([3, 100, 7], 1));
    });
}

#[test]
fn those_in_progress_are_told_apart_as_well() {
    let open = std::cell::RefCell::new(Vec::new());
    let work = || {
        let connection = info_span!("connection");
        let command = connection.in_scope(|| command(0));
        command.in_scope(|| allocate(9));
        open.borrow_mut().extend([command, connection]);
    };
    in_both(work, |snapshot| {
        let (connection, command) = (
            snapshot.unit("connection").unwrap(),
            snapshot.unit("command").unwrap(),
        );
        assert_eq!(connection.in_progress.cost("allocs"), Some(9), "{snapshot}");
        assert_eq!(command.in_progress.cost("allocs"), Some(9));
        let inside = command.in_progress.inside;
        assert_eq!((inside.units, inside.allocs), (1, 9));
        assert_eq!(command.outermost("allocs"), Some(0));
        assert_eq!(connection.outermost("allocs"), Some(9));
        open.borrow_mut().clear();
    });
}

#[test]
fn there_may_be_sixteen_around_one() {
    fn nest(deeper: u32) {
        command(deeper).in_scope(|| {
            allocate(1);
            if deeper > 0 {
                nest(deeper - 1);
            }
        });
    }
    in_both(
        || nest(19),
        |snapshot| {
            let commands = snapshot.unit("command").unwrap();
            assert_eq!((commands.count, commands.inside.units), (17, 16));
            // The outermost has all 20, and so on; the innermost its own and those that are no units.
            assert_eq!(sum(commands, "allocs"), (4..=20).sum::<u64>());
            assert_eq!(commands.outermost("allocs"), Some(20));
        },
    );
}

#[test]
fn a_span_that_was_entered_for_another_is_not_entered_for_the_program() {
    let work = || {
        let connection = info_span!("connection");
        let command = connection.in_scope(|| command(0));
        let seen = connection.clone();
        on_another_thread(move || {
            warm_up();
            command.in_scope(|| {
                // The connection is around it already; the program enters it, and it is the innermost.
                seen.in_scope(|| tracing::error!("the connection's"));
                allocate(5);
            });
            drop((command, seen));
        });
        drop(connection);
    };
    in_both(work, |snapshot| {
        let (connection, command) = (
            snapshot.unit("connection").unwrap(),
            snapshot.unit("command").unwrap(),
        );
        assert_eq!((connection.errors, command.errors), (1, 0), "{snapshot}");
        assert_eq!(command.inside.allocs, sum(command, "allocs"));
        assert_eq!(
            connection.outermost("allocs"),
            Some(sum(connection, "allocs"))
        );
    });
}

#[test]
fn a_guard_that_never_comes_back_leaves_nothing_to_either() {
    let lasts = std::cell::RefCell::new(Vec::new());
    let work = || {
        let connection = info_span!("connection");
        let command = connection.in_scope(|| command(0));
        // Held over an await, say: this thread goes on with something else.
        let guard = command.entered();
        std::thread::scope(|threads| {
            let dispatch = dispatcher::get_default(Clone::clone);
            let guard = Moved(guard);
            threads.spawn(move || {
                let guard = guard;
                dispatcher::with_default(&dispatch, || drop(guard));
            });
        });
        allocate(1000);
        // Here the thread finds out.
        info_span!("other").in_scope(|| allocate(1));
        lasts.borrow_mut().push(connection);
    };
    in_both(work, |snapshot| {
        let connection = snapshot.unit("connection").unwrap();
        assert!(
            connection.in_progress.cost("allocs").unwrap() < 1000,
            "{snapshot}"
        );
        let command = snapshot.unit("command").unwrap();
        assert!(sum(command, "allocs") < 1000, "{snapshot}");
        let other = snapshot.unit("other").unwrap();
        assert_eq!(
            (sum(other, "allocs"), other.inside.allocs),
            (1, 0),
            "{snapshot}"
        );
        assert!(snapshot.ledger.untold.values().sum::<u64>() > 0);
        lasts.borrow_mut().clear();
    });
}

/// A guard on a thread that it is not made for: what the compiler forbids, and a task does that is polled elsewhere.
struct Moved(#[allow(dead_code)] tracing::span::EnteredSpan);
// SAFETY: an entered span is no `Send` for the sake of what is counted; what is in it is a handle that may be sent.
unsafe impl Send for Moved {}

#[test]
fn an_inner_one_that_others_have_stays_inside_when_a_lean_span_around_it_is_over() {
    let (layer, telemetry) = Telemetry::builder()
        .unit_span("shop::cache", "command")
        .build()
        .unwrap();
    let others = tracing_subscriber::layer::Identity::new()
        .with_filter(filter_fn(|metadata| metadata.name() != "lean"));
    let subscriber = tracing_subscriber::registry().with(others).with(layer);
    let dispatch = Dispatch::new(Lean::new(subscriber));
    dispatcher::with_default(&dispatch, || {
        let connection = info_span!("connection");
        // It is over when the command begins to work.
        let command = connection.in_scope(|| info_span!("lean").in_scope(|| command(0)));
        on_another_thread(move || command.in_scope(|| allocate(30)));
    });
    let snapshot = telemetry.snapshot();
    let connection = snapshot.unit("connection").unwrap();
    assert!(sum(connection, "allocs") >= 30, "{snapshot}");
    let command = snapshot.unit("command").unwrap();
    assert_eq!(command.inside.allocs, sum(command, "allocs"));
}

#[test]
fn the_exemplar_of_an_inner_one_names_the_outer() {
    let (builder, written) = written::builder();
    let (layer, telemetry) = builder
        .unit_span("shop::cache", "command")
        .trace_sample(1.0)
        .build()
        .unwrap();
    let dispatch = Dispatch::new(Lean::new(tracing_subscriber::registry().with(layer)));
    dispatcher::with_default(&dispatch, || {
        info_span!("connection").in_scope(|| command(0).in_scope(|| ()));
    });
    telemetry.flush();
    let exemplars = written.of("exemplar");
    let of = |unit: &str| exemplars.iter().find(|e| e["unit"] == unit).unwrap();
    let (connection, command) = (of("connection"), of("command"));
    assert_eq!(command["outer"]["unit"], "connection");
    assert_eq!(command["outer"]["unit_id"], connection["unit_id"]);
    assert_eq!(connection.get("outer"), None);
    assert_ne!(connection["unit_id"], command["unit_id"]);
    // The tree of the inner one begins with it.
    let spans = command["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!(
        (&spans[0]["name"], &spans[0]["parent"]),
        (&"command".into(), &serde_json::Value::Null)
    );
}
