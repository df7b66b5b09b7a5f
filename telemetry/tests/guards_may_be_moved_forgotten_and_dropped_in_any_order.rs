//! Random programs whose guards are dropped on other threads than those that entered, in any order, or
//! never: telemetry counts what an independent layer beside it sees.

#![cfg(feature = "track")]

mod written;

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::{Lean, Telemetry};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Span, Subscriber, error, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Identity, Layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

const THREADS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Inside whatever the thread is in.
    New(usize),
    NewRoot(usize),
    NewInside(usize, usize),
    /// A guard is made, of a span that is open.
    Enter(usize),
    /// A guard is dropped, here.
    Drop(usize),
    /// A guard is forgotten.
    Forget(usize),
    /// The handle of a span of which there is no guard, but perhaps one that was forgotten.
    Close(usize),
    Error,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let (kind, any) = (|| 0..3usize, any::<usize>);
    let step = prop_oneof![
        4 => kind().prop_map(Step::New),
        1 => kind().prop_map(Step::NewRoot),
        1 => (kind(), any()).prop_map(|(kind, parent)| Step::NewInside(kind, parent)),
        8 => any().prop_map(Step::Enter),
        5 => any().prop_map(Step::Drop),
        2 => any().prop_map(Step::Forget),
        4 => any().prop_map(Step::Close),
        1 => Just(Step::Error),
    ];
    (0..THREADS, step)
}

/// What a layer sees: of each span its kind and the span around it, and the spans in which an error was.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    spans: BTreeMap<u64, (&'static str, Option<u64>)>,
    errors: Vec<u64>,
}

impl Seen {
    fn root(&self, mut span: u64) -> u64 {
        while let Some(parent) = self.spans[&span].1 {
            span = parent;
        }
        span
    }
}

#[derive(Clone, Default)]
struct Beside(Arc<Mutex<Seen>>);

struct Number(u64);

impl Visit for Number {
    fn record_u64(&mut self, _: &Field, value: u64) {
        self.0 = value;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Beside {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut number = Number(0);
        attributes.record(&mut number);
        let span = cx.span(id).unwrap();
        let parent = span.parent();
        let parent = parent.map(|parent| parent.extensions().get::<Number>().unwrap().0);
        let mut seen = self.0.lock().unwrap();
        seen.spans.insert(number.0, (span.name(), parent));
        span.extensions_mut().insert(number);
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let is_error = *event.metadata().level() == Level::ERROR;
        if let Some(span) = cx.event_span(event).filter(|_| is_error) {
            let number = span.extensions().get::<Number>().unwrap().0;
            self.0.lock().unwrap().errors.push(number);
        }
    }
}

fn make(kind: usize, n: u64, parent: Option<Option<&Span>>) -> Span {
    match (kind, parent) {
        (0, None) => info_span!("a", n),
        (1, None) => info_span!("b", n),
        (_, None) => info_span!("c", n),
        (0, Some(None)) => info_span!(parent: None, "a", n),
        (1, Some(None)) => info_span!(parent: None, "b", n),
        (_, Some(None)) => info_span!(parent: None, "c", n),
        (0, Some(Some(span))) => info_span!(parent: span, "a", n),
        (1, Some(Some(span))) => info_span!(parent: span, "b", n),
        (_, Some(Some(span))) => info_span!(parent: span, "c", n),
    }
}

type Task = Box<dyn FnOnce() + Send>;

/// Runs tasks on threads of their own, one at a time.
struct Threads(Vec<Sender<(Task, Sender<()>)>>);

impl Threads {
    fn on<T: Send + 'static>(&self, thread: usize, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, is_done) = channel();
        let (result, results) = channel();
        let task: Task = Box::new(move || result.send(task()).unwrap());
        self.0[thread].send((task, done)).unwrap();
        is_done.recv().unwrap();
        results.recv().unwrap()
    }
}

fn run(steps: &[(usize, Step)], dispatch: &Dispatch) {
    std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|_| {
            let (tasks, to_do) = channel::<(Task, Sender<()>)>();
            scope.spawn(move || {
                with_default(dispatch, || {
                    for (task, done) in to_do {
                        task();
                        done.send(()).unwrap();
                    }
                });
            });
            tasks
        });
        let threads = Threads(threads.collect());
        let mut spans: Vec<Option<Span>> = Vec::new();
        let mut guards: Vec<usize> = Vec::new();
        let leave = |thread, span: &Option<Span>| {
            let span = span.clone();
            threads.on(thread, move || {
                span.unwrap()
                    .with_subscriber(|(id, dispatch)| dispatch.exit(id))
            });
        };
        let of = |n: usize, len: usize| (len > 0).then(|| n % len.max(1));
        for (thread, step) in steps.iter().copied() {
            let open: Vec<usize> = (0..spans.len()).filter(|n| spans[*n].is_some()).collect();
            let an_open_one = |n: usize| of(n, open.len()).map(|at| open[at]);
            let n = spans.len() as u64;
            match step {
                Step::New(kind) => {
                    spans.push(Some(threads.on(thread, move || make(kind, n, None))));
                }
                Step::NewRoot(kind) => {
                    spans.push(Some(threads.on(thread, move || make(kind, n, Some(None)))));
                }
                Step::NewInside(kind, parent) => {
                    if let Some(parent) = an_open_one(parent) {
                        let parent = spans[parent].clone();
                        let new = move || make(kind, n, Some(parent.as_ref()));
                        spans.push(Some(threads.on(thread, new)));
                    }
                }
                Step::Enter(span) => {
                    if let Some(span) = an_open_one(span) {
                        guards.push(span);
                        let span = spans[span].clone();
                        threads.on(thread, move || {
                            span.unwrap()
                                .with_subscriber(|(id, dispatch)| dispatch.enter(id))
                        });
                    }
                }
                Step::Drop(guard) => {
                    if let Some(at) = of(guard, guards.len()) {
                        leave(thread, &spans[guards.swap_remove(at)]);
                    }
                }
                Step::Forget(guard) => {
                    if let Some(at) = of(guard, guards.len()) {
                        guards.swap_remove(at);
                    }
                }
                Step::Close(span) => {
                    let span = an_open_one(span).filter(|span| !guards.contains(span));
                    if let Some(span) = span {
                        let span = spans[span].take();
                        threads.on(thread, move || drop(span));
                    }
                }
                Step::Error => threads.on(thread, || error!("failed")),
            }
        }
        for (n, guard) in guards.drain(..).enumerate() {
            leave(n % THREADS, &spans[guard]);
        }
        for (n, span) in spans.drain(..).enumerate() {
            threads.on(n % THREADS, move || drop(span));
        }
        // Everything is over: whatever was left lying on the threads, these are units.
        for thread in 0..THREADS {
            for n in 0..3 {
                let n = 1_000_000 + 10 * thread as u64 + n;
                threads.on(thread, move || info_span!("later", n).in_scope(|| ()));
            }
        }
    });
}

/// By kind: units, and those that failed.
type Units = BTreeMap<&'static str, (u64, u64)>;

fn units_of(seen: &Seen) -> Units {
    let mut units = Units::new();
    let failed: BTreeSet<u64> = seen.errors.iter().map(|span| seen.root(*span)).collect();
    for (span, (name, parent)) in &seen.spans {
        if parent.is_none() {
            let unit = units.entry(name).or_default();
            unit.0 += 1;
            unit.1 += u64::from(failed.contains(span));
        }
    }
    units
}

/// By its own span: each unit's spans, and the ones around them.
type Trees = BTreeMap<u64, BTreeSet<(u64, Option<u64>)>>;

fn trees_of(seen: &Seen) -> Trees {
    let mut trees = Trees::new();
    for (span, (_, parent)) in &seen.spans {
        trees
            .entry(seen.root(*span))
            .or_default()
            .insert((*span, *parent));
    }
    trees
}

fn trees_in(exemplars: &[serde_json::Value]) -> Trees {
    let trees = exemplars.iter().map(|exemplar| {
        let spans = exemplar["spans"].as_array().unwrap();
        let number = |span: &serde_json::Value| span["fields"]["n"].as_u64().unwrap();
        let place = |span: &serde_json::Value| {
            let parent = span["parent"].as_u64();
            (number(span), parent.map(|at| number(&spans[at as usize])))
        };
        (number(&spans[0]), spans.iter().map(place).collect())
    });
    trees.collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stack {
    Plain,
    Lean,
    /// In `Lean`, beside a layer that wants the spans of one kind.
    LeanBeside,
}

fn check(steps: &[(usize, Step)]) {
    let mut seen = Seen::default();
    for stack in [Stack::Plain, Stack::Lean, Stack::LeanBeside] {
        let (builder, written) = written::builder();
        let (layer, telemetry) = builder.trace_sample(1.0).build().unwrap();
        let registry = tracing_subscriber::registry();
        let beside = Beside::default();
        let dispatch = match stack {
            Stack::Plain => Dispatch::new(registry.with(beside.clone()).with(layer)),
            Stack::Lean => Dispatch::new(Lean::new(registry.with(layer))),
            Stack::LeanBeside => {
                let wants_b = filter_fn(|metadata| metadata.name() == "b");
                let beside = Identity::new().with_filter(wants_b);
                Dispatch::new(Lean::new(registry.with(beside).with(layer)))
            }
        };
        run(steps, &dispatch);
        if stack == Stack::Plain {
            seen = beside.0.lock().unwrap().clone();
        }
        let snapshot = telemetry.snapshot();
        let units = snapshot.units.iter();
        let counted: BTreeMap<_, _> = units
            .map(|unit| (unit.unit.as_str(), (unit.count, unit.errors)))
            .collect();
        if stack == Stack::LeanBeside {
            // A lean span whose guard was forgotten may be over sooner than in the registry, where a span
            // that others see keeps the one around it: what is made on that thread then is a unit.
            assert_eq!(counted["later"], (3 * THREADS as u64, 0));
        } else {
            assert_eq!(counted, units_of(&seen), "{stack:?}");
        }
        assert!(snapshot.units.iter().all(|unit| unit.in_flight == 0));
        assert_eq!(snapshot.ledger.units.dropped_total(), 0);
        telemetry.shutdown(Duration::from_secs(10)).unwrap();
        // Not all are kept: there is a limit to exemplars, too.
        let trees = trees_of(&seen);
        for (root, tree) in trees_in(&written.of("exemplar")) {
            if stack != Stack::LeanBeside {
                assert_eq!(Some(&tree), trees.get(&root), "{stack:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_independent_layer_sees_what_is_counted(steps in proptest::collection::vec(step(), 1..100)) {
        check(&steps);
    }
}

/// Under the layer, and in `Lean`.
fn in_both(work: impl Fn(&Telemetry)) {
    for lean in [false, true] {
        let (layer, telemetry) = Telemetry::builder().build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        with_default(&dispatch, || work(&telemetry));
    }
}

/// Enters here and leaves on another thread.
fn move_a_guard(span: &Span) {
    let guard = span.enter();
    std::thread::scope(|threads| {
        threads.spawn(move || drop(guard));
    });
}

#[test]
fn a_thread_whose_guard_was_moved_counts_on() {
    in_both(|telemetry| {
        let first = info_span!("first");
        move_a_guard(&first);
        drop(first);
        for _ in 0..1000 {
            info_span!("later").in_scope(|| drop(std::hint::black_box(vec![1u8; 100])));
        }
        let snapshot = telemetry.snapshot();
        let later = snapshot.unit("later").unwrap();
        assert_eq!(later.count, 1000);
        assert_eq!(later.metric("alloc_bytes").unwrap().max, 100);
        assert_eq!(snapshot.unit("first").unwrap().count, 1);
        assert_eq!(
            snapshot.ledger.untold,
            BTreeMap::from([("entry_never_left".to_owned(), 1)])
        );
    });
}

#[test]
fn nobody_works_for_a_unit_that_is_over() {
    in_both(|telemetry| {
        let first = info_span!("first");
        move_a_guard(&first);
        drop(first);
        assert!(alloc_tracker::Unit::current().is_none());
        drop(telemetry::call!("outside"));
        info_span!("second").in_scope(|| drop(telemetry::call!("outside")));
        let snapshot = telemetry.snapshot();
        assert!(snapshot.unit("first").unwrap().boundaries.is_empty());
        assert_eq!(
            snapshot.unit("second").unwrap().boundaries["outside"]
                .calls
                .sum,
            1
        );
    });
}

#[test]
fn a_call_is_not_of_a_unit_whose_span_on_this_thread_is_over() {
    in_both(|telemetry| {
        let unit = info_span!("unit");
        let child = unit.in_scope(|| info_span!("child"));
        move_a_guard(&child);
        drop(child);
        drop(telemetry::call!("outside"));
        unit.in_scope(|| drop(telemetry::call!("outside")));
        drop(unit);
        let snapshot = telemetry.snapshot();
        let calls = &snapshot.unit("unit").unwrap().boundaries["outside"].calls;
        assert_eq!(calls.sum, 1);
    });
}

#[test]
fn what_a_destructor_leaves_that_was_entered_before_has_not_failed() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    in_both(|telemetry| {
        let root = info_span!("suspended");
        let child = root.in_scope(|| info_span!("child"));
        // As an instrumented future that holds a guard over an await: polled, then dropped while unwinding.
        let guard = child.enter();
        struct OnDrop<F: FnMut()>(F);
        impl<F: FnMut()> Drop for OnDrop<F> {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        let mut guard = Some(guard);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _future = OnDrop(|| root.in_scope(|| drop(guard.take())));
            std::panic::panic_any(1);
        }));
        drop(guard);
        drop(child);
        drop(root);
        let snapshot = telemetry.snapshot();
        assert_eq!(snapshot.unit("suspended").unwrap().errors, 0);
    });
    std::panic::set_hook(hook);
}

#[test]
fn in_lean_a_span_that_others_see_is_left_where_it_was_entered() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let others = Identity::new().with_filter(filter_fn(|metadata| metadata.name() == "shared"));
    let subscriber = tracing_subscriber::registry().with(others).with(layer);
    with_default(&Dispatch::new(Lean::new(subscriber)), || {
        let shared = info_span!("shared");
        shared.in_scope(|| ());
        let lean = info_span!(parent: &shared, "lean");
        std::mem::forget(lean.enter());
        drop(std::hint::black_box(vec![1u8; 1000]));
        drop(lean);
        drop(shared);
    });
    let snapshot = telemetry.snapshot();
    let unit = snapshot.unit("shared").unwrap();
    assert_eq!(snapshot.ledger.untold, BTreeMap::new());
    assert!(unit.metric("alloc_bytes").unwrap().max >= 1000);
}

#[test]
fn a_unit_that_ends_on_the_thread_whose_guard_was_forgotten_has_its_figures() {
    in_both(|telemetry| {
        let span = info_span!("forgets");
        std::mem::forget(span.enter());
        drop(std::hint::black_box(vec![1u8; 1000]));
        drop(span);
        drop(std::hint::black_box(vec![1u8; 5000]));
        info_span!("later").in_scope(|| ());
        let snapshot = telemetry.snapshot();
        let unit = snapshot.unit("forgets").unwrap();
        assert_eq!(unit.metric("alloc_bytes").unwrap().max, 1000);
        assert!(unit.metric("busy").unwrap().max > 0);
        assert_eq!(snapshot.ledger.untold, BTreeMap::new());
    });
}

#[test]
fn what_is_added_after_the_end_of_its_unit_is_said_to_be() {
    in_both(|telemetry| {
        let call = info_span!("unit").in_scope(|| telemetry::call!("outside"));
        call.sent(100);
        let untold = telemetry.ledger().untold;
        assert_eq!(untold, BTreeMap::from([("call_after_end".to_owned(), 1)]));
    });
}

#[test]
fn only_the_unit_that_a_panic_unwinds_through_has_failed() {
    struct OnDrop<F: Fn()>(F);
    impl<F: Fn()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    in_both(|telemetry| {
        let suspended = info_span!("suspended");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // What a future that is dropped does, and any destructor.
            let _suspended = OnDrop(|| suspended.in_scope(|| info_span!("child").in_scope(|| ())));
            let _cleanup = OnDrop(|| info_span!(parent: None, "cleanup").in_scope(|| ()));
            info_span!("fails")
                .in_scope(|| info_span!("child").in_scope(|| std::panic::panic_any(1)));
        }));
        assert!(caught.is_err());
        let caught = info_span!("catches")
            .in_scope(|| std::panic::catch_unwind(|| std::panic::panic_any(1)));
        assert!(caught.is_err());
        drop(suspended);
        let snapshot = telemetry.snapshot();
        let errors = |name: &str| snapshot.unit(name).map(|unit| (unit.count, unit.errors));
        assert_eq!(errors("fails"), Some((1, 1)));
        assert_eq!(errors("suspended"), Some((1, 0)));
        assert_eq!(errors("cleanup"), Some((1, 0)));
        assert_eq!(errors("catches"), Some((1, 0)));
    });
    std::panic::set_hook(hook);
}

#[test]
fn idle_threads_keep_no_unit_from_being_counted() {
    for lean in [false, true] {
        let (layer, telemetry) = Telemetry::builder()
            .max_units_in_progress(64)
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        let (release, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (ended, has_ended) = channel();
        std::thread::scope(|threads| {
            for _ in 0..70 {
                let (wait, ended, dispatch) = (Arc::clone(&wait), ended.clone(), &dispatch);
                threads.spawn(move || {
                    with_default(dispatch, || info_span!("one").in_scope(|| ()));
                    ended.send(()).unwrap();
                    let _ = wait.lock().unwrap().recv();
                });
            }
            (0..70).for_each(|_| has_ended.recv().unwrap());
            with_default(&dispatch, || {
                let held: Vec<Span> = (0..100).map(|_| info_span!("held")).collect();
                drop(held);
                (0..100).for_each(|_| info_span!("later").in_scope(|| ()));
            });
            drop(release);
        });
        let snapshot = telemetry.snapshot();
        let count = |name: &str| snapshot.unit(name).map_or(0, |unit| unit.count);
        assert_eq!((count("one"), count("held"), count("later")), (70, 64, 100));
        let dropped = BTreeMap::from([("too_many_units".to_owned(), 36)]);
        assert_eq!(snapshot.ledger.units.dropped, dropped);
    }
}
