//! A span guard that is held over an await is dropped on whatever worker goes on with the task. What the
//! workers count afterwards is what an independent layer sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use telemetry::{Lean, Snapshot, Telemetry};
use tracing::span::Attributes;
use tracing::{Dispatch, Id, Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

const TASKS: u64 = 1000;

/// Counts spans that are in no other, by name.
#[derive(Clone, Default)]
struct Roots(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Roots {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let span = cx.span(id).unwrap();
        if span.parent().is_none() {
            *self.0.lock().unwrap().entry(span.name()).or_default() += 1;
        }
    }
}

fn run(dispatch: &Dispatch) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let on_workers = |n: u64| {
        let dispatch = dispatch.clone();
        async move {
            // Each poll may be on another worker: the guard goes with the task.
            let span =
                tracing::dispatcher::with_default(&dispatch, || info_span!(parent: None, "held"));
            let guard = span.enter();
            for _ in 0..n % 4 {
                tokio::task::yield_now().await;
            }
            match n % 10 {
                0 => std::mem::forget(guard),
                _ => drop(guard),
            }
        }
    };
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|n| tokio::spawn(on_workers(n))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        let later = (0..TASKS).map(|_| {
            let dispatch = dispatch.clone();
            tokio::spawn(async move {
                let span = tracing::dispatcher::with_default(&dispatch, || info_span!("later"));
                tokio::task::yield_now().instrument(span).await;
            })
        });
        for task in later.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

fn counts(snapshot: &Snapshot) -> BTreeMap<&str, u64> {
    let units = snapshot.units.iter();
    units.map(|unit| (unit.unit.as_str(), unit.count)).collect()
}

#[test]
fn an_independent_layer_sees_what_is_counted() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let roots = Roots::default();
    run(&Dispatch::new(
        tracing_subscriber::registry()
            .with(roots.clone())
            .with(layer),
    ));
    let snapshot = telemetry.snapshot();
    assert_eq!(counts(&snapshot), *roots.0.lock().unwrap());
    // Every unit is over, and so nobody is in one.
    assert_eq!(counts(&snapshot)["later"], TASKS);
    assert_eq!(snapshot.ledger.units.dropped_total(), 0);
}

#[test]
fn lean_spans_are_counted_alike() {
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    run(&Dispatch::new(Lean::new(
        tracing_subscriber::registry().with(layer),
    )));
    let snapshot = telemetry.snapshot();
    assert_eq!(
        counts(&snapshot),
        BTreeMap::from([("held", TASKS), ("later", TASKS)])
    );
    assert_eq!(snapshot.ledger.units.dropped_total(), 0);
    // Work that nobody can tell the end of is no unit's, and said to be.
    assert!(snapshot.ledger.untold["entry_never_left"] > 0);
}
