//! The layer wants few call sites, and hides none from other layers.

use std::sync::{Arc, Mutex};
use telemetry::Telemetry;
use tracing::{Event, Level, Subscriber, debug, error, info, info_span, trace, trace_span};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Notes the levels of the spans and events that it is shown.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<(char, Level)>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Witness {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0
            .lock()
            .unwrap()
            .push(('e', *event.metadata().level()));
    }

    fn on_new_span(
        &self,
        span: &tracing::span::Attributes<'_>,
        _: &tracing::Id,
        _: Context<'_, S>,
    ) {
        self.0.lock().unwrap().push(('s', *span.metadata().level()));
    }
}

impl Witness {
    fn take(&self) -> Vec<(char, Level)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn everything() {
    trace_span!("t").in_scope(|| trace!("t"));
    info_span!("unit").in_scope(|| {
        debug!("d");
        info!("i");
        error!("e");
    });
}

const ALL: [(char, Level); 6] = [
    ('s', Level::TRACE),
    ('e', Level::TRACE),
    ('s', Level::INFO),
    ('e', Level::DEBUG),
    ('e', Level::INFO),
    ('e', Level::ERROR),
];

fn counts(telemetry: &Telemetry) -> (u64, u64) {
    let snapshot = telemetry.snapshot();
    snapshot
        .unit("unit")
        .map_or((0, 0), |unit| (unit.count, unit.errors))
}

#[test]
fn a_layer_without_a_filter_above_or_below_sees_everything() {
    for above in [true, false] {
        let witness = Witness::default();
        let (layer, telemetry) = Telemetry::builder().build().unwrap();
        let run = || {
            everything();
            assert_eq!(witness.take(), ALL, "above: {above}");
        };
        if above {
            let stack = tracing_subscriber::registry()
                .with(layer)
                .with(witness.clone());
            tracing::subscriber::with_default(stack, run);
        } else {
            let stack = tracing_subscriber::registry()
                .with(witness.clone())
                .with(layer);
            tracing::subscriber::with_default(stack, run);
        }
        assert_eq!(counts(&telemetry), (1, 1));
    }
}

#[test]
fn layers_that_are_combined_before_they_meet_a_subscriber_see_everything() {
    for above in [true, false] {
        let witness = Witness::default();
        let (layer, telemetry) = Telemetry::builder().build().unwrap();
        let run = || {
            everything();
            assert_eq!(witness.take(), ALL, "above: {above}");
        };
        let base = || tracing_subscriber::registry().with(Witness::default());
        if above {
            let both = layer.and_then(witness.clone());
            tracing::subscriber::with_default(base().with(both), run);
        } else {
            let both = witness.clone().and_then(layer);
            tracing::subscriber::with_default(base().with(both), run);
        }
        assert_eq!(counts(&telemetry), (1, 1));
    }
}

#[test]
fn a_layer_with_its_own_filter_sees_just_that() {
    let witness = Witness::default();
    let filtered = witness.clone().with_filter(LevelFilter::DEBUG);
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let stack = tracing_subscriber::registry().with(filtered).with(layer);
    tracing::subscriber::with_default(stack, || {
        everything();
        everything();
    });
    let seen = witness.take();
    assert_eq!(seen.len(), 8);
    assert_eq!(&seen[..4], &ALL[2..]);
    assert_eq!(counts(&telemetry), (2, 2));
}

#[test]
fn spans_that_another_layers_global_filter_turns_off_are_no_units() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let nothing = Targets::new();
    let stack = tracing_subscriber::registry().with(layer).with(nothing);
    tracing::subscriber::with_default(stack, everything);
    assert_eq!(counts(&telemetry), (0, 0));
}

#[test]
fn two_telemetries_count_the_same_work_each() {
    let (first, one) = Telemetry::builder().build().unwrap();
    let (second, two) = Telemetry::builder().units("jobs=info").build().unwrap();
    let stack = tracing_subscriber::registry().with(first).with(second);
    tracing::subscriber::with_default(stack, || {
        everything();
        info_span!(target: "jobs", "unit").in_scope(|| ());
    });
    let units = |telemetry: &Telemetry| telemetry.snapshot().ledger.units.seen;
    assert_eq!((units(&one), units(&two)), (2, 1));
}

#[test]
fn a_filter_can_make_units_of_lower_levels_too() {
    let (layer, telemetry) = Telemetry::builder().units("trace").build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), everything);
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.unit("t").unwrap().count, 1);
}
