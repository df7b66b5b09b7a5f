//! What a layer with a filter sees of random programs of spans is the same whether the spans that it
//! does not want are lean or in the `Registry`.

mod programs;

use programs::{Step, step};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use telemetry::{Lean, Telemetry};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber, debug_span, info, info_span};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

/// Notes what it is shown, with what is around it.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<String>>>);

/// The number of a span, in its extensions.
struct Number(u64);

impl Visit for Number {
    fn record_u64(&mut self, _: &Field, value: u64) {
        self.0 = value;
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, value as u64);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Witness {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn number<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> u64 {
    span.extensions().get::<Number>().expect("seen before").0
}

fn numbers<'a, S: LookupSpan<'a>>(from: Option<SpanRef<'a, S>>) -> Vec<u64> {
    let scope = from.into_iter().flat_map(|span| span.scope());
    scope.map(|span| number(&span)).collect()
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Witness {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut mine = Number(0);
        attributes.record(&mut mine);
        let span = cx.span(id).expect("it is there");
        let parents = numbers(span.parent());
        let (n, name) = (mine.0, span.name());
        self.note(format!("new {name} {n} in {parents:?}"));
        span.extensions_mut().insert(mine);
    }

    fn on_record(&self, id: &Id, _: &Record<'_>, cx: Context<'_, S>) {
        self.note(format!("record {:?}", numbers(cx.span(id))));
    }

    fn on_enter(&self, id: &Id, cx: Context<'_, S>) {
        self.note(format!("enter {:?}", numbers(cx.span(id))));
    }

    fn on_exit(&self, id: &Id, cx: Context<'_, S>) {
        self.note(format!("exit {:?}", numbers(cx.span(id))));
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        self.note(format!("close {:?}", numbers(cx.span(&id))));
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let scope = numbers(cx.event_span(event));
        self.note(format!("{} in {scope:?}", event.metadata().level()));
    }
}

/// What the witness wants: spans of these names, and events or none.
fn wants(names: &'static str, events: bool) -> impl Fn(&Metadata<'_>) -> bool {
    move |metadata| match metadata.is_span() {
        true => names.contains(metadata.name()),
        false => events,
    }
}

/// Under a telemetry and a witness, in `Lean` or not.
fn seen(
    lean: bool,
    names: &'static str,
    events: bool,
    work: impl FnOnce(&Dispatch),
) -> Vec<String> {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let witness = Witness::default();
    let filtered = witness.clone().with_filter(filter_fn(wants(names, events)));
    let subscriber = tracing_subscriber::registry().with(filtered).with(layer);
    let dispatch = match lean {
        true => Dispatch::new(Lean::new(subscriber)),
        false => Dispatch::new(subscriber),
    };
    work(&dispatch);
    drop(telemetry);
    witness.take()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filtered_layer_sees_the_same(
        steps in proptest::collection::vec(step(), 1..100),
        names in prop_oneof![Just(""), Just("a"), Just("b"), Just("ab"), Just("bc"), Just("abc")],
        events: bool,
    ) {
        let run = |lean| {
            seen(lean, names, events, |dispatch| drop(programs::run(&steps, dispatch)))
        };
        prop_assert_eq!(run(true), run(false));
    }
}

#[test]
fn what_nobody_else_wants_is_lean() {
    let ids = |lean| {
        let mut ids = Vec::new();
        seen(lean, "b", true, |dispatch| {
            with_default(dispatch, || {
                for _ in 0..2 {
                    info_span!("a", n = 1).in_scope(|| {
                        let inside = info_span!("a", n = 2);
                        assert_ne!(Span::current().id(), inside.id());
                        ids.push(inside.id());
                    });
                }
            });
        });
        ids
    };
    let lean = ids(true);
    assert_eq!(lean[0], lean[1], "lent again");
    let shared = ids(false);
    assert_ne!(shared[0], shared[1]);
}

#[test]
fn whoever_looks_a_lean_span_up_finds_one_that_is_hidden() {
    let seen = seen(true, "b", true, |dispatch| {
        with_default(dispatch, || {
            let lean = info_span!("a", n = 1);
            let id = lean.id().expect("it is on");
            // As the extension traits of OpenTelemetry and others do, from a span's handle.
            lean.with_subscriber(|(id, dispatch)| {
                let registry = dispatch.downcast_ref::<Registry>().expect("it is below");
                let span = registry.span(id).expect("found");
                assert!(span.extensions().get::<Number>().is_none());
            });
            lean.in_scope(|| {
                assert_eq!(Span::current().id().as_ref(), Some(&id));
                assert_eq!(Span::current().metadata().map(Metadata::name), Some("a"));
            });
            info!(parent: &lean, "nobody is around it");
            lean.record("n", 2);
            lean.follows_from(info_span!("b", n = 3).id());
        });
    });
    let expected = ["INFO in []", "new b 3 in []", "close [3]"];
    assert_eq!(seen, expected);
}

#[test]
fn a_unit_lasts_as_long_as_spans_of_others_inside_it() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let filtered = Witness::default().with_filter(filter_fn(wants("b", true)));
    let dispatch = Dispatch::new(Lean::new(
        tracing_subscriber::registry().with(filtered).with(layer),
    ));
    let units = || telemetry.snapshot().unit("a").map_or(0, |unit| unit.count);
    with_default(&dispatch, || {
        let unit = info_span!("a", n = 1);
        let by_context = unit.in_scope(|| info_span!("b", n = 2));
        let explicit = info_span!(parent: &unit, "b", n = 3);
        let lean = by_context.in_scope(|| info_span!("a", n = 4));
        drop(unit);
        drop(by_context);
        assert_eq!(units(), 0);
        drop(explicit);
        assert_eq!(
            units(),
            0,
            "the last one has the second, which has the first"
        );
        drop(lean);
        assert_eq!(units(), 1);
    });
}

#[test]
fn without_telemetry_inside_everything_passes_through() {
    let witness = Witness::default();
    let subscriber = tracing_subscriber::registry().with(witness.clone());
    with_default(&Dispatch::new(Lean::new(subscriber)), || {
        info_span!("a", n = 1).in_scope(|| info!("said"));
    });
    let seen = witness.take();
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert_eq!(seen[2], "INFO in [1]");
}

/// On one thread, in `Lean` and not.
fn same(names: &'static str, work: impl Fn()) {
    let run = |lean| seen(lean, names, true, |dispatch| with_default(dispatch, &work));
    let (lean, shared) = (run(true), run(false));
    assert_eq!(lean, shared);
    assert!(!lean.is_empty());
}

#[test]
fn a_span_that_was_made_elsewhere() {
    let steps = [
        (0, Step::NewRoot { kind: 0 }),
        (0, Step::NewRoot { kind: 1 }),
        (0, Step::Enter(1)),
        (0, Step::Enter(0)),
        (0, Step::New { kind: 1 }),
        (0, Step::Event),
    ];
    let run = |lean| {
        seen(lean, "b", true, |dispatch| {
            drop(programs::run(&steps, dispatch))
        })
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_second_subscriber_that_wants_other_things_takes_nothing_away() {
    // With it, filters are asked anew each time.
    let other = Witness::default().with_filter(filter_fn(wants("c", false)));
    let other = Dispatch::new(tracing_subscriber::registry().with(other));
    same("b", || {
        drop(info_span!("a", n = 1));
        info!("after a lean span");
        drop(info_span!("b", n = 2));
        info_span!("a", n = 3).in_scope(|| info!("in one"));
    });
    drop(other);
}

#[test]
fn the_parent_of_a_lean_span_is_entered_further_out() {
    same("b", || {
        let (outer, between) = (info_span!("b", n = 1), info_span!("b", n = 2));
        let _outer = outer.enter();
        let lean = info_span!("a", n = 3);
        let _between = between.enter();
        let _lean = lean.enter();
        drop(info_span!("b", n = 4));
        info!("said");
    });
}

#[test]
fn a_lean_span_is_entered_again() {
    same("b", || {
        let lean = info_span!("a", n = 1);
        let _entered = lean.enter();
        info_span!("b", n = 2).in_scope(|| {
            lean.in_scope(|| info_span!("b", n = 3).in_scope(|| info!("said")));
            info!("said");
        });
        lean.in_scope(|| drop(info_span!("b", n = 4)));
        drop(info_span!("b", n = 5));
    });
}

#[test]
fn spans_are_left_in_any_order() {
    same("b", || {
        let elsewhere = info_span!("b", n = 1);
        let (first, lean) = (info_span!("b", n = 2), info_span!("a", n = 3));
        let entered = first.enter();
        let in_lean = lean.enter();
        let _elsewhere = elsewhere.enter();
        drop(entered);
        drop(info_span!("b", n = 4));
        drop(info_span!("a", n = 5).in_scope(|| info_span!("b", n = 6)));
        drop(in_lean);
        info!("said");
    });
}

/// Its formatting panics.
struct Panics;

impl std::fmt::Debug for Panics {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::panic::panic_any("on purpose")
    }
}

/// Formats what it is shown.
struct Formats;

impl<S: Subscriber> Layer<S> for Formats {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        attributes.record(&mut |_: &Field, value: &dyn std::fmt::Debug| drop(format!("{value:?}")));
    }
}

#[test]
fn a_panic_while_a_span_is_made_leaves_nothing_entered() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let formats = Formats.with_filter(filter_fn(wants("b", true)));
    let witness = Witness::default();
    let filtered = witness.clone().with_filter(filter_fn(wants("b", true)));
    let subscriber = tracing_subscriber::registry().with(filtered);
    let dispatch = Dispatch::new(Lean::new(subscriber.with(formats).with(layer)));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    with_default(&dispatch, || {
        let unit = info_span!("a", n = 1);
        let made = unit.in_scope(|| {
            std::panic::catch_unwind(|| info_span!("b", n = 2, panics = ?Panics).id())
        });
        assert!(made.is_err());
        witness.take();
        info!("outside");
        for _ in 0..3 {
            info_span!("a", n = 3).in_scope(|| info!("inside"));
        }
    });
    std::panic::set_hook(hook);
    assert_eq!(witness.take(), vec!["INFO in []"; 4]);
    assert_eq!(telemetry.snapshot().unit("a").unwrap().count, 4);
}

#[test]
fn a_guard_that_was_forgotten_holds_nothing() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let dispatch = Dispatch::new(Lean::new(tracing_subscriber::registry().with(layer)));
    with_default(&dispatch, || {
        {
            let forgotten = info_span!("a", n = 1);
            std::mem::forget(forgotten.enter());
        }
        for n in 0..10 {
            info_span!(parent: None, "b", n).in_scope(|| drop(info_span!("c", n)));
        }
        assert_eq!(Span::current().id(), None);
    });
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.unit("a").unwrap().count, 1);
    assert_eq!(snapshot.unit("b").unwrap().count, 10);
}

#[test]
fn a_layer_on_top_does_no_harm() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let witness = Witness::default();
    let filtered = witness.clone().with_filter(filter_fn(wants("b", true)));
    let inside = tracing_subscriber::registry().with(filtered).with(layer);
    let dispatch = Dispatch::new(Lean::new(inside).with(LevelFilter::INFO));
    with_default(&dispatch, || {
        for n in 0..3 {
            let unit = info_span!("a", n);
            unit.in_scope(|| drop(info_span!("b", n)));
            drop(info_span!(parent: &unit, "b", n));
        }
    });
    assert_eq!(telemetry.snapshot().unit("a").unwrap().count, 3);
    assert_eq!(witness.take().len(), 3 * 4);
}

#[test]
fn a_second_telemetry_follows_what_it_does_not_want() {
    let figures = |lean| {
        let (first, one) = Telemetry::builder().units("debug").build().unwrap();
        let (second, two) = Telemetry::builder().build().unwrap();
        let subscriber = tracing_subscriber::registry().with(first).with(second);
        let dispatch = match lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        with_default(&dispatch, || {
            let unit = info_span!("a", n = 1);
            let inside = unit.in_scope(|| tracing::debug_span!("inside"));
            tracing::error!(parent: &inside, "failed");
        });
        [one, two].map(|telemetry| telemetry.snapshot().unit("a").unwrap().errors)
    };
    assert_eq!(figures(true), figures(false));
    assert_eq!(figures(true), [1, 1]);
}

/// A connection of a library's, of which telemetry knows nothing, and requests in it.
#[test]
fn a_unit_inside_a_span_that_only_others_know_is_lean_and_others_see_the_same() {
    let run = |lean: bool| {
        let (layer, telemetry) = Telemetry::builder().build().unwrap();
        let witness = Witness::default();
        let filtered = witness.clone().with_filter(filter_fn(wants("b", true)));
        let subscriber = tracing_subscriber::registry().with(filtered).with(layer);
        let dispatch = match lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        let mut ids = Vec::new();
        with_default(&dispatch, || {
            for explicit in [false, true] {
                let outer = debug_span!("b", n = 1);
                let connection = outer.in_scope(|| debug_span!("b", n = 2));
                for n in 3..6 {
                    let request = match explicit {
                        true => info_span!(parent: &connection, "a", n),
                        false => connection.in_scope(|| info_span!("a", n)),
                    };
                    ids.push(request.id());
                    connection.in_scope(|| {
                        request.in_scope(|| {
                            info!("in the request");
                            // What others see again, and what they do not.
                            debug_span!("b", n = 7).in_scope(|| info!("inside"));
                            info_span!("a", n = 8).in_scope(|| info!("inside"));
                        });
                    });
                    info!("outside");
                }
                // The last one outlives what it is in.
                let last = connection.in_scope(|| info_span!("a", n = 9));
                drop((connection, outer));
                last.in_scope(|| info!("alone"));
                info!("before the end");
                drop(last);
                info!("after the end");
            }
        });
        let unit = telemetry
            .snapshot()
            .unit("a")
            .map(|unit| (unit.count, unit.in_flight));
        assert_eq!(unit, Some((8, 0)), "lean: {lean}");
        (witness.take(), ids)
    };
    let ((lean, lent), (plain, own)) = (run(true), run(false));
    assert_eq!(lean, plain);
    assert!(
        lent[..3].iter().all(|id| *id == lent[0]),
        "lent again: {lent:?}"
    );
    assert_ne!(own[0], own[1]);
}
