//! A service that leaks, and finds out by itself where.
//!
//! The shop of the example `checkout` has got a new route, whose cache never forgets and which makes a
//! storm of small allocations. Nobody watches: after some ten seconds under load a trigger sees that
//! memory grows, begins an incident, and five seconds later the culprit is named.
//!
//! ```text
//! cargo run --release --example incident --features incident
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
use telemetry::export::IncidentRecord;
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

    /// The file that gets the JSON lines; without it one among the temporary files.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let incident = Incident::for_(Duration::from_millis(options.incident)).heap(options.heap);
    // Without an exporter no unit would be kept in detail.
    let json = options.json.unwrap_or_else(|| {
        let name = format!("incident-{}.jsonl", std::process::id());
        std::env::temp_dir().join(name)
    });
    let builder = Telemetry::builder()
        .service("shop")
        .flush_every(Duration::from_millis(options.flush_every))
        .trigger(
            Trigger::live_bytes_grow(64 << 10).for_intervals(4),
            incident.clone(),
        )
        .incident_directory(options.directory.unwrap_or_else(std::env::temp_dir))
        .export(export::json_lines_file(&json)?);
    #[cfg(all(feature = "incident", target_os = "linux"))]
    let builder = builder.incident_on_signal(
        signal_hook::consts::SIGUSR2,
        incident.why("a person asked for it"),
    );
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
    println!("{record}");
    println!("Its records are in {}", json.display());
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
                println!("\n{record}");
            }
        }
    }
}
