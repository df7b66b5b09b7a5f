//! What is counted of random programs of spans, against a model that is slow and obvious.

#![cfg(feature = "track")]

mod programs;
mod written;

use programs::{BLOCK, Model, Step, step};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use telemetry::{Lean, Snapshot, Telemetry};
use tracing::dispatcher::Dispatch;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Identity;
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

/// Per kind: units, errors, and the sums of wake-ups, calls and blocks.
type Figures = BTreeMap<&'static str, [u64; 5]>;

fn figures_of_model(model: &Model) -> Figures {
    let mut figures = Figures::new();
    for unit in &model.units {
        let sums = figures.entry(["a", "b", "c"][unit.kind]).or_default();
        let of_unit = [1, unit.failed.into(), unit.wakeups, unit.calls, unit.blocks];
        for (sum, n) in sums.iter_mut().zip(of_unit) {
            *sum += n;
        }
    }
    figures
}

fn figures_of(snapshot: &Snapshot) -> Figures {
    let kinds = ["a", "b", "c"].into_iter();
    let of_kind = kinds.filter_map(|kind| Some((kind, snapshot.unit(kind)?)));
    of_kind
        .map(|(kind, unit)| {
            let calls = unit.boundaries.get("outside").map_or(0, |b| b.calls.sum);
            // Beside the blocks there is what `tracing` allocates for spans.
            let blocks = unit.metric("alloc_bytes").unwrap().sum / BLOCK as u64;
            let wakeups = unit.metric("wakeups").unwrap().sum;
            (kind, [unit.count, unit.errors, wakeups, calls, blocks])
        })
        .collect()
}

/// Exemplars have the spans and events of their unit.
fn check_exemplars(model: &Model, exemplars: &[serde_json::Value]) {
    for exemplar in exemplars {
        let spans = exemplar["spans"].as_array().unwrap();
        let number = |span: &serde_json::Value| span["fields"]["n"].as_u64().unwrap() as usize;
        let found: BTreeSet<(usize, Option<usize>)> = spans
            .iter()
            .map(|span| {
                let parent = span["parent"]
                    .as_u64()
                    .map(|id| number(&spans[id as usize]));
                (number(span), parent)
            })
            .collect();
        let unit = model.unit_of[number(&spans[0])].unwrap();
        assert_eq!(found, model.units[unit].spans, "{exemplar}");
        assert_eq!(
            exemplar["events"].as_array().unwrap().len(),
            model.units[unit].events
        );
        assert_eq!(exemplar["complete"], true);
    }
}

/// What is around the telemetry that is tested.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stack {
    /// Another one: each counts the same work for itself.
    Two,
    Lean,
    /// In `Lean`, beside a layer that wants the spans of one kind.
    LeanBeside,
}

fn check(steps: &[(usize, Step)], stack: Stack) {
    let (builder, written) = written::builder();
    let (first, telemetry) = builder.trace_sample(1.0).build().unwrap();
    let (second, other) = Telemetry::builder().build().unwrap();
    let registry = tracing_subscriber::registry();
    let dispatch = match stack {
        Stack::Two => Dispatch::new(registry.with(first).with(second)),
        Stack::Lean => Dispatch::new(Lean::new(registry.with(first))),
        Stack::LeanBeside => {
            let wants_b = filter_fn(|metadata| metadata.name() == "b");
            let beside = Identity::new().with_filter(wants_b);
            Dispatch::new(Lean::new(registry.with(beside).with(first)))
        }
    };
    let model = programs::run(steps, &dispatch);
    let expected = figures_of_model(&model);
    assert_eq!(figures_of(&telemetry.snapshot()), expected, "{stack:?}");
    if stack == Stack::Two {
        assert_eq!(figures_of(&other.snapshot()), expected);
    }
    telemetry.shutdown(Duration::from_secs(10)).unwrap();
    check_exemplars(&model, &written.of("exemplar"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_of_spans_agree_with_a_naive_model(steps in proptest::collection::vec(step(), 1..100)) {
        for stack in [Stack::Two, Stack::Lean, Stack::LeanBeside] {
            check(&steps, stack);
        }
    }
}
