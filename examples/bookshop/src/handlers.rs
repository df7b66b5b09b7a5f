//! The shop. Nothing here knows that anybody counts.

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use tokio::task::JoinSet;
use tower_http::trace::TraceLayer;
use tracing::{Instrument, Span, error, info};

#[derive(Clone)]
pub struct Shop {
    pub database: SqlitePool,
    pub client: reqwest::Client,
    /// Where the service of prices is.
    pub prices: String,
}

#[derive(Serialize, sqlx::FromRow)]
struct Book {
    id: i64,
    title: String,
}

#[derive(Serialize)]
struct Offer {
    #[serde(flatten)]
    book: Book,
    cents: i64,
    others: Vec<Book>,
}

#[derive(Deserialize)]
struct Price {
    cents: i64,
}

#[derive(Deserialize)]
struct Order {
    book: i64,
    copies: i64,
}

/// What went wrong; the client is told as little as he needs.
struct Failed(Box<dyn std::error::Error + Send + Sync>);

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        error!(error = %self.0, "request failed");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

pub fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/books", get(list))
        .route("/books/{id}", get(offer))
        .route("/covers/{id}", get(cover))
        .route("/orders", post(order))
        .route("/report", get(report))
        .with_state(shop)
        .layer(TraceLayer::new_for_http())
}

async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Book>>, Failed> {
    let books = sqlx::query_as("SELECT id, title FROM books ORDER BY title");
    Ok(Json(books.fetch_all(&shop.database).await?))
}

async fn offer(State(shop): State<Shop>, Path(id): Path<i64>) -> Result<Json<Offer>, Failed> {
    let book = sqlx::query_as("SELECT id, title FROM books WHERE id = ?").bind(id);
    let book: Book = book.fetch_one(&shop.database).await?;
    let price = shop.client.get(format!("{}/prices/{id}", shop.prices));
    let Price { cents } = price.send().await?.error_for_status()?.json().await?;
    let others = sqlx::query_as("SELECT id, title FROM books WHERE id / 100 = ? / 100").bind(id);
    let others = others.fetch_all(&shop.database).await?;
    Ok(Json(Offer {
        book,
        cents,
        others,
    }))
}

/// Draws a picture, which takes a while.
async fn cover(Path(id): Path<u64>) -> Result<Vec<u8>, Failed> {
    let span = Span::current();
    let drawn = tokio::task::spawn_blocking(move || span.in_scope(|| draw(id)));
    Ok(drawn.await?)
}

fn draw(seed: u64) -> Vec<u8> {
    let rows = (0..512).map(|row| vec![(seed * row % 251) as u8; 512]);
    rows.collect::<Vec<_>>().concat()
}

async fn order(State(shop): State<Shop>, Json(order): Json<Order>) -> Result<StatusCode, Failed> {
    let insert = sqlx::query("INSERT INTO orders (book, copies) VALUES (?, ?)");
    let insert = insert.bind(order.book).bind(order.copies);
    insert.execute(&shop.database).await?;
    info!(book = order.book, "ordered");
    // Nobody waits for the letter.
    tokio::spawn(confirm(order).in_current_span());
    Ok(StatusCode::CREATED)
}

async fn confirm(order: Order) {
    let lines = (0..200).map(|n| format!("{n}: {} of book {}", order.copies, order.book));
    let letter = lines.collect::<Vec<_>>().join("\n");
    tokio::task::yield_now().await;
    tracing::debug!(bytes = letter.len(), "confirmed");
}

/// Asks the database once for each book: what a budget is for.
async fn report(State(shop): State<Shop>) -> Result<Json<Vec<(i64, i64)>>, Failed> {
    let ids: Vec<(i64,)> = sqlx::query_as("SELECT id FROM books LIMIT 10")
        .fetch_all(&shop.database)
        .await?;
    let mut counts = JoinSet::new();
    for (id,) in ids {
        let database = shop.database.clone();
        let count = async move {
            let count = sqlx::query_as("SELECT ?1, count(*) FROM orders WHERE book = ?1").bind(id);
            count.fetch_one(&database).await
        };
        counts.spawn(count.in_current_span());
    }
    let counts = counts.join_all().await;
    Ok(Json(
        counts.into_iter().collect::<Result<_, sqlx::Error>>()?,
    ))
}
