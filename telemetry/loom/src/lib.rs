//! `cargo test --release --manifest-path telemetry/loom/Cargo.toml`
//!
//! The modules are those of `telemetry`, by path. They take their atomics from a module `sync`, which
//! here is loom's.
#![cfg(test)]
#![allow(dead_code)] // the models use a part of each module

#[path = "../../src/details/ring.rs"]
mod detail_ring;
#[path = "../../src/live/moments.rs"]
mod moments;
#[path = "../../src/tool/rate.rs"]
mod rate;
#[path = "../../src/live/refs.rs"]
mod refs;
mod sync;
/// Where they look for it.
mod tool {
    pub(crate) use crate::sync;
}
#[path = "../../src/tool/word_ring.rs"]
mod word_ring;

mod models;
