//! The client: a number of connections, each of which sends one request after the other.

use crate::database::{self, NewOrder, OrderLine};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) requests: u64,
    pub(crate) connections: u16,
    pub(crate) within: Duration,
    /// A path that every fourth request asks for.
    pub(crate) besides: Option<&'static str>,
}

/// What the connections share.
struct Progress {
    address: SocketAddr,
    requests: u64,
    besides: Option<&'static str>,
    sent: AtomicU64,
    errors: AtomicU64,
    deadline: Instant,
    bar: ProgressBar,
}

/// What came of it.
pub(crate) struct Summary {
    answered: u64,
    errors: u64,
    connections: u16,
    took: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "{} requests over {} connections in {seconds:.1} s: {:.0} per second, {} answered 5xx.",
            self.answered,
            self.connections,
            self.answered as f64 / seconds,
            self.errors
        )
    }
}

impl Load {
    pub(crate) async fn run(self) -> Result<Summary, LoadError> {
        let bar = ProgressBar::new(self.requests);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {per_sec}, {eta} left")
        {
            bar.set_style(style);
        }
        let start = Instant::now();
        let progress = Arc::new(Progress {
            address: self.address,
            requests: self.requests,
            besides: self.besides,
            sent: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            deadline: start + self.within,
            bar,
        });
        let mut connections = JoinSet::new();
        for number in 0..self.connections {
            let progress = Arc::clone(&progress);
            connections.spawn(connection(u64::from(number), progress));
        }
        let mut answered = 0;
        while let Some(joined) = connections.join_next().await {
            answered += joined.map_err(LoadError::new)??;
        }
        progress.bar.finish_and_clear();
        Ok(Summary {
            answered,
            errors: progress.errors.load(Relaxed),
            connections: self.connections,
            took: start.elapsed(),
        })
    }
}

async fn connection(seed: u64, progress: Arc<Progress>) -> Result<u64, LoadError> {
    let stream = TcpStream::connect(progress.address)
        .await
        .map_err(LoadError::new)?;
    stream.set_nodelay(true).map_err(LoadError::new)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(LoadError::new)?;
    let driver = tokio::spawn(connection);
    let mut random = Random(seed);
    let mut answered = 0;
    while Instant::now() < progress.deadline
        && progress.sent.fetch_add(1, Relaxed) < progress.requests
    {
        let request = next_request(&mut random, progress.besides).map_err(LoadError::new)?;
        // The body may be read to its end before the connection is ready for another request.
        sender.ready().await.map_err(LoadError::new)?;
        let response = sender.send_request(request).await.map_err(LoadError::new)?;
        let status = response.status();
        response
            .into_body()
            .collect()
            .await
            .map_err(LoadError::new)?;
        if status.is_server_error() {
            progress.errors.fetch_add(1, Relaxed);
        } else if status != StatusCode::OK {
            return Err(LoadError::new(format!("an unexpected answer: {status}")));
        }
        answered += 1;
        progress.bar.inc(1);
    }
    drop(sender);
    driver
        .await
        .map_err(LoadError::new)?
        .map_err(LoadError::new)?;
    Ok(answered)
}

/// The mix of a busy shop.
fn next_request(
    random: &mut Random,
    besides: Option<&str>,
) -> Result<Request<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    let get = |path: String| (Method::GET, path, Vec::new());
    let besides = besides.filter(|_| random.below(4) == 0);
    let id = 1 + random.below(u64::from(database::FIRST_ORDERS));
    let (method, path, body) = match random.below(100) {
        _ if besides.is_some() => get(besides.unwrap_or_default().to_owned()),
        0..40 => (Method::POST, "/orders".to_owned(), order(random)?),
        40..65 => get(format!("/orders/{id}")),
        65..80 => get(format!("/orders/{id}/invoice")),
        80..90 => (Method::POST, "/orders/import".to_owned(), order(random)?),
        90..98 => get(format!(
            "/coupons/{}",
            ["SPRING", "AUTUMN", "WINTER"][id as usize % 3]
        )),
        _ => get("/report".to_owned()),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::from(body))?;
    Ok(request)
}

fn order(random: &mut Random) -> serde_json::Result<Vec<u8>> {
    let lines = (0..1 + random.below(20)).map(|_| OrderLine {
        sku: database::sku(random.below(500) as u32),
        quantity: 1 + random.below(4) as u32,
    });
    serde_json::to_vec(&NewOrder {
        lines: lines.collect(),
        customer: format!("customer-{}", random.below(1000)),
    })
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The client could not go on.
#[derive(Debug)]
pub(crate) struct LoadError {
    source: Box<dyn Error + Send + Sync>,
}

impl LoadError {
    fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        LoadError {
            source: source.into(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client failed: {}", self.source)
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
