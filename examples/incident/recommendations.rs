//! The new route, with two faults.

use crate::service::unit;
use axum::Router;
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use std::sync::Mutex;
use tracing::{Instrument, error, info_span};

/// The first fault: every answer is remembered, and none is ever looked up again.
static REMEMBERED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

pub(crate) fn routes() -> Router {
    let route = get(recommend).layer(unit!("GET /recommendations/{customer}"));
    Router::new().route("/recommendations/{customer}", route)
}

async fn recommend(Path(customer): Path<u64>) -> String {
    let best = rank(customer);
    remember(&best);
    best
}

/// The second fault: a page for each of two thousand products, where a number would do.
fn rank(customer: u64) -> String {
    let product = |n: u64| n.wrapping_mul(customer) % 2003;
    let texts = (0..2000).map(|n| format!("{:0512}", product(n)));
    texts.max().unwrap_or_default()
}

fn remember(best: &str) {
    let mut page = best.as_bytes().to_vec();
    page.resize(32 << 10, b' ');
    if let Ok(mut remembered) = REMEMBERED.lock() {
        remembered.push(page);
    }
}
