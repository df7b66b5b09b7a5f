//! One test in a program of its own, which counts every block of the process.
#![cfg(debug_assertions)] // the clock is set

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use telemetry::{Lean, SettableClock, Telemetry};
use tracing::field::Empty;
use tracing::{Dispatch, info_span};
use tracing_subscriber::prelude::*;

struct Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// SAFETY: all is done by the system's allocator, whose contract it keeps.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

fn requests() {
    for uri in [
        "/",
        "/books/1",
        "/books/22?page=3",
        "http://shop.test/orders/4711/lines",
        "/a%20b",
    ] {
        for method in ["GET", "PUT"] {
            info_span!("request", %method, %uri).in_scope(|| ());
            let span = info_span!("HTTP request", http.method = method, http.route = Empty);
            span.in_scope(|| ());
            span.record("http.route", "/books/{id}");
        }
    }
}

#[test]
fn whenever_its_fields_are_recorded() {
    let clock = SettableClock::new();
    for is_lean in [false, true] {
        let builder = Telemetry::builder().clock(&clock).system_sample(0.0);
        let (layer, telemetry) = builder.build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match is_lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        tracing::dispatcher::with_default(&dispatch, || {
            // More than a ring of ended units holds, which then has been emptied once.
            (0..500).for_each(|_| requests());
            let before = ALLOCATED.load(Relaxed);
            (0..500).for_each(|_| requests());
            assert_eq!(ALLOCATED.load(Relaxed) - before, 0, "lean: {is_lean}");
        });
        assert_eq!(telemetry.snapshot().ledger.units.seen, 20_000);
        assert_eq!(telemetry.snapshot().units.len(), 10);
    }
}
