//! What counting costs on this service, in instructions a request, by callgrind: `cargo run --release --bin cost`. Logs are
//! `fmt`'s by an `EnvFilter`, as most services have them.
//!
//! ```text
//! cost                     the table
//! cost STACK REQUESTS      serves so many with one of the stacks: `bare`; `told`, a layer that wants the same spans and does
//!                          nothing with them; `layer`; `lean`
//! ```

use std::error::Error;
use std::process::Command;
use telemetry::{Lean, Telemetry};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

const STACKS: [&str; 4] = ["bare", "told", "layer", "lean"];
const ROUNDS: usize = 3;

/// What it costs that anybody is told.
struct DoesNothing;

impl<S: Subscriber> Layer<S> for DoesNothing {}

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

// One thread: who wakes whom depends on less.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    if let Some(done) = bookshop::be_another(std::env::args().skip(1)).await {
        return done;
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [stack, requests] => serve(stack, requests.parse()?).await,
        [] => table(),
        _ => Err("usage: cost [STACK REQUESTS]".into()),
    }
}

async fn serve(stack: &str, requests: u64) -> Fallible<()> {
    let logs = || {
        let logs = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
        logs.with_filter(EnvFilter::new("info"))
    };
    let _telemetry = match stack {
        "bare" => {
            registry().with(logs()).init();
            None
        }
        "told" => {
            let wanted = Targets::new().with_default(LevelFilter::INFO);
            let wanted = wanted.with_target("tower_http", LevelFilter::DEBUG);
            let told = DoesNothing.with_filter(wanted);
            registry().with(logs()).with(told).init();
            None
        }
        "layer" | "lean" => {
            let (layer, telemetry) = Telemetry::builder().service("bookshop").build()?;
            let subscriber = registry().with(logs()).with(layer);
            match stack {
                "lean" => Lean::new(subscriber).init(),
                _ => subscriber.init(),
            }
            Some(telemetry)
        }
        _ => return Err(format!("`{stack}` is none of {STACKS:?}").into()),
    };
    bookshop::serve(requests).await
}

fn table() -> Fallible<()> {
    println!("instructions a request, {ROUNDS} rounds");
    let mut bare = Vec::new();
    for stack in STACKS {
        let counts = (0..ROUNDS).map(|_| instructions(stack));
        let counts = counts.collect::<Fallible<Vec<_>>>()?;
        let shares = counts.iter().zip(&bare).map(|(n, of)| n / of);
        let shares: Vec<_> = shares.map(|share| format!("x{share:.3}")).collect();
        println!("{stack:<6} {counts:>9.0?} {}", shares.join(" "));
        if bare.is_empty() {
            bare = counts;
        }
    }
    Ok(())
}

/// The difference of two runs with different numbers of requests.
fn instructions(stack: &str) -> Fallible<f64> {
    const FEW: u64 = 400;
    const MANY: u64 = 2400;
    let [few, many] = [FEW, MANY].map(|requests| {
        let mut run = Command::new("valgrind");
        run.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        run.arg(std::env::current_exe()?);
        let output = run.args([stack, &requests.to_string()]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let (_, counted) = said.rsplit_once("Collected : ").ok_or(said.clone())?;
        let counted = counted.split_whitespace().next().unwrap_or_default();
        Ok(counted.parse::<f64>()?)
    });
    let (few, many): (Fallible<f64>, Fallible<f64>) = (few, many);
    Ok((many? - few?) / (MANY - FEW) as f64)
}
