//! A service that leaks, and finds out by itself where.
//!
//! The shop of the example `checkout` has got a new route, whose cache never forgets and which makes a
//! storm of small allocations. Nobody watches: after some ten seconds under load a trigger sees that
//! memory grows, begins an incident, and five seconds later the culprit is named.
//!
//! ```text
//! cargo run --release --example incident
//! kill -USR2 $(pgrep incident)     # or begin one by hand
//! ```

#[path = "../checkout/database.rs"]
mod database;
#[path = "../checkout/load.rs"]
mod load;
mod recommendations;
#[path = "../checkout/service.rs"]
mod service;

use clap::Parser;
use database::Database;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use telemetry::export::{Culprit, IncidentRecord};
use telemetry::{Incident, Telemetry, Trigger, export};
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

/// A service that leaks, and finds out by itself where.
#[derive(Debug, Parser)]
#[command(name = "incident")]
struct Options {
    /// How often figures are looked at; memory that grows four times running is an incident.
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    flush_every: u64,

    /// How long the incident lasts.
    #[arg(long, default_value_t = 5000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    incident: u64,

    /// Bytes between two samples of the heap, at the mean.
    #[arg(long, default_value_t = 64 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    heap: u64,

    /// Where the profile is written.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,

    /// The file that gets the JSON lines.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let incident = Incident::for_(Duration::from_millis(options.incident)).heap(options.heap);
    let mut builder = Telemetry::builder()
        .service("shop")
        .flush_every(Duration::from_millis(options.flush_every))
        .trigger(
            Trigger::live_bytes_grow(64 << 10).for_intervals(4),
            incident.clone(),
        )
        .incident_directory(options.directory.unwrap_or_else(std::env::temp_dir));
    #[cfg(all(feature = "signal", target_os = "linux"))]
    {
        let by_hand = incident.why("a person asked for it");
        builder = builder.incident_on_signal(signal_hook::consts::SIGUSR2, by_hand);
    }
    if let Some(json) = &options.json {
        builder = builder.export(export::json_lines_file(json)?);
    }
    let (layer, telemetry) = builder.build()?;
    tracing_subscriber::registry().with(layer).init();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let database = Database::open(4).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(service::serve(
        listener,
        database,
        recommendations::routes(),
        async {
            let _ = stopped.await;
        },
    ));
    let load = load::Load {
        address,
        requests: u64::MAX,
        connections: 8,
        within: Duration::from_secs(120),
        besides: Some("/recommendations/7"),
    };
    println!("The shop is under load; nobody watches it.");
    let record = tokio::select! {
        record = an_incident(&telemetry) => record,
        summary = load.run() => {
            println!("{}", summary?);
            return Err("two minutes passed without an incident".into());
        }
    };
    print(&record);
    let _ = stop.send(());
    served.abort();
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}

/// Waits for one to begin and to end.
async fn an_incident(telemetry: &Telemetry) -> IncidentRecord {
    let mut has_begun = false;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        for record in telemetry.incidents() {
            if record.phase == "end" {
                return record;
            }
            if !std::mem::replace(&mut has_begun, true) {
                println!(
                    "\nIncident {} begins, by {}: {}",
                    record.id, record.who, record.why
                );
            }
        }
    }
}

fn print(record: &IncidentRecord) {
    let Some(end) = &record.end else { return };
    println!(
        "It ended after {:.1} s, by {}. It took {:.0} ms of CPU for {} samples of the heap, and kept {} \
         requests in detail.\n",
        end.seconds,
        end.by,
        end.cost.cpu_seconds.unwrap_or(f64::NAN) * 1e3,
        end.cost.heap_samples,
        end.cost.exemplars,
    );
    let Some(heap) = &end.heap else { return };
    println!(
        "What leaks: {:.1} MiB in all, most of it here",
        mib(heap.inuse_growth_bytes)
    );
    heap.grew
        .first()
        .inspect(|culprit| culprit_of(culprit, culprit.inuse_bytes));
    println!("What storms: most was allocated here");
    heap.allocated
        .first()
        .inspect(|culprit| culprit_of(culprit, culprit.alloc_bytes));
    println!(
        "Stacks were walked by {}. The files, for `go tool pprof` and for a browser:",
        heap.unwinding
    );
    for file in &heap.files {
        println!("  {file}");
    }
    if let Some(error) = &heap.error {
        println!("Not written: {error}");
    }
}

fn culprit_of(culprit: &Culprit, bytes: f64) {
    let unit = culprit.unit.as_deref().unwrap_or("no unit");
    println!("  {:.1} MiB, unit {unit}, in {}", mib(bytes), culprit.site);
    for frame in culprit.stack.iter().take(4) {
        println!("      {frame}");
    }
    println!();
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
