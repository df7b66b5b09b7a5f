//! Know what every unit of work costs, all the time, for next to nothing.
//!
//! A *unit* is a request, a job, a message: by default every root span of `tracing` at INFO or
//! above. For 100 % of the units of each kind this layer keeps histograms of wall time, busy time,
//! allocations, bytes, peak memory, wake-ups, and calls and bytes across each boundary; one
//! background thread writes them out, and sleeps when nothing happens.
//!
//! ```
//! use std::time::Duration;
//! use telemetry::{Telemetry, export};
//! use tracing_subscriber::prelude::*;
//!
//! #[global_allocator]
//! static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (layer, telemetry) = Telemetry::builder()
//!         .service("checkout")
//!         .flush_every(Duration::from_secs(10))
//!         .export(export::json_lines(std::io::sink()))
//!         .build()?;
//!     let _guard = tracing_subscriber::registry().with(layer).set_default();
//!
//!     tracing::info_span!("order").in_scope(|| {
//!         let call = telemetry::call!("db.query");
//!         call.sent(30);
//!         call.received(1200);
//!     });
//!
//!     let snapshot = telemetry.snapshot();
//!     assert_eq!(snapshot.unit("order").unwrap().boundaries["db.query"].calls.sum, 1);
//!     println!("{snapshot}"); // a table
//!     telemetry.shutdown(Duration::from_secs(2))?;
//!     Ok(())
//! }
//! ```
//!
//! # How it counts
//!
//! ```text
//!   spans ──► Observer ──► figures of the live unit ──close──► Outbox of the thread
//!               │ thread (its own state)                       │ in batches, by the same thread
//!   call! ──────┘                                              ▼
//!   snapshot, flush ◄── Aggregate: histograms per kind ◄───────┘
//!        └──► exporters (background thread)
//! ```
//!
//! * A unit's figures include all its descendant spans on every thread, once, and what work that
//!   was handed the unit with [`alloc_tracker::in_current_unit`] allocates.
//! * Its wall time ends at its last exit, or at its close if it was never entered.
//! * What it costs is in the figures of its kind once, when it ends. While it is in progress, records and
//!   snapshots say [by themselves](InProgress) what such units cost.
//! * It counts as an error if an ERROR event is emitted inside it, if it panics, or if
//!   `otel.status_code = "ERROR"` or a field `error` is recorded on one of its spans; `error` with
//!   `false`, `None`, `0` or nothing is none.
//!
//! # What is written
//!
//! With an [exporter](export): a summary of each kind of unit and interval, *exemplars*
//! (single units in detail: a small sample, and those that failed, broke their budget or were slow),
//! log *events* as far as their limits allow, exact counts of those that were *suppressed*, and
//! *findings* about budgets that do not hold. All of it is bounded, and the [`Ledger`] says what
//! became of the rest.
//!
//! # Cost
//!
//! No heap allocation and no lock per unit, span or suppressed event. Memory is bounded (see
//! [`Builder`]), with 32 KiB for each thread that works for units and 64 KiB for its detail. Call
//! sites that nobody asked for stay off: the layer filters itself, and hides nothing from other
//! layers. In [`Lean`], spans that nobody else wants bypass the `Registry`, which is
//! most of what is left.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod background;
mod boundary;
mod budgets;
mod builder;
mod callsites;
mod cost;
mod details;
mod effect;
mod events;
mod exemplars;
mod exit;
pub mod export;
mod histogram;
mod incidents;
mod instance;
pub mod io;
mod kinds;
mod ledger;
mod live;
mod os;
mod outbox;
mod output;
mod passed_by;
pub mod record;
#[cfg(feature = "init")]
mod setup;
mod subscriber;
mod telemetry;
mod thread;
mod tool;

pub use boundary::{Boundary, Call, CallFuture, InCall};
pub use budgets::{Budgets, BudgetsError};
pub use builder::{BuildError, Builder};
pub use cost::{BoundaryMetric, Measure, Metric};
pub use histogram::{Bucket, Distribution, MergeError};
pub use incidents::{Incident, IncidentError, IncidentId, Trigger};
pub use record::{
    BoundarySnapshot, BudgetSnapshot, Cost, InProgress, Inside, Ledger, Snapshot, Stream,
    UnitSnapshot,
};
#[cfg(feature = "init")]
pub use setup::{InitError, Setup, init, setup};
pub use subscriber::filter::{EventFilter, ParseFilterError, UnitFilter, UnitSpan};
pub use subscriber::{Lean, TelemetryLayer, follow};
pub use telemetry::{Handle, ShutdownError, Telemetry};
#[cfg(any(debug_assertions, feature = "settable-clock"))]
#[doc(hidden)]
pub use tool::clock::SettableClock;

/// The README's programs compile.
#[cfg(all(doctest, feature = "track", feature = "init"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
