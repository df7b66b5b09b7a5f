//! CPU time, context switches, input and output: of a sample of the units, with weights.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use telemetry::{BuildError, Distribution, Snapshot, Telemetry};
use tracing::info_span;
use tracing_subscriber::prelude::*;

mod written;

fn counted(sample: f64, work: impl FnOnce()) -> Snapshot {
    let (layer, telemetry) = Telemetry::builder().system_sample(sample).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, work);
    telemetry.snapshot()
}

fn metric<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Distribution> {
    snapshot.unit("unit").unwrap().metric(name)
}

/// Works for so long, by this thread's own clock of wall time.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::black_box(());
    }
}

#[test]
fn cpu_time_is_that_of_all_threads_and_not_of_waiting() {
    let start = Instant::now();
    let snapshot = counted(1.0, || {
        let unit = info_span!("unit");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    unit.in_scope(|| spin(Duration::from_millis(50)));
                    spin(Duration::from_millis(30)); // outside
                });
            });
        });
        unit.in_scope(|| {
            spin(Duration::from_millis(50));
            std::thread::sleep(Duration::from_millis(100));
        });
    });
    let elapsed = start.elapsed();
    let cpu = metric(&snapshot, "cpu").unwrap();
    assert_eq!((cpu.unit.as_str(), cpu.count, cpu.sampled), ("ns", 1, None));
    // A busy machine may give less than 50 ms of CPU in 50 ms; never more.
    assert!(cpu.sum > 5_000_000, "{cpu:?}");
    assert!(cpu.sum <= 102_000_000, "{cpu:?} in {elapsed:?}");
    let voluntary = metric(&snapshot, "context_switches_voluntary").unwrap();
    assert!((1..20).contains(&voluntary.sum), "one sleep: {voluntary:?}");
    assert!(metric(&snapshot, "context_switches_involuntary").is_some());
}

#[test]
fn input_and_output_are_counted_and_not_the_question_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    std::fs::write(&path, vec![7u8; 100_000]).unwrap();
    let snapshot = counted(1.0, || {
        let mut file = File::open(&path).unwrap();
        let mut out = File::create(directory.path().join("copy")).unwrap();
        let mut block = [0u8; 10_000];
        let unit = info_span!("unit");
        for _ in 0..2 {
            unit.in_scope(|| {
                for _ in 0..5 {
                    file.read_exact(&mut block).unwrap();
                    out.write_all(&block[..1000]).unwrap();
                }
            });
        }
    });
    let Some(calls) = metric(&snapshot, "io_calls") else {
        // The kernel does not say, as in some containers.
        assert!(!std::path::Path::new("/proc/thread-self/io").exists());
        return;
    };
    assert_eq!(calls.sum, 20, "{calls:?}");
    assert_eq!(metric(&snapshot, "io_bytes").unwrap().sum, 110_000);
}

#[test]
fn a_sample_stands_for_all_units() {
    let snapshot = counted(0.25, || {
        for _ in 0..8000 {
            info_span!("unit").in_scope(|| ());
        }
    });
    assert_eq!(snapshot.unit("unit").unwrap().count, 8000);
    let cpu = metric(&snapshot, "cpu").unwrap();
    assert_eq!(cpu.sampled, Some(cpu.count / 4));
    // Four standard deviations of a binomial distribution.
    assert!(cpu.count.abs_diff(8000) < 620, "{cpu:?}");
    let io = metric(&snapshot, "io_calls").unwrap();
    assert_eq!(io.sampled, Some(io.count / 32));
    assert!(io.count.abs_diff(8000) < 2000, "{io:?}");
    let json = serde_json::to_value(&snapshot).unwrap();
    let metrics = &json["units"][0]["metrics"];
    assert_eq!(metrics["cpu"]["sampled"], cpu.count / 4);
    assert!(metrics["wall"].get("sampled").is_none(), "{metrics}");
}

#[test]
fn what_was_not_asked_is_unknown_and_not_zero() {
    let snapshot = counted(0.0, || {
        for _ in 0..100 {
            info_span!("unit").in_scope(|| ());
        }
    });
    for name in [
        "cpu",
        "context_switches_voluntary",
        "context_switches_involuntary",
        "io_calls",
        "io_bytes",
    ] {
        let metrics = &snapshot.unit("unit").unwrap().metrics;
        assert_eq!(metrics.get(name), Some(&None), "{name}");
    }
    // Nor does the system know anything of a unit that no thread worked for.
    let snapshot = counted(1.0, || drop(info_span!("unit")));
    assert_eq!(metric(&snapshot, "cpu"), None);
}

#[test]
fn a_share_that_is_no_probability_is_refused() {
    for wrong in [-0.5, 1.5, f64::NAN] {
        let error = Telemetry::builder()
            .system_sample(wrong)
            .build()
            .unwrap_err();
        assert!(matches!(
            error,
            BuildError::Probability {
                name: "system_sample",
                ..
            }
        ));
        assert!(error.to_string().contains("system_sample is"), "{error}");
    }
}

/// Each unit alone in its record, so that its figures are seen exactly.
#[test]
fn no_unit_has_a_processor_for_longer_than_it_is_at_work() {
    const UNITS: usize = 300;
    let (written, ledger) = written::written(
        |builder| builder.system_sample(1.0).max_output(1e6, 1e9),
        |telemetry| {
            for entries in (0..UNITS).map(|n| 1 + n % 4) {
                let unit = info_span!("unit");
                for _ in 0..entries {
                    unit.in_scope(|| std::hint::black_box(()));
                }
                drop(unit);
                telemetry.flush();
            }
        },
    );
    let units = written.of("unit");
    assert_eq!(units.len(), UNITS);
    let figure = |unit: &serde_json::Value, metric: &str| {
        let metric = &unit["metrics"][metric];
        assert_eq!(metric["count"], 1);
        metric["sum"].as_u64().unwrap()
    };
    let mut at_the_limit = 0;
    for unit in &units {
        let [cpu, busy, wall] = ["cpu", "busy", "wall"].map(|metric| figure(unit, metric));
        assert!(cpu <= busy && busy <= wall, "{cpu} of {busy} in {wall} ns");
        at_the_limit += usize::from(cpu == busy);
    }
    // Not because it was cut: the questions are in `busy`, and are not in `cpu`.
    assert!(at_the_limit <= UNITS / 20, "{at_the_limit} of {UNITS}");
    let reading = ledger.cost.cpu_reading_ns.unwrap();
    assert!((1..1_000_000).contains(&reading), "{reading} ns");
}
