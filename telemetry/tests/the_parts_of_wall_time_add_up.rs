//! Where a unit's wall time goes: some thread is at work for it, or it waits for a thread, for what it called, or for
//! something that nobody named.
#![cfg(debug_assertions)] // the clock is set

mod counted;

use counted::counted_by;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use telemetry::follow::wakes;
use telemetry::{InCall, SettableClock, Snapshot, call};
use tracing::{info_span, instrument::Instrument as _};

const MS: u64 = 1_000_000;

/// `active`, `queued`, `wait` and `unexplained`, in milliseconds; `None` where it is unknown.
fn parts(snapshot: &Snapshot, unit: &str) -> [Option<u64>; 4] {
    let unit = snapshot.unit(unit).expect("the unit was seen");
    let of = |metric| Some(unit.metric(metric)?.sum / MS);
    ["active", "queued", "wait", "unexplained"].map(of)
}

fn wait(snapshot: &Snapshot, unit: &str, on: &str) -> u64 {
    let unit = snapshot.unit(unit).expect("the unit was seen");
    unit.boundaries[on]
        .wait
        .as_ref()
        .map_or(0, |wait| wait.sum / MS)
}

/// Something that is waited for, until somebody says that it is there.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        let waker = gate.1.take();
        drop(gate);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn passed(&self) {
        poll_fn(|context| {
            let mut gate = self.0.lock().unwrap();
            gate.1 = Some(context.waker().clone());
            match gate.0 {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn between_two_polls_it_waits_for_what_it_called() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let gates = [(); 3].map(|()| Gate::default());
    let [query, sleep, outer] = &gates;
    let snapshot = counted_by(&clock, |_| {
        let unit = async {
            pass(1);
            query.passed().in_call(call!("db")).await;
            pass(2);
            sleep.passed().await;
            let pool = call!("pool");
            outer.passed().in_call(call!("connection")).await;
            drop(pool);
            pass(3);
        };
        let mut unit = pin!(unit.instrument(info_span!("unit")));
        for (gate, ms) in [(query, 10), (sleep, 20), (outer, 40)] {
            assert!(poll(&mut unit).is_pending());
            pass(ms);
            gate.open();
        }
        assert!(poll(&mut unit).is_ready());
    });
    let parts = parts(&snapshot, "unit");
    assert_eq!(parts, [Some(6), None, Some(50), Some(20)]);
    assert_eq!(wait(&snapshot, "unit", "db"), 10);
    // The one inside of the other is what is waited for.
    assert_eq!(wait(&snapshot, "unit", "connection"), 40);
    assert_eq!(wait(&snapshot, "unit", "pool"), 0);
}

#[test]
fn no_instant_counts_twice_where_several_are_waited_for() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let (short, long) = (Gate::default(), Gate::default());
    let snapshot = counted_by(&clock, |_| {
        let unit = async {
            let mut long = pin!(long.passed().in_call(call!("long")));
            let mut short = pin!(short.passed().in_call(call!("short")));
            let mut is_short_done = false;
            poll_fn(|context| {
                if !is_short_done && short.as_mut().poll(context).is_ready() {
                    is_short_done = true;
                }
                long.as_mut().poll(context)
            })
            .await;
        };
        let mut unit = pin!(unit.instrument(info_span!("unit")));
        assert!(poll(&mut unit).is_pending());
        pass(3);
        short.open();
        assert!(poll(&mut unit).is_pending());
        pass(4);
        long.open();
        assert!(poll(&mut unit).is_ready());
    });
    assert_eq!(parts(&snapshot, "unit"), [Some(0), None, Some(7), Some(0)]);
    // What began last is waited for first.
    assert_eq!(wait(&snapshot, "unit", "short"), 3);
    assert_eq!(wait(&snapshot, "unit", "long"), 4);
}

/// What a task has to be polled again.
#[derive(Default)]
struct Task(Mutex<u32>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn from_a_wake_up_to_the_poll_it_waits_for_a_thread() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let (first, second) = (Gate::default(), Gate::default());
    let task = Arc::new(Task::default());
    let snapshot = counted_by(&clock, |_| {
        let unit = async {
            first.passed().in_call(call!("db")).await;
            pass(1);
            second.passed().in_call(call!("db")).await;
        };
        let mut unit = pin!(wakes(unit).instrument(info_span!("unit")));
        let waker = Waker::from(Arc::clone(&task));
        for gate in [&first, &second] {
            let context = &mut Context::from_waker(&waker);
            assert!(unit.as_mut().poll(context).is_pending());
            pass(10);
            gate.open();
            pass(5);
        }
        // Somebody else may poll it.
        let elsewhere = std::thread::scope(|threads| {
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let unit = unit.as_mut();
            let polled = threads.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    unit.poll(&mut Context::from_waker(Waker::noop()))
                        .is_ready()
                })
            });
            polled.join().unwrap()
        });
        assert!(elsewhere);
        // Nobody polls it any more.
        first.open();
        pass(100);
    });
    assert_eq!(*task.0.lock().unwrap(), 2);
    // A future that is done is entered once more when it is dropped.
    let parts = parts(&snapshot, "unit");
    assert_eq!(parts, [Some(1), Some(10), Some(20), Some(100)]);
}

#[test]
fn a_task_that_is_dropped_while_it_was_woken_is_queued_no_more() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let gate = Gate::default();
    let snapshot = counted_by(&clock, |_| {
        let span = info_span!("unit");
        let mut task = Box::pin(wakes(gate.passed()).instrument(span.clone()));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(context).is_pending());
        gate.open();
        pass(2);
        drop(task);
        pass(4);
        span.in_scope(|| pass(8));
    });
    let parts = parts(&snapshot, "unit");
    assert_eq!(parts, [Some(8), Some(2), Some(0), Some(4)]);
}

#[test]
fn what_begins_or_ends_while_no_thread_is_at_work_parts_the_wait() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let snapshot = counted_by(&clock, |_| {
        let span = info_span!("unit");
        let calls = span.in_scope(|| (call!("first"), call!("second")));
        pass(1);
        drop(calls.1);
        pass(2);
        drop(calls.0);
        pass(4);
        span.in_scope(|| ());
        // After its last exit: in no wall time.
        pass(8);
    });
    assert_eq!(parts(&snapshot, "unit"), [Some(0), None, Some(3), Some(4)]);
    assert_eq!(wait(&snapshot, "unit", "second"), 1);
    assert_eq!(wait(&snapshot, "unit", "first"), 2);
}

#[test]
fn threads_that_work_at_the_same_time_are_active_once() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let snapshot = counted_by(&clock, |_| {
        let span = info_span!("unit");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let step = std::sync::Barrier::new(2);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    step.wait();
                    span.in_scope(|| {
                        step.wait();
                        step.wait();
                    });
                    step.wait();
                });
            });
            span.in_scope(|| {
                pass(1);
                step.wait();
                step.wait();
                pass(2);
            });
            pass(4);
            step.wait();
            step.wait();
        });
        pass(8);
        span.in_scope(|| ());
    });
    assert_eq!(parts(&snapshot, "unit"), [Some(7), None, Some(0), Some(8)]);
    let busy = snapshot.unit("unit").unwrap().metric("busy").unwrap();
    assert_eq!(busy.sum / MS, 9);
}

#[test]
fn an_inner_unit_waits_and_with_it_the_one_around_it() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let gate = Gate::default();
    let snapshot = counted_by(&clock, |_| {
        let outer = async {
            pass(1);
            let inner = gate.passed().in_call(call!("db"));
            let span = info_span!(target: "tower_http::trace::make_span", "request");
            let inner = async {
                let call = call!("cache");
                inner.await;
                drop(call);
            };
            inner.instrument(span).await;
            pass(2);
        };
        let mut outer = pin!(outer.instrument(info_span!("outer")));
        assert!(poll(&mut outer).is_pending());
        pass(10);
        gate.open();
        assert!(poll(&mut outer).is_ready());
    });
    assert_eq!(
        parts(&snapshot, "outer"),
        [Some(3), None, Some(10), Some(0)]
    );
    // A call that was made before the inner unit began is the outer one's.
    assert_eq!(
        parts(&snapshot, "request"),
        [Some(0), None, Some(10), Some(0)]
    );
    assert_eq!(wait(&snapshot, "request", "cache"), 10);
    assert_eq!(wait(&snapshot, "outer", "cache"), 10);
}

#[test]
fn a_unit_that_no_thread_enters_has_nothing_to_explain_it() {
    let clock = SettableClock::new();
    let snapshot = counted_by(&clock, |_| {
        let span = info_span!("unit");
        clock.advance(Duration::from_millis(5));
        drop(span);
    });
    assert_eq!(parts(&snapshot, "unit"), [Some(0), None, Some(0), Some(5)]);
}

#[test]
fn each_part_can_have_a_budget() {
    let clock = SettableClock::new();
    let budgets = r#"
        [unit.unit]
        wait.max = "1 ms"
        wait."db".p99 = "2 ms"
        wait."cache".max = "0 ms"
        time."db".max = "10 ms"
        queued.max = "1 ms"
        unexplained.max = "0 ns"
    "#;
    let budgets = budgets.parse().unwrap();
    let builder = telemetry::Telemetry::builder()
        .clock(&clock)
        .budgets(budgets);
    let (layer, telemetry) = builder.build().unwrap();
    let gate = Gate::default();
    tracing::dispatcher::with_default(&counted::stack::dispatch(layer), || {
        let unit = gate.passed().in_call(call!("db"));
        let mut unit = pin!(unit.instrument(info_span!("unit")));
        drop(call!("cache"));
        assert!(poll(&mut unit).is_pending());
        clock.advance(Duration::from_millis(5));
        gate.open();
        assert!(poll(&mut unit).is_ready());
    });
    let snapshot = telemetry.snapshot();
    let budgets = &snapshot.unit("unit").unwrap().budgets;
    let told = |key: &str| (budgets[key].over, budgets[key].of);
    // The call was made before the unit began.
    assert_eq!(told("unexplained.max"), (1, 1), "{snapshot}");
    assert_eq!(told("wait.max"), (0, 1));
    assert_eq!(told("wait.\"cache\".max"), (0, 1));
    assert_eq!(told("queued.max"), (0, 0), "nobody sees its wake-ups");
    assert!(
        snapshot
            .to_string()
            .contains("queued.max: no unit had this figure"),
        "{snapshot}"
    );
}

#[test]
fn of_a_unit_whose_wake_ups_nobody_sees_queued_is_unknown_whatever_was_before() {
    let clock = SettableClock::new();
    let snapshot = counted_by(&clock, |_| {
        for _ in 0..3 {
            let mut seen = pin!(wakes(async {}).instrument(info_span!("seen")));
            assert!(poll(&mut seen).is_ready());
            info_span!("unseen").in_scope(|| ());
        }
    });
    assert_eq!(parts(&snapshot, "seen")[1], Some(0));
    assert_eq!(parts(&snapshot, "unseen")[1], None);
}

#[test]
fn a_unit_around_one_that_was_woken_is_queued_as_well() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let gate = Gate::default();
    let snapshot = counted_by(&clock, |_| {
        let outer = async {
            let span = info_span!(target: "tower_http::trace::make_span", "request");
            wakes(gate.passed()).instrument(span).await;
            pass(1);
        };
        let mut outer = pin!(outer.instrument(info_span!("connection")));
        assert!(poll(&mut outer).is_pending());
        pass(10);
        gate.open();
        pass(5);
        assert!(poll(&mut outer).is_ready());
    });
    let request = parts(&snapshot, "request");
    assert_eq!(request, [Some(0), Some(5), Some(0), Some(10)]);
    let connection = parts(&snapshot, "connection");
    assert_eq!(connection, [Some(1), Some(5), Some(0), Some(10)]);
}

#[test]
fn what_ends_long_after_the_last_exit_takes_no_time_from_what_was_before() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let snapshot = counted_by(&clock, |_| {
        let span = info_span!("unit");
        let call = span.in_scope(|| {
            pass(3);
            call!("db")
        });
        pass(10_000);
        drop(call);
        pass(10_000);
        drop(span);
    });
    assert_eq!(parts(&snapshot, "unit"), [Some(3), None, Some(0), Some(0)]);
    assert_eq!(wait(&snapshot, "unit", "db"), 0);
}

#[test]
fn a_call_that_outlives_its_unit_ends_in_the_one_around_it() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let snapshot = counted_by(&clock, |_| {
        let connection = info_span!("connection");
        let call = connection.in_scope(|| {
            let request = info_span!(target: "tower_http::trace::make_span", "request");
            request.in_scope(|| call!("db"))
        });
        pass(2);
        drop(call);
        pass(100);
        connection.in_scope(|| ());
    });
    let connection = parts(&snapshot, "connection");
    assert_eq!(connection, [Some(0), None, Some(2), Some(100)]);
    let db = &snapshot.unit("connection").unwrap().boundaries["db"];
    assert_eq!(db.time.as_ref().unwrap().sum, 2 * MS);
}

#[test]
fn a_future_that_goes_from_unit_to_unit_leaves_none_queued() {
    let clock = SettableClock::new();
    let pass = |ms| clock.advance(Duration::from_millis(ms));
    let gate = Gate::default();
    let snapshot = counted_by(&clock, |_| {
        let connection = info_span!("connection");
        let mut stop = Box::pin(wakes(gate.passed()));
        connection.in_scope(|| {
            let request = info_span!(target: "tower_http::trace::make_span", "request");
            request.in_scope(|| assert!(poll(&mut stop.as_mut()).is_pending()));
            gate.open();
        });
        pass(4);
        // Nobody polls it in the request, which is over.
        connection.in_scope(|| assert!(poll(&mut stop.as_mut()).is_ready()));
        pass(50);
        connection.in_scope(|| ());
    });
    let connection = parts(&snapshot, "connection");
    assert_eq!(connection, [Some(0), Some(4), Some(0), Some(50)]);
}

#[test]
fn what_is_kept_for_wake_ups_is_in_no_figure_of_the_program() {
    let (layer, _telemetry) = telemetry::Telemetry::builder().build().unwrap();
    tracing::dispatcher::with_default(&counted::stack::dispatch(layer), || {
        let round = || {
            info_span!("unit").in_scope(|| {
                let mut future = Box::pin(wakes(std::future::pending::<()>()));
                let task = Waker::noop();
                let _ = future.as_mut().poll(&mut Context::from_waker(task));
            });
            // Somebody has a waker for longer than the future is there.
            let kept = Mutex::new(None);
            let mut future = Box::pin(wakes(poll_fn(|context| {
                *kept.lock().unwrap() = Some(context.waker().clone());
                Poll::<()>::Pending
            })));
            let task = Waker::noop();
            let _ = future.as_mut().poll(&mut Context::from_waker(task));
            drop(future);
            let waker = kept.lock().unwrap().take().unwrap();
            waker.wake_by_ref();
            let last = waker.clone();
            drop(waker);
            last.wake();
        };
        round();
        let ((), usage) = alloc_tracker::measure(round);
        assert_eq!((usage.live_bytes(), usage.live_blocks()), (0, 0), "{usage}");
        if cfg!(feature = "track") {
            // The two boxes.
            assert_eq!(usage.allocs, 2, "{usage}");
        }
    });
}
