//! A service as people write them: axum with `tower-http`'s `TraceLayer`, sqlx, reqwest to a second service, logs by
//! `RUST_LOG` and OpenTelemetry. The handlers know nothing of what counts them; what `docs/start.md` says is in `main`.
//!
//! ```text
//! cargo run --release --manifest-path examples/bookshop/Cargo.toml
//! ```

mod customers;
mod handlers;
mod prices;

use handlers::Shop;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use sqlx::sqlite::SqlitePoolOptions;
use std::error::Error;
use std::process::Stdio;
use telemetry::Budgets;
use telemetry::record::TraceIds;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

// As `docs/start.md` says, from here on.
#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let requests = match arguments.next().as_deref() {
        Some("customers") => {
            let (shop, requests) = (arguments.next(), arguments.next());
            let requests = requests.as_deref().unwrap_or("1000").parse()?;
            return customers::visit(&shop.ok_or("whose customers?")?, requests).await;
        }
        Some("prices") => return prices::serve().await,
        Some(requests) => requests.parse()?,
        None => 2000,
    };

    // OpenTelemetry as ever; a service hands its spans to a collector.
    let traces = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            0.01,
        ))))
        .build();
    let tracer = traces.tracer("bookshop");
    let budgets = include_str!("../budgets.toml").parse::<Budgets>()?;

    // `docs/start.md`: one line, and its parts.
    let traces = tracing_opentelemetry::layer().with_tracer(tracer);
    let telemetry = telemetry::setup("bookshop")
        .layer(traces.with_filter(requests_and_what_is_at_info()))
        .telemetry(|builder| builder.budgets(budgets).trace_ids(current_trace))
        .init()?;

    let (_prices, address) = prices_service().await?;
    let shop = Shop {
        database: database().await?,
        client: reqwest::Client::new(),
        prices: format!("http://{address}"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, handlers::routes(shop)).await });

    let mut customers = Command::new(std::env::current_exe()?);
    customers.args(["customers", &address, &requests.to_string()]);
    let status = customers.env_remove("LIGHTWEIGHT_RECORDS").status().await?;
    if !status.success() {
        return Err("the customers were not served".into());
    }

    println!("{}", telemetry.snapshot());
    Ok(())
}

/// What is traced: `tower-http` makes its spans at DEBUG.
fn requests_and_what_is_at_info() -> Targets {
    let all = Targets::new().with_default(LevelFilter::INFO);
    all.with_target("tower_http", LevelFilter::DEBUG)
}

/// Where OpenTelemetry is on this thread, for records.
fn current_trace() -> Option<TraceIds> {
    let context = opentelemetry::Context::current();
    let span = context.span().span_context().clone();
    let ids = TraceIds::new(span.trace_id().to_bytes(), span.span_id().to_bytes());
    span.is_valid().then_some(ids)
}

/// The service of prices, which ends with what is returned, and its address.
async fn prices_service() -> Result<(Child, String), Box<dyn Error + Send + Sync>> {
    let mut service = Command::new(std::env::current_exe()?);
    let service = service.arg("prices").stdout(Stdio::piped());
    let mut service = service.kill_on_drop(true).spawn()?;
    let said = service.stdout.take().ok_or("it says nothing")?;
    let address = BufReader::new(said).lines().next_line().await?;
    Ok((service, address.ok_or("it did not start")?))
}

async fn database() -> Result<sqlx::SqlitePool, sqlx::Error> {
    // Each connection would have a database of its own.
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await?;
    sqlx::query("CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, book INTEGER, copies INTEGER)")
        .execute(&pool)
        .await?;
    let books =
        "WITH RECURSIVE ids(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 400)
                 INSERT INTO books SELECT id, 'Book ' || id || ' of the Shop' FROM ids";
    sqlx::query(books).execute(&pool).await?;
    Ok(pool)
}
