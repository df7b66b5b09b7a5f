//! The parts of the shop: what its own processes have in common.

pub mod customers;
pub mod handlers;
pub mod prices;

use handlers::Shop;
use sqlx::sqlite::SqlitePoolOptions;
use std::error::Error;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// What one of the other processes does, if this is one: `customers ADDRESS REQUESTS` or `prices`.
pub async fn be_another(
    mut arguments: impl Iterator<Item = String>,
) -> Option<Result<(), Box<dyn Error + Send + Sync>>> {
    match arguments.next()?.as_str() {
        "customers" => {
            let requests = arguments.next().zip(arguments.next());
            let requests = requests.and_then(|(shop, n)| Some((shop, n.parse().ok()?)));
            Some(match requests {
                Some((shop, requests)) => customers::visit(&shop, requests).await,
                None => Err("usage: customers ADDRESS REQUESTS".into()),
            })
        }
        "prices" => Some(prices::serve().await),
        _ => None,
    }
}

/// Serves customers, who are a process of their own, until they have made so many requests.
pub async fn serve(requests: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (_prices, address) = prices_service().await?;
    let shop = Shop {
        database: database().await?,
        client: reqwest::Client::new(),
        prices: format!("http://{address}"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, handlers::routes(shop)).await });
    match customers(&address, requests).await?.success() {
        true => Ok(()),
        false => Err("the customers were not served".into()),
    }
}

async fn customers(shop: &str, requests: u64) -> Result<ExitStatus, std::io::Error> {
    let mut customers = Command::new(std::env::current_exe()?);
    customers.args(["customers", shop, &requests.to_string()]);
    customers.env_remove("LIGHTWEIGHT_RECORDS").status().await
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
