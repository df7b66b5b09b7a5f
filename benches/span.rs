//! One span with `Registry` alone, with the telemetry layer, and with the layer in `Lean`, in one run.
//!
//! `cargo bench --bench span`

mod support;

use alloc_tracker::AllocTracker;
use std::hint::black_box;

use std::io::{self, Write};
use std::time::{Duration, Instant};
use support::{Case, compare, compare_instructions, header};
use telemetry::{Lean, Telemetry, TelemetryLayer, export};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::{error, info, info_span};
use tracing_subscriber::layer::Identity;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn unit(times: u64) {
    for _ in 0..times {
        info_span!("unit").in_scope(|| black_box(()));
    }
}

/// As the spans of `tower-http` are: the kind of the unit goes by its fields.
fn unit_of_class(times: u64) {
    let (method, uri) = (black_box("GET"), black_box("/books/4711/pages"));
    for _ in 0..times {
        info_span!("request", %method, %uri).in_scope(|| black_box(()));
    }
}

fn child(times: u64) {
    info_span!("unit").in_scope(|| {
        for _ in 0..times {
            info_span!("child").in_scope(|| black_box(()));
        }
    });
}

fn reentry(times: u64) {
    let span = info_span!("unit");
    for _ in 0..times {
        span.in_scope(|| black_box(()));
    }
}

/// As a stream does for each item that is instrumented with the span that its reader is in.
fn once_more(times: u64) {
    let span = info_span!("unit");
    span.in_scope(|| {
        for _ in 0..times {
            span.in_scope(|| black_box(()));
        }
    });
}

fn call(times: u64) {
    info_span!("unit").in_scope(|| {
        for _ in 0..times {
            telemetry::call!("boundary").sent(100);
        }
    });
}

fn call_alone(times: u64) {
    info_span!("unit").in_scope(|| {
        for _ in 0..times {
            drop(telemetry::call!("boundary"));
        }
    });
}

/// A write into nothing, counted across a boundary.
fn write(times: u64) {
    let mut stream = telemetry::io::Counted::new("boundary", Nothing);
    info_span!("unit").in_scope(|| {
        for _ in 0..times {
            let _ = black_box(stream.write(black_box(&[0; 100])));
        }
    });
}

/// The same, not counted.
fn write_bare(times: u64) {
    let mut stream = Nothing;
    for _ in 0..times {
        let _ = black_box(stream.write(black_box(&[0; 100])));
    }
}

struct Nothing;

impl Write for Nothing {
    #[inline(never)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the spans of a small service do for a request: four of them, three as futures, which are entered
/// once more when they are dropped, and three events, mostly over their limit.
fn request(times: u64) {
    for n in 0..times {
        let request = info_span!("request", path = "/");
        request.in_scope(|| {
            info!(step = 1, "authorised");
            let user = info_span!("user", id = n);
            user.in_scope(|| black_box(()));
            user.in_scope(|| black_box(()));
            drop(user);
            info!(user = n, "found");
            info_span!("price", items = 3).in_scope(|| black_box(()));
            let store = info_span!("store");
            store.in_scope(|| info!(total = n, "stored"));
            store.in_scope(|| black_box(()));
        });
        request.in_scope(|| black_box(()));
    }
}

fn failed_unit(times: u64) {
    for _ in 0..times {
        info_span!("unit").in_scope(|| error!("broken"));
    }
}

/// 512 kinds of unit: as many call sites.
mod kinds {
    use super::{black_box, info_span};

    macro_rules! site {
        ($a:literal $b:literal $c:literal) => {
            || info_span!(concat!("kind ", $a, $b, $c)).in_scope(|| black_box(()))
        };
    }
    macro_rules! eight {
        ($a:literal $b:literal) => {
            [
                site!($a $b "0"), site!($a $b "1"), site!($a $b "2"), site!($a $b "3"),
                site!($a $b "4"), site!($a $b "5"), site!($a $b "6"), site!($a $b "7"),
            ]
        };
    }
    macro_rules! sixty_four {
        ($a:literal) => {
            [
                eight!($a "0"), eight!($a "1"), eight!($a "2"), eight!($a "3"),
                eight!($a "4"), eight!($a "5"), eight!($a "6"), eight!($a "7"),
            ]
        };
    }

    type Site = fn();
    static SITES: [[[Site; 8]; 8]; 8] = [
        sixty_four!("0"),
        sixty_four!("1"),
        sixty_four!("2"),
        sixty_four!("3"),
        sixty_four!("4"),
        sixty_four!("5"),
        sixty_four!("6"),
        sixty_four!("7"),
    ];

    /// Units of this many kinds, in turns.
    pub(super) fn run<const KINDS: usize>(times: u64) {
        let sites = SITES.as_flattened().as_flattened();
        for n in 0..times as usize {
            sites[n % KINDS]();
        }
    }
}

/// Spans inside each other, this many deep; one repetition is one span.
fn nested<const DEPTH: u64>(times: u64) {
    fn down(depth: u64) {
        if depth > 0 {
            info_span!("span").in_scope(|| down(depth - 1));
        }
    }
    for _ in 0..times.div_ceil(DEPTH) {
        down(DEPTH);
    }
}

/// Units on this many threads; one repetition is one unit on each of as many threads as there are
/// cores, so that more threads do not look slower for waiting.
fn on_threads<const THREADS: u64>(times: u64) {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let each = times * cores.min(THREADS) / THREADS;
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| with_default(&dispatch, || unit(each)));
        }
    });
}

/// A `Registry`, and a layer that does nothing: alone it never gives back what a span took, 120 bytes each,
/// and a benchmark of it ends when there is no memory left.
fn bare() -> Dispatch {
    Dispatch::new(registry().with(Identity::new()))
}

fn with_registry(work: fn(u64), times: u64) {
    with_default(&bare(), || {
        support::counted(work, times);
    });
}

fn event(times: u64) {
    info_span!("unit").in_scope(|| {
        for n in 0..times {
            info!(n, "over its limit");
        }
    });
}

/// What a telemetry does beside counting.
#[derive(Clone, Copy)]
enum Setup {
    /// Every figure that there is of 100 % of the units.
    Counts,
    /// And what the system says of 1 unit in 64.
    Sample,
    /// And events and exemplars, without detail.
    Writes,
    /// And the detail of every span and event: the default with an exporter.
    All,
}

/// How the layer stands in its subscriber.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stack {
    Layer,
    Lean,
}

const STACKS: [(Stack, &str); 2] = [(Stack::Layer, "with layer"), (Stack::Lean, "in Lean")];

fn telemetry(setup: Setup, stack: Stack) -> (Dispatch, Telemetry) {
    let builder = Telemetry::builder();
    let builder = match setup {
        Setup::Counts => builder.system_sample(0.0),
        Setup::Sample => builder,
        Setup::Writes => builder
            .export(export::json_lines(std::io::sink()))
            .detail(0),
        Setup::All => builder.export(export::json_lines(std::io::sink())),
    };
    let (layer, telemetry) = builder.build().expect("a valid configuration");
    (stack.of(layer), telemetry)
}

impl Stack {
    fn of(self, layer: TelemetryLayer) -> Dispatch {
        match self {
            Stack::Layer => Dispatch::new(registry().with(layer)),
            Stack::Lean => Dispatch::new(Lean::new(registry().with(layer))),
        }
    }
}

fn with_layer(setup: Setup, work: fn(u64), times: u64) {
    let (dispatch, telemetry) = telemetry(setup, Stack::Layer);
    with_default(&dispatch, || support::counted(work, times));
    drop(telemetry);
}

fn in_lean(setup: Setup, work: fn(u64), times: u64) {
    let (dispatch, telemetry) = telemetry(setup, Stack::Lean);
    with_default(&dispatch, || support::counted(work, times));
    drop(telemetry);
}

/// Heap allocations, telemetry's own included, of `times` repetitions when all is warm.
fn allocations(stack: Stack, work: fn(u64), times: u64) -> u64 {
    // What a flush allocates is for the flush, not for the spans.
    let (layer, _telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(export::json_lines(io::sink()))
        .build()
        .expect("a valid configuration");
    with_default(&stack.of(layer), || {
        work(10_000);
        let before = alloc_tracker::process_usage();
        work(times);
        (alloc_tracker::process_usage() - before).allocs
    })
}

type Export = fn() -> io::Result<u64>;

/// What exporters do in bad times.
const EXPORTERS: [(&str, Export); 5] = [
    ("writes", || Ok(0)),
    ("takes 50 ms", || {
        std::thread::sleep(Duration::from_millis(50));
        Ok(0)
    }),
    ("blocks", || {
        // Far beyond the benchmark's end; the telemetry is then given up.
        std::thread::sleep(Duration::from_secs(3600));
        Ok(0)
    }),
    ("fails", || Err(io::ErrorKind::BrokenPipe.into())),
    ("panics", || std::panic::panic_any("an exporter's bug")),
];

struct Faulty(Export);

impl export::Exporter for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn export(&mut self, _: &export::Flush<'_>) -> io::Result<u64> {
        (self.0)()
    }
}

/// How long single units take, with a child and two events each, while the exporter is called every
/// 20 ms: an exporter is nobody's business but the background thread's.
fn latencies() {
    println!("\nA unit with a child and events, while its exporter .., ns");
    println!("{:<44} {:>11} {:>11} {:>11}", "", "p50", "p99", "p99.9");
    // The panics are on purpose, and expected to be many.
    std::panic::set_hook(Box::new(|_| {}));
    let under: Vec<_> = EXPORTERS
        .iter()
        .map(|(_, export)| {
            let (layer, telemetry) = Telemetry::builder()
                .flush_every(Duration::from_millis(20))
                .export(Faulty(*export))
                .build()
                .expect("a valid configuration");
            (Stack::Layer.of(layer), telemetry)
        })
        .collect();
    let mut took = vec![Vec::new(); EXPORTERS.len()];
    let (rounds, units) = if support::smoke() {
        (2, 200)
    } else {
        (40, 5_000)
    };
    for _ in 0..rounds {
        for ((dispatch, _), took) in under.iter().zip(&mut took) {
            with_default(dispatch, || {
                for n in 0..units {
                    let start = Instant::now();
                    info_span!("unit", n).in_scope(|| {
                        info!(n, "begun");
                        info_span!("child").in_scope(|| info!(n, "half way"));
                    });
                    took.push(start.elapsed().as_nanos() as u64);
                }
            });
        }
    }
    for ((name, _), took) in EXPORTERS.iter().zip(&mut took) {
        took.sort_unstable();
        let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize];
        println!(
            "{name:<44} {:>11} {:>11} {:>11}",
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
    for ((_, telemetry), (name, _)) in under.into_iter().zip(EXPORTERS) {
        // It may be blocked: the ledger adds up all the same.
        let ledger = match telemetry.shutdown(Duration::from_millis(100)) {
            Ok(ledger) => ledger,
            Err(error) => error.ledger().clone(),
        };
        for stream in [
            &ledger.units,
            &ledger.events,
            &ledger.exemplars,
            &ledger.records,
        ] {
            let sum = stream.kept + stream.sampled_out + stream.rate_limited;
            assert_eq!(stream.seen, sum + stream.dropped_total(), "{name}");
        }
        assert_eq!(ledger.units.seen, rounds * units, "{name}");
        // Dropping it would wait for the exporter again.
        std::mem::forget(telemetry);
    }
    let _ = std::panic::take_hook();
}

fn under(dispatch: &Dispatch, work: fn(u64)) -> impl FnMut(u64) {
    let dispatch = dispatch.clone();
    move |n| with_default(&dispatch, || work(n))
}

/// Each kind of work for itself, on one thread.
fn one_by_one(bare: &Dispatch, stack: Stack) {
    for (name, setup, work) in [
        (
            "a unit, every figure of 100 %",
            Setup::Counts,
            unit as fn(u64),
        ),
        ("  and the system's of 1 in 64", Setup::Sample, unit),
        ("  and exemplars and events", Setup::Writes, unit),
        ("  and detail (the default)", Setup::All, unit),
        ("a unit with an error event", Setup::All, failed_unit),
        ("a child span inside a unit", Setup::Counts, child),
        ("  and its detail", Setup::All, child),
        ("entering a unit again", Setup::Counts, reentry),
        ("  and its detail", Setup::All, reentry),
        ("call!(..).sent(n) inside a unit", Setup::Counts, call),
        ("an event over its limit", Setup::Writes, event),
        ("  and its mark in the detail", Setup::All, event),
        (
            "a request: 4 spans, 7 entries, 3 events",
            Setup::Counts,
            request,
        ),
        ("  and all else (the default)", Setup::All, request),
    ] {
        let (with, telemetry) = telemetry(setup, stack);
        compare(name, &mut under(bare, work), &mut under(&with, work));
        drop(telemetry);
    }
}

fn main() {
    const CASES: &[Case] = &[
        ("unit_registry", |n| with_registry(unit, n)),
        ("unit_counts", |n| with_layer(Setup::Counts, unit, n)),
        ("unit_all", |n| with_layer(Setup::All, unit, n)),
        ("class_registry", |n| with_registry(unit_of_class, n)),
        ("class_counts", |n| {
            with_layer(Setup::Counts, unit_of_class, n)
        }),
        ("class_lean", |n| in_lean(Setup::Counts, unit_of_class, n)),
        ("child_registry", |n| with_registry(child, n)),
        ("child_counts", |n| with_layer(Setup::Counts, child, n)),
        ("child_all", |n| with_layer(Setup::All, child, n)),
        ("reentry_registry", |n| with_registry(reentry, n)),
        ("reentry_counts", |n| with_layer(Setup::Counts, reentry, n)),
        ("once_more_registry", |n| with_registry(once_more, n)),
        ("once_more_counts", |n| {
            with_layer(Setup::Counts, once_more, n)
        }),
        ("call_registry", |n| with_registry(call, n)),
        ("call_counts", |n| with_layer(Setup::Counts, call, n)),
        ("write_registry", |n| with_registry(write_bare, n)),
        ("write_counts", |n| with_layer(Setup::Counts, write, n)),
        ("call_alone_registry", |n| with_registry(call_alone, n)),
        ("call_alone_counts", |n| {
            with_layer(Setup::Counts, call_alone, n)
        }),
        ("event_registry", |n| with_registry(event, n)),
        ("event_all", |n| with_layer(Setup::All, event, n)),
        ("request_registry", |n| with_registry(request, n)),
        ("request_counts", |n| with_layer(Setup::Counts, request, n)),
        ("request_all", |n| with_layer(Setup::All, request, n)),
        ("request_lean", |n| in_lean(Setup::Counts, request, n)),
        ("request_lean_all", |n| in_lean(Setup::All, request, n)),
        ("unit_lean", |n| in_lean(Setup::Counts, unit, n)),
        ("child_lean", |n| in_lean(Setup::Counts, child, n)),
        ("reentry_lean", |n| in_lean(Setup::Counts, reentry, n)),
        ("once_more_lean", |n| in_lean(Setup::Counts, once_more, n)),
        ("call_alone_lean", |n| in_lean(Setup::Counts, call_alone, n)),
        ("event_lean", |n| in_lean(Setup::All, event, n)),
    ];
    if support::ran_as_case(CASES) {
        return;
    }

    header(
        "Instructions per repetition (callgrind)",
        "Registry",
        "with layer",
    );
    for (name, bare, with) in [
        ("a unit, counted", "unit_registry", "unit_counts"),
        (
            "a unit of a class, by its fields",
            "class_registry",
            "class_counts",
        ),
        ("a child span, counted", "child_registry", "child_counts"),
        (
            "entering a unit again",
            "reentry_registry",
            "reentry_counts",
        ),
        (
            "entering what the thread is in",
            "once_more_registry",
            "once_more_counts",
        ),
        ("call!(..)", "call_alone_registry", "call_alone_counts"),
        ("io::Counted, a write", "write_registry", "write_counts"),
        ("call!(..).sent(n)", "call_registry", "call_counts"),
        ("an event over its limit", "event_registry", "event_all"),
        ("a request, all", "request_registry", "request_all"),
    ] {
        compare_instructions(name, bare, with);
    }
    header("The same", "Registry", "in Lean");
    for (name, bare, with) in [
        ("a unit, counted", "unit_registry", "unit_lean"),
        (
            "a unit of a class, by its fields",
            "class_registry",
            "class_lean",
        ),
        ("a child span, counted", "child_registry", "child_lean"),
        ("entering a unit again", "reentry_registry", "reentry_lean"),
        (
            "entering what the thread is in",
            "once_more_registry",
            "once_more_lean",
        ),
        ("an event over its limit", "event_registry", "event_lean"),
        ("a request, all", "request_registry", "request_lean_all"),
    ] {
        compare_instructions(name, bare, with);
    }

    let bare = bare();
    for (stack, title) in STACKS {
        header("Time per repetition, in turn", "Registry", title);
        one_by_one(&bare, stack);
        let (with, telemetry) = telemetry(Setup::Counts, stack);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let everywhere = |dispatch: &Dispatch, work: fn(u64)| {
            let dispatch = dispatch.clone();
            move |n| {
                let work = || with_default(&dispatch, || work(n));
                std::thread::scope(|threads| {
                    for _ in 1..cores {
                        threads.spawn(work);
                    }
                    work();
                });
            }
        };
        for (name, work) in [
            ("a unit, on every core", unit as fn(u64)),
            ("an event over its limit, on every core", event),
        ] {
            compare(
                name,
                &mut everywhere(&bare, work),
                &mut everywhere(&with, work),
            );
        }

        header("As the work grows, per unit or span", "Registry", title);
        for (name, work) in [
            ("1 thread", on_threads::<1> as fn(u64)),
            ("2 threads", on_threads::<2>),
            ("8 threads", on_threads::<8>),
            ("64 threads", on_threads::<64>),
            ("1 kind", kinds::run::<1>),
            ("8 kinds", kinds::run::<8>),
            ("64 kinds", kinds::run::<64>),
            ("512 kinds", kinds::run::<512>),
            ("nested 1 deep", nested::<1>),
            ("nested 8 deep", nested::<8>),
            ("nested 64 deep", nested::<64>),
        ] {
            compare(name, &mut under(&bare, work), &mut under(&with, work));
        }
        let ledger = telemetry.ledger();
        println!(
            "\n{} units counted, {} dropped; telemetry's own figure: {:.0} ns per unit, two clock readings included",
            ledger.units.kept,
            ledger.units.dropped_total(),
            ledger.cost.ns_per_unit.unwrap_or(f64::NAN)
        );
    }

    latencies();

    println!("\nHeap allocations between two flushes, telemetry's own included");
    let units = if support::smoke() { 20_000 } else { 1_000_000 };
    for (stack, title) in STACKS {
        for (what, work) in [("units", unit as fn(u64)), ("child spans", child)] {
            let name = format!("{units} {what}, {title}");
            println!("{name:<44} {:>11}", allocations(stack, work, units));
        }
    }
}
