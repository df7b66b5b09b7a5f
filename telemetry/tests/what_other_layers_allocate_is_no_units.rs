//! A layer that allocates when it is told of spans and events: in `Lean` no unit and no budget has that, and it is told
//! apart. One test in a program of its own: nobody else allocates.
#![cfg(feature = "track")]

use alloc_tracker::AllocTracker;
use std::hint::black_box;
use telemetry::{Lean, Snapshot, Telemetry};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber, dispatcher, info, info_span};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn allocate(n: usize) {
    (0..n).for_each(|_| drop(black_box(vec![1u8; 100])));
}

/// Allocates as layers do that send spans somewhere: something is kept with the span, and freed when it ends.
struct Sends;

struct Kept(#[allow(dead_code)] Vec<Vec<u8>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Sends {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let kept = (0..5).map(|_| vec![1; 10]).collect();
        cx.span(id).unwrap().extensions_mut().replace(Kept(kept));
    }

    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
        allocate(3);
    }

    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        allocate(7);
    }

    fn on_enter(&self, id: &Id, cx: Context<'_, S>) {
        allocate(13);
        // As one that starts its span at the first entry.
        let kept = vec![vec![1; 10]];
        cx.span(id).unwrap().extensions_mut().replace(Kept(kept));
    }

    fn on_exit(&self, _: &Id, _: Context<'_, S>) {
        allocate(17);
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        allocate(11);
    }
}

/// Allocates more when it is told of an entry than a handler does.
struct Enters;

impl<S: Subscriber> tracing_subscriber::Layer<S> for Enters {
    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        allocate(100);
    }
}

fn sends<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl tracing_subscriber::Layer<S> {
    Sends.with_filter(LevelFilter::INFO)
}

fn handler() {
    let span = info_span!("query", rows = tracing::field::Empty);
    span.in_scope(|| allocate(20));
    span.record("rows", 3);
    drop(span);
    info!("done");
    allocate(20);
}

fn work() {
    for _ in 0..4 {
        info_span!("request").in_scope(handler);
    }
}

fn figures(dispatch: &Dispatch, telemetry: &Telemetry) -> (u64, Snapshot) {
    // What call sites and the registry need, they have.
    dispatcher::with_default(dispatch, work);
    let allocs = |snapshot: &Snapshot| {
        let requests = snapshot.unit("request").unwrap();
        requests.metric("allocs").unwrap().sum
    };
    let before = allocs(&telemetry.snapshot());
    dispatcher::with_default(dispatch, work);
    let snapshot = telemetry.snapshot();
    (allocs(&snapshot) - before, snapshot)
}

#[test]
fn in_production_and_in_tests_a_handler_costs_the_same() {
    let build = || Telemetry::builder().build().unwrap();

    let (layer, telemetry) = build();
    let alone = Dispatch::new(Lean::new(tracing_subscriber::registry().with(layer)));
    let (allocs, snapshot) = figures(&alone, &telemetry);
    assert_eq!(allocs, 4 * 40);
    assert_eq!(snapshot.outside.unwrap().observability.allocs, 0);

    let (layer, telemetry) = build();
    // One hears of everything before telemetry does, and one after it.
    let subscriber = tracing_subscriber::registry()
        .with(sends())
        .with(layer)
        .with(sends());
    let beside = Dispatch::new(Lean::new(subscriber));
    let (allocs, snapshot) = figures(&beside, &telemetry);
    assert_eq!(allocs, 4 * 40, "{snapshot}");
    let outside = snapshot.outside.as_ref().unwrap();
    // Two layers, twice four requests with two spans, a record and an event each; and what the registry needs.
    let of_others = outside.observability.allocs;
    let of_each = 2 * (6 + 13 + 2 + 17 + 11) + 3 + 7;
    assert!(
        (2 * 8 * of_each..2 * 8 * (of_each + 20)).contains(&of_others),
        "{of_others}"
    );
    assert!(outside.allocs >= of_others);
    let units: u64 = (snapshot.units.iter())
        .filter_map(|unit| unit.outermost("allocs"))
        .sum();
    assert_eq!(units + outside.allocs, outside.process_allocs);
    let (thousands, ones) = (of_others / 1000, of_others % 1000);
    let row = format!("\nOther layers, told of spans and events: {thousands},{ones:03} allocs");
    assert!(snapshot.to_string().contains(&row), "{snapshot}");

    // A budget in a test has the same.
    dispatcher::with_default(&beside, || {
        let (_, usage) = alloc_tracker::measure(handler);
        assert_eq!(usage.allocs, 40);
        info_span!("request").in_scope(|| {
            let (_, usage) = alloc_tracker::measure(handler);
            assert_eq!((usage.allocs, usage.live_bytes()), (40, 0));
        });
    });

    // Without `Lean` nobody stands between the program and its layers.
    let (layer, telemetry) = build();
    let plain = Dispatch::new(tracing_subscriber::registry().with(sends()).with(layer));
    let (allocs, snapshot) = figures(&plain, &telemetry);
    assert!(allocs > 4 * 40, "{snapshot}");
    assert_eq!(snapshot.outside.unwrap().observability.allocs, 0);

    // A second telemetry, which begins its units while it is told: nothing of what it was not there for is taken off.
    let ((one, first), (other, second)) = (build(), build());
    let subscriber = tracing_subscriber::registry().with(Enters);
    let both = Dispatch::new(Lean::new(subscriber.with(one).with(other)));
    for telemetry in [&first, &second] {
        let (allocs, snapshot) = figures(&both, telemetry);
        assert_eq!(allocs, 4 * 40, "{snapshot}");
        let outside = snapshot.outside.as_ref().unwrap();
        assert!(outside.allocs <= outside.process_allocs, "{snapshot}");
    }
}
