//! Calls across boundaries: how often, how long, what went each way, what was tried again, and what failed.
#![cfg(debug_assertions)] // the clock is set

mod counted;

use counted::{counted, counted_by, stack};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use telemetry::record::BoundarySnapshot;
use telemetry::{Boundary, BoundaryMetric, InCall, SettableClock, Snapshot, Telemetry, call};
use tracing::{info_span, instrument::Instrument as _};

fn boundary<'a>(snapshot: &'a Snapshot, unit: &str, name: &str) -> &'a BoundarySnapshot {
    let unit = snapshot.unit(unit).expect("the unit was seen");
    &unit.boundaries[name]
}

/// The sum over all units; 0 if it is not written.
fn sum(boundary: &BoundarySnapshot, metric: BoundaryMetric) -> u64 {
    boundary.metric(metric).map_or(0, |metric| metric.sum)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Is done at the poll after this many.
async fn polls(times: u32) {
    let left = Cell::new(times);
    poll_fn(|_| match left.get() {
        0 => Poll::Ready(()),
        more => {
            left.set(more - 1);
            Poll::Pending
        }
    })
    .await;
}

const MS: u64 = 1_000_000;

#[test]
fn it_lasts_until_it_is_dropped_however_it_lies_with_others() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let snapshot = counted_by(&clock, |_| {
        info_span!("unit").in_scope(|| {
            let outer = call!("outer");
            pass(1);
            let inner = call!("inner");
            pass(2);
            let again = call!("inner");
            pass(4);
            drop(outer);
            pass(8);
            drop(inner);
            pass(16);
            drop(again);
            pass(32);
        });
        info_span!("unit").in_scope(|| pass(64));
    });
    let outer = boundary(&snapshot, "unit", "outer");
    let inner = boundary(&snapshot, "unit", "inner");
    assert_eq!(sum(outer, BoundaryMetric::Time), 7 * MS);
    assert_eq!(sum(inner, BoundaryMetric::Time), (14 + 28) * MS);
    let time = outer.time.as_ref().expect("it is known");
    assert_eq!(
        (time.count, time.quantile(0.5)),
        (2, 0),
        "one did not call it"
    );
    assert_eq!(inner.retries, None);
}

#[test]
fn what_is_told_of_it_is_in_its_figures() {
    let clock = SettableClock::new();
    let snapshot = counted_by(&clock, |_| {
        info_span!("unit").in_scope(|| {
            let call = call!("http");
            call.waited(Duration::from_micros(30));
            call.failed();
            call.retried();
            call.failed();
            call.retried();
            call.sent(5);
            call.sent(6);
            call.received(7);
        });
    });
    let http = boundary(&snapshot, "unit", "http");
    let told = BoundaryMetric::ALL.map(|metric| (metric.name(), sum(http, metric)));
    let expected = [
        ("calls", 3),
        ("bytes_sent", 11),
        ("bytes_received", 7),
        ("time", 0),
        ("waited", 30_000),
        ("retries", 2),
        ("failures", 2),
        ("wait", 0),
    ];
    assert_eq!(told, expected);
    let retries = snapshot.unit("unit").unwrap().metric("retries").unwrap();
    assert_eq!(retries.sum, 2);
}

#[test]
fn a_call_in_a_future_ends_when_it_is_done_or_dropped() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let snapshot = counted_by(&clock, |_| {
        let unit = async {
            let mut done = pin!(polls(2).in_call(call!("done")));
            // Not only when whoever has it drops it.
            while poll(done.as_mut()).is_pending() {
                pass(1);
            }
            pass(100);
            let mut cancelled = Box::pin(polls(9).in_call(call!("cancelled")));
            assert!(poll(cancelled.as_mut()).is_pending());
            pass(5);
            drop(cancelled);
            pass(100);
            // Two at the same time.
            let mut short = pin!(polls(1).in_call(call!("each")));
            let mut long = pin!(polls(1).in_call(call!("each")));
            assert!(poll(short.as_mut()).is_pending() && poll(long.as_mut()).is_pending());
            pass(1);
            assert!(poll(short.as_mut()).is_ready());
            pass(2);
            assert!(poll(long.as_mut()).is_ready());
        };
        let mut unit = pin!(unit.instrument(info_span!("unit")));
        assert!(poll(unit.as_mut()).is_ready());
    });
    let time = |name| sum(boundary(&snapshot, "unit", name), BoundaryMetric::Time);
    assert_eq!(time("done"), 2 * MS);
    assert_eq!(time("cancelled"), 5 * MS);
    let each = boundary(&snapshot, "unit", "each");
    assert_eq!(sum(each, BoundaryMetric::Calls), 2);
    assert_eq!(sum(each, BoundaryMetric::Time), 4 * MS);
}

#[test]
fn a_call_goes_with_whoever_has_it() {
    let clock = SettableClock::new();
    let snapshot = counted_by(&clock, |_| {
        info_span!("unit").in_scope(|| {
            let call = call!("moved");
            let clock = clock.clone();
            let moved = std::thread::spawn(move || {
                clock.advance(Duration::from_millis(3));
                call.sent(9);
                drop(call);
            });
            moved.join().unwrap();
        });
    });
    let moved = boundary(&snapshot, "unit", "moved");
    assert_eq!(sum(moved, BoundaryMetric::Time), 3 * MS);
    assert_eq!(sum(moved, BoundaryMetric::Sent), 9);
}

#[test]
fn of_all_threads_nothing_is_lost() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 5_000;
    let snapshot = counted(|_| {
        let unit = info_span!("unit");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let work = || {
            tracing::dispatcher::with_default(&dispatch, || {
                for n in 0..CALLS {
                    unit.in_scope(|| {
                        let call = call!(["even", "odd"][(n % 2) as usize]);
                        call.sent(n);
                        call.received(1);
                    });
                }
            });
        };
        std::thread::scope(|threads| {
            (1..THREADS).for_each(|_| _ = threads.spawn(work));
            work();
        });
    });
    let of = |name| boundary(&snapshot, "unit", name);
    let both = |metric| sum(of("even"), metric) + sum(of("odd"), metric);
    assert_eq!(both(BoundaryMetric::Calls), THREADS * CALLS);
    assert_eq!(both(BoundaryMetric::Received), THREADS * CALLS);
    assert_eq!(
        both(BoundaryMetric::Sent),
        THREADS * CALLS * (CALLS - 1) / 2
    );
}

#[test]
fn a_call_that_a_panic_ends_has_failed() {
    let snapshot = counted(|_| {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            info_span!("unit").in_scope(|| {
                let _call = call!("broken");
                std::panic::resume_unwind(Box::new(0));
            });
        }));
        struct Cleans;
        impl Drop for Cleans {
            fn drop(&mut self) {
                drop(call!("cleaning up"));
            }
        }
        let _ = catch_unwind(AssertUnwindSafe(|| {
            info_span!("unit").in_scope(|| {
                let _cleans = Cleans;
                std::panic::resume_unwind(Box::new(0));
            });
        }));
    });
    let failures = |name| sum(boundary(&snapshot, "unit", name), BoundaryMetric::Failures);
    assert_eq!((failures("broken"), failures("cleaning up")), (1, 0));
}

#[test]
fn inner_units_have_it_and_those_around_them() {
    let clock = SettableClock::new();
    let snapshot = counted_by(&clock, |_| {
        info_span!("outer").in_scope(|| {
            info_span!(target: "tower_http::trace::make_span", "request").in_scope(|| {
                let call = call!("db");
                clock.advance(Duration::from_millis(2));
                call.failed();
            });
        });
    });
    for unit in ["outer", "request"] {
        let db = boundary(&snapshot, unit, "db");
        assert_eq!(sum(db, BoundaryMetric::Time), 2 * MS, "{unit}");
        assert_eq!(sum(db, BoundaryMetric::Failures), 1, "{unit}");
    }
}

#[test]
fn two_telemetries_have_it_each_by_its_own_clock() {
    let clocks = [SettableClock::new(), SettableClock::new()];
    let [a, b] = clocks
        .each_ref()
        .map(|clock| Telemetry::builder().clock(clock).build().unwrap());
    use tracing_subscriber::prelude::*;
    let subscriber = tracing_subscriber::registry().with(a.0).with(b.0);
    tracing::subscriber::with_default(subscriber, || {
        info_span!("unit").in_scope(|| {
            let _call = call!("db");
            clocks[0].advance(Duration::from_millis(1));
            clocks[1].advance(Duration::from_millis(10));
        });
    });
    let time = |telemetry: &Telemetry| {
        let snapshot = telemetry.snapshot();
        sum(boundary(&snapshot, "unit", "db"), BoundaryMetric::Time)
    };
    assert_eq!((time(&a.1), time(&b.1)), (MS, 10 * MS));
}

#[test]
fn a_clock_that_goes_nowhere_gives_no_time() {
    let clock = SettableClock::new();
    let snapshot = counted_by(&clock, |_| {
        info_span!("unit").in_scope(|| (0..100).for_each(|_| drop(call!("db"))));
    });
    let db = boundary(&snapshot, "unit", "db");
    assert_eq!(
        (
            sum(db, BoundaryMetric::Calls),
            sum(db, BoundaryMetric::Time)
        ),
        (100, 0)
    );
}

#[test]
fn names_may_be_known_at_run_time_alone() {
    static FIXED: Boundary = Boundary::new("db");
    let snapshot = counted(|_| {
        info_span!("unit").in_scope(|| {
            let name = "db".to_owned();
            drop((call!(name), call!(name.as_str()), call!("db"), FIXED.call()));
            drop(call!(format!("shard {}", 7)));
        });
    });
    let calls = |name| boundary(&snapshot, "unit", name).calls.sum;
    assert_eq!((calls("db"), calls("shard 7")), (4, 1));
}

#[test]
fn telemetry_may_be_gone_before_the_call() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let dispatch = stack::dispatch(layer);
    let call = tracing::dispatcher::with_default(&dispatch, || {
        info_span!("unit").in_scope(|| call!("db"))
    });
    drop((dispatch, telemetry));
    call.sent(1);
    drop(call);
}
