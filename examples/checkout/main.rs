//! A shop's checkout service that knows what each of its requests costs.
//!
//! A real HTTP service (axum on tokio) over a real database (SQLite), loaded by a real HTTP client
//! in tasks of its own. Some routes are good, some are honestly bad; the table at the end tells
//! which is which.
//!
//! ```text
//! cargo run --release --example checkout
//! cargo run --release --example checkout -- --serve --listen 127.0.0.1:8080
//! cargo run --release --example checkout --no-default-features    # allocations are not tracked
//! ```

mod database;
mod load;
mod memory;
mod service;

use axum::Router;
use clap::Parser;
use database::Database;
use memory::Memory;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use telemetry::record::TimeKind;
use telemetry::{Budgets, BudgetsError, BuildError, Lean, ShutdownError, Telemetry, export};
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

const SAMPLE_ORDER: &str = r#"{"customer":"you","lines":[{"sku":"SKU-0001","quantity":2}]}"#;

const WHAT_IS_BAD: &str = "\
Bad on purpose:
  GET /orders/{id}/invoice  asks the database once per line: see its db.query calls
  POST /orders/import       parses its body twice: see its bytes, and those of POST /orders
  GET /report               loads and sorts everything in memory: see its wall, allocs, peak
  GET /coupons/{code}       answers 500 for a coupon that does not exist: see its errors
";

/// A checkout service that shows what every request cost.
#[derive(Debug, Parser)]
#[command(name = "checkout")]
struct Options {
    /// The most requests that the client sends.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,

    /// Over how many connections at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,

    /// The most seconds that it lasts.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Send no requests; serve until Ctrl-C or SIGTERM, for curl or wrk.
    #[arg(long)]
    serve: bool,

    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,

    /// Which spans are units, as `target=level,..`; all at INFO or above by default.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    units: String,

    /// The file that gets the JSON lines; a new one among the temporary files by default.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Say what the program's own allocations held under load.
    #[arg(long)]
    watch_memory: bool,

    /// What each kind of request may cost; by default what is in the example's budgets.toml.
    #[arg(long, value_name = "FILE")]
    budgets: Option<PathBuf>,

    /// How often figures are written out.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    flush_every: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Runtime(error)),
    };
    match runtime.block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("checkout: {failure}");
    ExitCode::FAILURE
}

async fn run(options: Options) -> Result<(), Failure> {
    // Everything that can be wrong is tried before anything starts.
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|source| Failure::Listen(options.listen, source))?;
    let address = listener
        .local_addr()
        .map_err(|source| Failure::Listen(options.listen, source))?;
    let json = options.json.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("checkout-{}.jsonl", std::process::id()))
    });
    let budgets = match &options.budgets {
        Some(path) => Budgets::from_path(path),
        None => include_str!("budgets.toml").parse(),
    };
    let (layer, telemetry) = Telemetry::builder()
        .service("checkout")
        .budgets(budgets.map_err(Failure::Budgets)?)
        .units(options.units.as_str())
        .flush_every(Duration::from_secs(options.flush_every))
        .export(export::json_lines_file(&json).map_err(Failure::Json)?)
        .build()
        .map_err(Failure::Telemetry)?;
    let database = Database::open(4).await.map_err(Failure::Database)?;
    Lean::new(tracing_subscriber::registry().with(layer)).init();

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = tokio::spawn(service::serve(listener, database, Router::new(), async {
        let _ = stopped.await;
    }));
    if options.serve {
        // Before it says that it is there: who reads that may end it.
        let time_to_go = time_to_go().map_err(Failure::Runtime)?;
        println!("checkout listens on http://{address}; Ctrl-C or SIGTERM ends it. Try:");
        let json = "content-type: application/json";
        let order = SAMPLE_ORDER;
        println!("  curl -H '{json}' -d '{order}' http://{address}/orders");
        println!("  curl http://{address}/orders/1/invoice");
        time_to_go.await.map_err(Failure::Runtime)?;
    } else {
        let load = load::Load {
            address,
            requests: options.requests,
            connections: options.connections,
            within: Duration::from_secs(options.seconds),
            besides: None,
        };
        let memory = Memory::default();
        let summary = tokio::select! {
            summary = load.run() => summary.map_err(Failure::Load)?,
            () = memory.watch(Duration::from_secs(options.seconds)) => unreachable!("it never ends"),
        };
        println!("{summary}");
        if options.watch_memory {
            println!("{memory}");
        }
    }
    let _ = stop.send(());
    service
        .await
        .map_err(io::Error::other)
        .and_then(|served| served)
        .map_err(Failure::Runtime)?;

    let snapshot = telemetry.snapshot();
    println!("\n{snapshot}");
    if !options.serve && !snapshot.units.is_empty() {
        println!("{}", WHAT_IS_BAD);
    }
    let ledger = telemetry
        .shutdown(Duration::from_secs(5))
        .map_err(Failure::Shutdown)?;
    if let Some(ns) = ledger.cost.ns_per_unit {
        println!(
            "Telemetry took {ns:.0} ns of {} per unit, and {:.1} ms of CPU in the background.",
            match ledger.cost.ns_per_unit_is {
                TimeKind::Cpu => "CPU",
                _ => "time",
            },
            ledger.cost.cpu_seconds.unwrap_or(f64::NAN) * 1e3
        );
    }
    println!(
        "{} records are in {} ({} dropped): {} requests in detail, {} of {} log events.",
        ledger.records.kept,
        json.display(),
        ledger.records.dropped_total(),
        ledger.exemplars.kept,
        ledger.events.kept,
        ledger.events.seen,
    );
    Ok(())
}

/// Listens from now on: the future is ready when it is time to go.
fn time_to_go() -> io::Result<impl Future<Output = io::Result<()>>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
            }
        })
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c())
}

/// Why the program ends early.
#[derive(Debug)]
enum Failure {
    Runtime(io::Error),
    Listen(SocketAddr, io::Error),
    Json(export::OpenFileError),
    Budgets(BudgetsError),
    Telemetry(BuildError),
    Database(rusqlite::Error),
    Load(load::LoadError),
    Shutdown(ShutdownError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Runtime(error) => write!(f, "the runtime failed: {error}"),
            Failure::Listen(address, error) => write!(
                f,
                "cannot listen on {address}: {error}; choose another address with --listen, port \
                 0 takes a free one"
            ),
            Failure::Json(error) => error.fmt(f),
            Failure::Budgets(error) => error.fmt(f),
            Failure::Telemetry(error) => error.fmt(f),
            Failure::Database(error) => write!(f, "the database does not open: {error}"),
            Failure::Load(error) => error.fmt(f),
            Failure::Shutdown(error) => error.fmt(f),
        }
    }
}

impl Error for Failure {}
