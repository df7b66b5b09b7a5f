//! All that knows `tracing`: what spans and events say of themselves, and who hears of them.
//!
//! ```text
//!   subscriber ──► TelemetryLayer ─┐
//!                                  ├──► Observer ──► the thread, units in progress, events
//!   Lean ──────────────────────────┘
//! ```
//!
//! * [`layer`]: the layer, for a subscriber that has others too; [`lean`]: a subscriber that spares others the
//!   spans that only telemetry wants.
//! * [`observer`]: what both do at a callback; [`ends`], [`events`]: the parts of it that are about
//!   units that end, and about events.
//! * [`parent`]: the parent of a span, where the subscriber is told of another.
//! * [`follow`]: what takes a span along to where work goes.
//! * [`filter`]: which spans are units and which events are written; [`attached`]: which of them others hide.
//! * [`call_site`]: what a call site says of itself; [`fields`], [`class_fields`] and [`error_field`]: what
//!   values do.

mod attached;
mod call_site;
mod class_fields;
mod ends;
mod error_field;
mod events;
mod fields;
pub(crate) mod filter;
pub mod follow;
#[allow(unsafe_code)] // forwards the one unsafe method of `tracing_subscriber::Layer`
mod layer;
#[allow(unsafe_code)] // forwards the one unsafe method of `tracing::Subscriber`
pub(crate) mod lean;
mod observer;
mod parent;
mod wakes;

pub(crate) use attached::Attached;
pub(crate) use call_site::CallSite;
#[cfg(test)]
pub(crate) use call_site::made_up;
pub use layer::TelemetryLayer;
pub use lean::Lean;
