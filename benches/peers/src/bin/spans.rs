//! A unit of work beside peers, in one run: over the bare `Registry` where a peer is a layer, in all
//! where it is not.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml --bin spans [-- --smoke]`

use peers::subscribers;
use std::hint::black_box;
use std::time::Instant;
use tracing::{info, info_span};

/// What it is, how to name its subscriber, what it does.
const UNITS: [(&str, &str, fn(u64)); 12] = [
    ("no subscriber", "none", unit),
    ("Registry", "registry", unit),
    (
        "this project, every figure of 100 %",
        "lightweight counts",
        unit,
    ),
    ("the same, lean", "lean counts", unit),
    ("this project, all it has", "lightweight", unit),
    ("the same, lean", "lean", unit),
    ("tracing-timing 0.7", "timing", unit),
    ("tracing-prof 0.3, wall time", "prof", unit),
    (
        "metrics-tracing-context 0.18 and a counter",
        "metrics",
        counted_unit,
    ),
    ("tracing-opentelemetry 0.34, 1 %", "opentelemetry", unit),
    ("fmt JSON to a sink, on close", "json", unit),
    ("fastrace 0.7: root span", "none", fastrace_root),
];

const CHILDREN: [(&str, &str, fn(u64)); 8] = [
    ("Registry", "registry", child),
    (
        "this project, every figure of 100 %",
        "lightweight counts",
        child,
    ),
    ("the same, lean", "lean counts", child),
    ("this project, all it has", "lightweight", child),
    ("the same, lean", "lean", child),
    ("tracing-timing 0.7", "timing", child),
    ("tracing-opentelemetry 0.34, 1 %", "opentelemetry", child),
    ("fastrace 0.7: local span", "none", fastrace_local),
];

const EVENTS: [(&str, &str, fn(u64)); 4] = [
    ("Registry", "registry", event),
    ("this project, over its limit", "lightweight", event),
    ("the same, lean", "lean", event),
    ("tracing-throttle 0.4, over its limit", "throttle", event),
];

fn unit(times: u64) {
    for _ in 0..times {
        info_span!("unit").in_scope(|| black_box(()));
    }
}

fn counted_unit(times: u64) {
    for _ in 0..times {
        info_span!("unit").in_scope(|| metrics::counter!("units").increment(1));
    }
}

fn child(times: u64) {
    info_span!("unit").in_scope(|| {
        for _ in 0..times {
            info_span!("child").in_scope(|| black_box(()));
        }
    });
}

fn event(times: u64) {
    for n in 0..times {
        info!(n, "an event");
    }
}

fn fastrace_root(times: u64) {
    for _ in 0..times {
        let root = fastrace::Span::root("unit", fastrace::prelude::SpanContext::random());
        let _entered = root.set_local_parent();
    }
}

fn fastrace_local(times: u64) {
    // A hundred to a trace, as a trace is kept until its end.
    for _ in 0..times.div_ceil(100) {
        let root = fastrace::Span::root("unit", fastrace::prelude::SpanContext::random());
        let _entered = root.set_local_parent();
        for _ in 0..100 {
            let _local = fastrace::local::LocalSpan::enter_with_local_parent("child");
        }
    }
}

/// Throws traces away.
struct Nowhere;

impl fastrace::collector::Reporter for Nowhere {
    fn report(&mut self, _: Vec<fastrace::prelude::SpanRecord>) {}
}

fn main() {
    let argument = |name: &str| std::env::args().skip_while(|arg| arg != name).nth(1);
    let tables = [
        (
            "A unit: a span is created, entered, exited, closed",
            &UNITS[..],
        ),
        ("A span inside it", &CHILDREN),
        ("An event", &EVENTS),
    ];
    if let (Some(table), Some(case)) = (argument("--table"), argument("--case")) {
        let number = |text: String| text.parse::<usize>().expect("a number");
        let (_, cases) = tables[number(table)];
        return measure(cases[number(case)]);
    }
    let rounds = if std::env::args().any(|arg| arg == "--smoke") {
        1
    } else {
        15
    };
    for (n, (title, cases)) in tables.into_iter().enumerate() {
        println!("\n{title}, ns: median of {rounds} programs in turn, and over Registry");
        compare(n, cases, rounds);
    }
    println!("\nhotpath's measured function: see `measuring one pair` of the allocators");
}

/// In a program of its own: which call sites are on is decided for all subscribers together.
fn measure((_, subscriber, work): (&str, &str, fn(u64))) {
    fastrace::set_reporter(Nowhere, fastrace::collector::Config::default());
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    use metrics_util::layers::Layer;
    let recorder = metrics_tracing_context::TracingContextLayer::all().layer(recorder);
    metrics::set_global_recorder(recorder).expect("it is the first");
    let installed = subscribers::by_name(subscriber);
    if subscriber != "none" {
        let dispatch = installed.dispatch.clone();
        tracing::dispatcher::set_global_default(dispatch).expect("it is the first");
    }
    work(20_000);
    let times = 100_000;
    let start = Instant::now();
    work(times);
    println!("{}", start.elapsed().as_nanos() as f64 / times as f64);
}

fn compare(table: usize, cases: &[(&str, &str, fn(u64))], rounds: usize) {
    let mut took: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for (case, took) in took.iter_mut().enumerate() {
            let program = std::env::current_exe().expect("a path");
            let mut program = std::process::Command::new(program);
            program.args(["--table", &table.to_string(), "--case", &case.to_string()]);
            let output = program.output().expect("it runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            took.push(text.trim().parse().unwrap_or_else(|_| panic!("{output:?}")));
        }
    }
    let registry = cases.iter().position(|(name, ..)| *name == "Registry");
    for (n, (name, subscriber, _)) in cases.iter().enumerate() {
        let bare = &took[registry.unwrap_or(0)];
        let over = took[n].iter().zip(bare).map(|(a, b)| a - b).collect();
        let over = match *subscriber {
            "none" => String::new(),
            _ => format!("{:+.0}", median(over)),
        };
        println!("{name:<46}{:>9.1}{over:>9}", median(took[n].clone()));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
