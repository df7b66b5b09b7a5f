//! One test in a program of its own: nobody else allocates.
#![cfg(all(feature = "track", target_os = "linux"))]

use alloc_tracker::AllocTracker;
use std::hint::black_box;
use telemetry::{Lean, Snapshot, Telemetry};
use tracing::{Dispatch, debug_span, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn allocate(bytes: usize) {
    drop(black_box(vec![1u8; bytes]));
}

/// xorshift
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// Units with spans and further units in them, handed from thread to thread, entered one in the other, left in any
/// order, and work outside of them. Some are in progress at the end.
fn random_work(seed: u64, kept: &mut Vec<tracing::Span>) {
    let mut random = Random(seed | 1);
    let mut entered = Vec::new();
    for _ in 0..300 {
        match random.below(9) {
            0 => {
                let span = match random.below(5) {
                    0 => info_span!("order", id = random.below(100)),
                    1 => {
                        info_span!("request", method = "GET", uri = %format_args!("/{}", random.below(2)))
                    }
                    2 => debug_span!(target: "shop::queue", "message"),
                    3 => info_span!("part"),
                    _ => debug_span!("no unit"),
                };
                kept.push(span);
            }
            1 if !kept.is_empty() && entered.len() < 5 => {
                let span = kept[random.below(kept.len())].clone();
                entered.push(span.entered());
            }
            2 if !entered.is_empty() => drop(entered.swap_remove(random.below(entered.len()))),
            3 if kept.len() > 2 => drop(kept.swap_remove(random.below(kept.len()))),
            4 => info_span!("inner").in_scope(|| allocate(1 + random.below(500))),
            5 if !kept.is_empty() => {
                let span = kept[random.below(kept.len())].clone();
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                let other = std::thread::spawn(move || {
                    tracing::dispatcher::with_default(&dispatch, || span.in_scope(|| allocate(70)));
                    allocate(7000);
                });
                other.join().unwrap();
            }
            6 => debug_span!(target: "shop::queue", "message", n = 1).in_scope(|| {
                allocate(30);
                info_span!("inner").in_scope(|| allocate(1 + random.below(50)));
            }),
            _ => allocate(1 + random.below(500)),
        }
    }
}

fn add_up(snapshot: &Snapshot) {
    let of_units = |metric: &str| -> u64 {
        let of = |unit: &telemetry::UnitSnapshot| unit.outermost(metric).unwrap_or(0);
        snapshot.units.iter().map(of).sum()
    };
    let outside = snapshot.outside.as_ref().unwrap();
    assert!(outside.allocs > 0 && of_units("allocs") > 0);
    assert_eq!(
        of_units("allocs") + outside.allocs,
        outside.process_allocs,
        "{snapshot} {:?}",
        snapshot.ledger
    );
    let (bytes, process) = (outside.alloc_bytes, outside.process_alloc_bytes);
    assert_eq!(of_units("alloc_bytes") + bytes, process, "{snapshot}");
}

/// Has some spans that are no units, so that they are not lean.
struct Others;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Others {}

#[test]
fn to_the_byte_when_nobody_works() {
    for round in 0..60 {
        let (layer, telemetry) = Telemetry::builder()
            .unit_span("shop::queue", "message")
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let some = filter_fn(|metadata| ["part", "no unit"].contains(&metadata.name()));
        let dispatch = match round % 3 {
            0 => Dispatch::new(subscriber),
            1 => Dispatch::new(Lean::new(subscriber)),
            _ => Dispatch::new(Lean::new(subscriber.with(Others.with_filter(some)))),
        };
        let mut kept = Vec::new();
        tracing::dispatcher::with_default(&dispatch, || {
            random_work(round * 0x9E37_79B9_7F4A + 5, &mut kept);
            add_up(&telemetry.snapshot());
            kept.clear();
            add_up(&telemetry.snapshot());
        });
    }

    // Where it happened is said.
    let (layer, telemetry) = Telemetry::builder().build().unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let (done, is_done) = std::sync::mpsc::channel();
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let work = move || {
        (0..1000).for_each(|_| allocate(100));
        done.send(()).unwrap();
        let _ = waits.recv();
    };
    let thread = std::thread::Builder::new()
        .name("blocking pool".to_owned())
        .spawn(work);
    is_done.recv().unwrap();
    tracing::dispatcher::with_default(&dispatch, || info_span!("order").in_scope(|| allocate(10)));
    let snapshot = telemetry.snapshot();
    let outside = snapshot.outside.as_ref().unwrap();
    let pool = outside.threads["blocking pool"];
    assert_eq!(pool.threads, 1);
    assert!((1000..1100).contains(&pool.allocs), "{pool:?}");
    assert!(outside.allocs >= 1000 && outside.cpu.unwrap().process_ns > 0);
    let table = snapshot.to_string();
    // The snapshot is the reader's own, and was made just before: it is among them.
    let allocs = outside.allocs - outside.observability.allocs;
    assert!((1000..1200).contains(&allocs), "{table}");
    let told = format!("Outside of every unit: 1,{:03} allocs,", allocs - 1000);
    let row = table.split("\n\n").find(|part| part.starts_with(&told));
    assert!(
        row.is_some_and(|row| row.contains("\n  thread blocking pool: 1,0")),
        "{table}"
    );
    go_on.send(()).unwrap();
    thread.unwrap().join().unwrap();
}
