//! The HTTP service. Every route is a unit of work, and so is the background job.

use super::database::{self, Database, NewOrder};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Json, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tracing::{Instrument, error, info, info_span};

/// Orders between two runs of the background job.
const SETTLE_EVERY: u64 = 100;

#[derive(Clone)]
struct Shop {
    database: Database,
    orders: Arc<AtomicU64>,
    settle: Arc<Notify>,
    closing: Arc<AtomicBool>,
}

/// Makes each request of a route a unit of this name. A span's name is static, hence a macro.
macro_rules! unit {
    ($name:literal) => {
        from_fn(|request: Request, next: Next| {
            let span = info_span!($name, path = request.uri().path());
            async move {
                let response = next.run(request).await;
                if response.status().is_server_error() {
                    error!(status = response.status().as_u16(), "request failed");
                }
                response
            }
            .instrument(span)
        })
    };
}

#[allow(unused_imports)] // for the routes of others
pub(crate) use unit;

pub(crate) async fn serve(
    listener: TcpListener,
    database: Database,
    besides: Router,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let shop = Shop {
        database,
        orders: Arc::default(),
        settle: Arc::default(),
        closing: Arc::default(),
    };
    let closing = (Arc::clone(&shop.closing), Arc::clone(&shop.settle));
    let job = tokio::spawn(settle_orders(shop.clone()));
    let routes = Router::new()
        .route("/orders", post(place).layer(unit!("POST /orders")))
        .route(
            "/orders/import",
            post(import).layer(unit!("POST /orders/import")),
        )
        .route("/orders/{id}", get(show).layer(unit!("GET /orders/{id}")))
        .route(
            "/orders/{id}/invoice",
            get(invoice).layer(unit!("GET /orders/{id}/invoice")),
        )
        .route("/report", get(report).layer(unit!("GET /report")))
        .route(
            "/coupons/{code}",
            get(coupon).layer(unit!("GET /coupons/{code}")),
        )
        .with_state(shop)
        .merge(besides);
    let served = axum::serve(listener, routes)
        .with_graceful_shutdown(until)
        .await;
    // The job ends what it is at: a unit cut off in the middle would be counted as dropped.
    let (closing, settle) = closing;
    closing.store(true, Relaxed);
    settle.notify_one();
    job.await.map_err(io::Error::other).and(served)
}

/// What can go wrong in a handler, as an answer.
enum Answer {
    NotFound,
    BadRequest(String),
    Broken(String),
}

impl From<rusqlite::Error> for Answer {
    fn from(error: rusqlite::Error) -> Self {
        Answer::Broken(error.to_string())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Answer::NotFound => StatusCode::NOT_FOUND.into_response(),
            Answer::BadRequest(why) => (StatusCode::BAD_REQUEST, why).into_response(),
            Answer::Broken(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        }
    }
}

impl Shop {
    async fn store(&self, order: NewOrder) -> Result<Json<database::Order>, Answer> {
        let placed = self
            .database
            .run(move |connection| database::place_order(connection, &order))
            .await?;
        info!(order = placed.id, cents = placed.cents, "placed");
        if (self.orders.fetch_add(1, Relaxed) + 1).is_multiple_of(SETTLE_EVERY) {
            self.settle.notify_one();
        }
        Ok(Json(placed))
    }
}

async fn place(
    State(shop): State<Shop>,
    Json(order): Json<NewOrder>,
) -> Result<Json<database::Order>, Answer> {
    shop.store(order).await
}

/// Bad: looks at the body as a tree of values first, makes text of it again, and parses that.
async fn import(State(shop): State<Shop>, body: Bytes) -> Result<Json<database::Order>, Answer> {
    let wrong = |error: serde_json::Error| Answer::BadRequest(error.to_string());
    let tree: serde_json::Value = serde_json::from_slice(&body).map_err(wrong)?;
    if !tree.is_object() {
        return Err(Answer::BadRequest("an order is an object".to_owned()));
    }
    let order = serde_json::from_str(&tree.to_string()).map_err(wrong)?;
    shop.store(order).await
}

async fn show(
    State(shop): State<Shop>,
    Path(id): Path<i64>,
) -> Result<Json<database::Order>, Answer> {
    let found = shop
        .database
        .run(move |connection| database::order(connection, id))
        .await?;
    found.map(Json).ok_or(Answer::NotFound)
}

async fn invoice(
    State(shop): State<Shop>,
    Path(id): Path<i64>,
) -> Result<Json<database::Order>, Answer> {
    let found = shop
        .database
        .run(move |connection| database::order_line_by_line(connection, id))
        .await?;
    found.map(Json).ok_or(Answer::NotFound)
}

async fn report(State(shop): State<Shop>) -> Result<String, Answer> {
    Ok(shop.database.run(database::report).await?)
}

/// Bad: a code that does not exist is a wrong request, not a broken server.
async fn coupon(State(shop): State<Shop>, Path(code): Path<String>) -> Result<String, Answer> {
    let percent = shop
        .database
        .run(move |connection| database::coupon(connection, &code))
        .await?;
    match percent {
        Some(percent) => Ok(percent.to_string()),
        None => Err(Answer::Broken("no such coupon".to_owned())),
    }
}

/// The background job: woken by orders, not by a timer.
async fn settle_orders(shop: Shop) {
    loop {
        shop.settle.notified().await;
        if shop.closing.load(Relaxed) {
            return;
        }
        let run = async {
            if let Err(error) = shop.database.run(database::settle).await {
                error!(%error, "settling failed");
            }
        };
        run.instrument(info_span!(parent: None, "job settle")).await;
    }
}
