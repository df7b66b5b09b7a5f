//! The service that knows what books cost, in a process of its own: `bookshop prices`. In production it is somebody else's.

use axum::Router;
use axum::extract::{Json, Path};
use axum::routing::get;
use serde::Serialize;
use std::error::Error;
use tokio::net::TcpListener;

#[derive(Serialize)]
struct Price {
    cents: u64,
}

async fn price(Path(id): Path<u64>) -> Json<Price> {
    Json(Price {
        cents: 990 + id % 7 * 100,
    })
}

/// Says where it is in a line on standard output, and serves until it is killed.
pub async fn serve() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let routes = Router::new().route("/prices/{id}", get(price));
    Ok(axum::serve(listener, routes).await?)
}
