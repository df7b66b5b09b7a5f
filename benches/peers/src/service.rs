//! Two services over HTTP: a minimal one, and the example `checkout`.
//!
//! `BINARY --service minimal|checkout --with SUBSCRIBER` prints the address that it listens on and
//! serves until its standard input ends.

use crate::subscribers;
use axum::Router;
use axum::routing::get;
use std::io::Read;
use tokio::net::TcpListener;
use tracing::{Instrument, info, info_span};

#[path = "../../../examples/checkout/service.rs"]
mod checkout;
#[path = "../../../examples/checkout/database.rs"]
mod database;

/// Runs what the command line asks for.
pub fn main() {
    let argument = |name: &str| std::env::args().skip_while(|arg| arg != name).nth(1);
    let with = argument("--with").expect("--with SUBSCRIBER");
    let service = argument("--service").expect("--service NAME");
    let subscriber = subscribers::by_name(&with);
    if with != "none" {
        tracing::dispatcher::set_global_default(subscriber.dispatch.clone())
            .expect("it is the first");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = end.send(());
        });
        let until = async {
            let _ = ended.await;
        };
        match service.as_str() {
            "minimal" => {
                let router = Router::new().route("/", get(minimal));
                let served = axum::serve(listener, router).with_graceful_shutdown(until);
                served.await.expect("it serves");
            }
            _ => {
                let database = database::Database::open(4).await.expect("a database");
                let served = checkout::serve(listener, database, Router::new(), until);
                served.await.expect("it serves");
            }
        }
    });
}

/// Four spans and three events.
async fn minimal() -> &'static str {
    let work = async {
        info!(step = 1, "authorised");
        let user = async { 7 }.instrument(info_span!("user", id = 7)).await;
        info!(user, "found");
        let total = info_span!("price", items = 3).in_scope(|| 12);
        async { info!(total, "stored") }
            .instrument(info_span!("store"))
            .await;
        "ok"
    };
    work.instrument(info_span!("request", path = "/")).await
}
