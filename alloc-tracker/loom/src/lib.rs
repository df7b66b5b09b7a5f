//! `cargo test --release --manifest-path alloc-tracker/loom/Cargo.toml`
//!
//! The modules are those of `alloc_tracker`, by path. They take their atomics from a module `sync`
//! beside them, which here is loom's.
#![cfg(test)]
#![allow(dead_code)] // the models use a part of each module

#[path = "../../src/engine/block_table.rs"]
mod block_table;
#[path = "../../src/engine/counter/counts.rs"]
mod counts;
#[path = "../../src/engine/free_stack.rs"]
mod free_stack;
#[path = "../../src/engine/counter/inside.rs"]
mod inside;
#[path = "../../src/engine/counter/published.rs"]
mod published;
#[path = "../../src/engine/counter/slot.rs"]
mod slot;
mod sync;
#[path = "../../src/engine/measure/unit_cell.rs"]
mod unit_cell;
#[path = "../../src/usage.rs"]
mod usage;

pub use usage::Usage;

mod models;
