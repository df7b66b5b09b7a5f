//! The process's figures are the program's: not what telemetry holds, and not what it does.
//!
//! A test program of its own: it looks at what the whole process holds.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, process_usage};
use std::hint::black_box;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use telemetry::{Incident, Lean, Telemetry, export};
use tracing::{error, info, info_span};
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// What `tracing` and a registry keep for the spans, and the block that the layer and the handle share.
const OTHERS: i64 = 64 << 10;

fn live() -> i64 {
    process_usage().live_bytes()
}

/// Requests on threads that come and go, of which some are kept in detail.
fn work() {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    for _ in 0..4 {
        std::thread::scope(|threads| {
            threads.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    for n in 0..200 {
                        info_span!("pay", n).in_scope(|| {
                            black_box(vec![0u8; 4096]);
                            telemetry::call!("db.query").sent(n);
                            info_span!("step", n).in_scope(|| info!(n, "half way"));
                            if n % 50 == 0 {
                                error!(n, "went wrong");
                            }
                        });
                    }
                });
            });
        });
    }
}

/// One test after the other: they look at the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A writer that the program fills and drops, on whatever thread.
struct Large(Vec<u8>);

impl io::Write for Large {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_the_program_hands_to_it_is_the_programs_to_the_end() {
    let _alone = alone();
    let mut budgets = String::new();
    for n in 0..500 {
        budgets.push_str(&format!("[unit.\"unit number {n}\"]\nallocs.p99 = 5\n"));
    }
    let cycle = || {
        let (layer, telemetry) = Telemetry::builder()
            .service("s".repeat(10_000))
            .budgets(budgets.parse().unwrap())
            .incident_directory(std::env::temp_dir().join("d".repeat(100)))
            .flush_every(Duration::from_secs(3600))
            .export(export::json_lines(Large(vec![0; 100_000])))
            .build()
            .unwrap();
        let subscriber = Lean::new(tracing_subscriber::registry().with(layer));
        tracing::subscriber::with_default(subscriber, || {
            info_span!("pay").in_scope(|| error!("went wrong"));
            let incident = Incident::for_(Duration::from_secs(60)).why("w".repeat(50_000));
            let id = telemetry.incident(incident).unwrap();
            telemetry.end_incident(id);
            telemetry.flush();
        });
        telemetry.shutdown(Duration::from_secs(10)).unwrap();
    };
    (0..3).for_each(|_| cycle());
    let before = live();
    let cycles = 8;
    (0..cycles).for_each(|_| cycle());
    let grown = (live() - before) / cycles;
    assert!(grown.abs() < 1024, "{grown} bytes a cycle");
}

#[test]
fn what_telemetry_holds_is_in_no_figure_of_the_process() {
    let _alone = alone();
    let before = live();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(export::json_lines(io::sink()))
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        work();
        telemetry.flush();
        let held = telemetry.ledger().cost.live_bytes.unwrap();
        assert!(held > 1 << 20, "there is something to leave out: {held}");
        let program = live() - before;
        assert!(
            program < OTHERS,
            "{program} bytes beside telemetry's {held}"
        );

        let incident = Incident::for_(Duration::from_secs(60)).unit("pay");
        let id = telemetry.incident(incident).unwrap();
        work();
        let working = process_usage();
        telemetry.end_incident(id);
        telemetry.flush();
        let flushing = process_usage() - working;
        assert!(
            flushing.allocs < 100 && flushing.alloc_bytes < 16 << 10,
            "writing records is no work of the program's: {flushing}"
        );
    });
    drop(telemetry);
    let left = live() - before;
    assert!(left.abs() < OTHERS, "{left} bytes");
}
