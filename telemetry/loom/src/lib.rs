//! `cargo test --release --manifest-path telemetry/loom/Cargo.toml`
//!
//! The modules are those of `telemetry`, by path. They take their atomics from a module `sync`, which
//! here is loom's.
#![cfg(test)]
#![allow(dead_code)] // the models use a part of each module

#[path = "../../src/details/ring.rs"]
mod detail_ring;
#[path = "../../src/rate.rs"]
mod rate;
#[path = "../../src/units/refs.rs"]
mod refs;
mod sync;
#[path = "../../src/word_ring.rs"]
mod word_ring;

mod models;
