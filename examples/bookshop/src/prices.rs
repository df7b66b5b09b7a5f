//! The service that knows what books cost, in a process of its own: `bookshop prices`. In production it is somebody else's.

use axum::Router;
use axum::extract::{Json, MatchedPath, Path, Request};
use axum::routing::get;
use serde::Serialize;
use std::error::Error;
use tokio::net::TcpListener;
use tower_http::trace::TraceLayer;

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
    // As `docs/units.md` has it, for routes whose parts no rule tells from words.
    let traces = TraceLayer::new_for_http().make_span_with(|request: &Request| {
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map(MatchedPath::as_str);
        tracing::info_span!("request", method = %request.method(), http.route = route)
    });
    let routes = Router::new()
        .route("/prices/{id}", get(price))
        .layer(traces);
    Ok(axum::serve(listener, routes).await?)
}
