//! Buckets: of a snapshot, exact to two digits; of records, coarser, and no more than there is room for.

mod written;

use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::export::{Exporter, Flush, Record};
use telemetry::{Distribution, Telemetry};
use tracing::info_span;
use written::written;

/// A unit that is entered so often.
fn unit(wakeups: u64) {
    let span = info_span!("unit");
    (0..wakeups).for_each(|_| span.in_scope(|| {}));
}

/// Some small, some large, none alike.
fn values(seed: u64, n: usize) -> Vec<u64> {
    let mut random = seed | 1;
    let mut value = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        1 + (random >> 32) % (1 << (1 + random % 10))
    };
    (0..n).map(|_| value()).collect()
}

fn wakeups_of(record: &Value) -> Distribution {
    serde_json::from_value(record["metrics"]["wakeups"].clone()).unwrap()
}

/// What a share of the values is at the most.
fn at(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

const SHARES: [f64; 8] = [0.0, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0];

fn agrees(distribution: &Distribution, sorted: &[u64]) {
    let resolution = distribution.resolution().expect("buckets");
    for share in SHARES {
        let (got, exact) = (distribution.quantile(share), at(sorted, share));
        let most = exact + (exact as f64 * resolution) as u64;
        assert!((exact..=most).contains(&got), "{share}: {got} for {exact}");
    }
    let counted: u64 = distribution.buckets().map(|bucket| bucket.count).sum();
    assert_eq!(counted, sorted.len() as u64);
    for limit in [0, 1, 7, 100, 500, 1023, 5000] {
        let exact = sorted.iter().filter(|value| **value > limit).count() as u64;
        let edge = limit + (limit as f64 * resolution) as u64 + 1;
        let least = sorted.iter().filter(|value| **value > edge).count() as u64;
        let got = distribution.count_above(limit);
        assert!((least..=exact).contains(&got), "{limit}: {got} for {exact}");
    }
}

#[test]
fn a_snapshot_has_all_and_records_of_intervals_add_up_to_it() {
    let mut all = Vec::new();
    let mut of_snapshot = None;
    let (records, _) = written(
        |builder| builder,
        |telemetry| {
            for interval in 1..=5 {
                let values = values(interval * 977, 150);
                values.iter().for_each(|&n| unit(n));
                all.extend(values);
                telemetry.flush();
            }
            let snapshot = telemetry.snapshot();
            of_snapshot = snapshot.unit("unit").unwrap().metric("wakeups").cloned();
        },
    );
    all.sort_unstable();
    let of_snapshot = of_snapshot.unwrap();
    assert_eq!(of_snapshot.resolution(), Some(1.0 / 128.0));
    agrees(&of_snapshot, &all);

    let units = records.of("unit");
    let mut merged = wakeups_of(&units[0]);
    assert_eq!(merged.resolution(), Some(1.0 / 8.0));
    for unit in &units[1..] {
        merged.merge(&wakeups_of(unit)).unwrap();
    }
    agrees(&merged, &all);
    assert_eq!(
        (merged.sum, merged.max, merged.count),
        (of_snapshot.sum, of_snapshot.max, 750)
    );
    // The coarser one decides.
    let mut both = of_snapshot.clone();
    both.merge(&merged).unwrap();
    assert_eq!(both.resolution(), Some(1.0 / 8.0));
    let twice: Vec<u64> = all.iter().flat_map(|&value| [value, value]).collect();
    agrees(&both, &twice);
}

#[test]
fn what_does_not_count_the_same_is_not_added() {
    let (records, _) = written(|builder| builder, |_| unit(3));
    let record = &records.of("unit")[0];
    let mut wakeups = wakeups_of(record);
    let before = wakeups.clone();
    let wall: Distribution = serde_json::from_value(record["metrics"]["wall"].clone()).unwrap();
    let error = wakeups.merge(&wall).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a distribution that counts \"ns\" cannot be added to one of \"count\""
    );
    assert_eq!(wakeups, before);
}

#[test]
fn without_buckets_the_next_known_percentile_is_told() {
    let (records, _) = written(|builder| builder, |_| (1..=100).for_each(unit));
    let mut record = records.of("unit")[0]["metrics"]["wakeups"].clone();
    record.as_object_mut().unwrap().remove("buckets");
    let mut old: Distribution = serde_json::from_value(record).unwrap();
    assert_eq!(old.resolution(), None);
    assert_eq!(
        [0.3, 0.5, 0.9, 0.99, 1.0].map(|q| old.quantile(q)),
        [50, 50, 90, 99, 100]
    );
    assert!(old.count_above(60) <= 40 && old.count_above(99) >= 1);
    let other = old.clone();
    old.merge(&other).unwrap();
    assert_eq!((old.count, old.p99, old.resolution()), (200, 99, None));
}

#[test]
#[cfg(target_os = "linux")]
fn a_sampled_metric_has_its_standard_error() {
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .system_sample(0.25)
        .build()
        .unwrap();
    let work = || (0..800).for_each(|_| info_span!("unit").in_scope(std::thread::yield_now));
    tracing::dispatcher::with_default(&written::stack::dispatch(layer), work);
    let snapshot = telemetry.snapshot();
    let unit = snapshot.unit("unit").unwrap();
    let cpu = unit.metric("cpu").expect("it is asked for");
    let sampled = cpu.sampled.expect("of a sample");
    assert_eq!(cpu.count, 4 * sampled);
    let error = cpu.standard_error.expect("of a sample") as f64;
    // Each of n like values has a share of 1/n: the error of the sum is sqrt(3/n) of it, and more if they differ.
    let least = cpu.sum as f64 * (3.0 / (4.0 * sampled as f64)).sqrt();
    assert!(
        error >= 0.9 * least && error < cpu.sum as f64,
        "{error}, {least}"
    );
    assert_eq!(unit.metric("wall").unwrap().standard_error, None);
}

/// The records of units: how many bytes they are as lines, and the resolution of their buckets.
#[derive(Clone, Default)]
struct Sizes(Arc<Mutex<Vec<Size>>>);

type Size = (usize, Option<f64>);

impl Exporter for Sizes {
    fn name(&self) -> &str {
        "sizes"
    }

    fn export(&mut self, flush: &Flush<'_>) -> std::io::Result<u64> {
        for record in flush.records() {
            if let Record::Unit(unit) = record {
                let resolution = unit
                    .figures
                    .metric("wall")
                    .and_then(Distribution::resolution);
                let size = serde_json::to_string(record).unwrap().len();
                self.0.lock().unwrap().push((size, resolution));
            }
        }
        Ok(0)
    }
}

/// Spans of this many names: call sites are made as a program's are.
fn kinds(n: usize) {
    use tracing::callsite::{Callsite, DefaultCallsite, Identifier};
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;
    use tracing::{Level, Metadata, Span};
    static NEXT: Mutex<Vec<&'static DefaultCallsite>> = std::sync::Mutex::new(Vec::new());
    let mut known = NEXT.lock().unwrap();
    while known.len() < n {
        let name: &'static str = format!("a kind of unit number {}", known.len()).leak();
        let place = Box::leak(Box::new(std::mem::MaybeUninit::<DefaultCallsite>::uninit()));
        let address: *const DefaultCallsite = place.as_ptr();
        // SAFETY: the place is written below, before anybody has the reference from the metadata.
        let callsite: &'static DefaultCallsite = unsafe { &*address };
        let fields = FieldSet::new(&[], Identifier(callsite));
        let metadata = Metadata::new(
            name,
            "kinds",
            Level::INFO,
            None,
            None,
            None,
            fields,
            Kind::SPAN,
        );
        place.write(DefaultCallsite::new(Box::leak(Box::new(metadata))));
        tracing::callsite::register(callsite);
        known.push(callsite);
    }
    for callsite in known.iter() {
        let metadata = callsite.metadata();
        let values = metadata.fields().value_set(&[]);
        let span = Span::new(metadata, &values);
        span.in_scope(|| drop(std::hint::black_box(vec![0u8; 100])));
    }
}

#[test]
fn as_many_kinds_as_there_may_be_fit_into_the_output_with_coarser_buckets_or_none() {
    let mut resolutions = Vec::new();
    for bytes_per_second in [262_144.0, 77_000.0, 40_000.0] {
        let sizes = Sizes::default();
        let (layer, telemetry) = Telemetry::builder()
            .flush_every(Duration::from_secs(10))
            .max_output(200.0, bytes_per_second)
            .trace_sample(0.0)
            .export(sizes.clone())
            .build()
            .unwrap();
        tracing::dispatcher::with_default(&written::stack::dispatch(layer), || {
            (0..40).for_each(|_| kinds(512));
            telemetry.flush();
        });
        let sizes = sizes.0.lock().unwrap();
        let whole: usize = sizes.iter().map(|(size, _)| size).sum();
        assert_eq!(sizes.len(), 512);
        resolutions.push(sizes[0].1);
        if sizes[0].1.is_some() {
            assert!((whole as f64) < 0.8 * 10.0 * bytes_per_second, "{whole}");
        }
    }
    // How much is between depends on how long the units took.
    assert_eq!((resolutions[0], resolutions[2]), (Some(0.125), None));
    assert_ne!(resolutions[1], Some(0.125));
}
