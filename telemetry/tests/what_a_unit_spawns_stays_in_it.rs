//! With the word that takes it along, and outside without it.
#![cfg(feature = "tokio")]

use alloc_tracker::AllocTracker;
use std::hint::black_box;
use telemetry::follow::{self, JoinSet, spawn, spawn_blocking};
use telemetry::{Lean, Snapshot, Telemetry};
use tokio::runtime::{Builder, Runtime};
use tracing::{Dispatch, Instrument, info_span};
use tracing_subscriber::prelude::*;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

const BLOCK: u64 = 1 << 20;

fn allocate() {
    drop(black_box(vec![1u8; BLOCK as usize]));
}

fn in_both_stacks(work: impl Fn(&Runtime), check: impl Fn(&Snapshot)) {
    for is_lean in [false, true] {
        let (layer, telemetry) = Telemetry::builder().build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match is_lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        // Tokio's threads have it, too.
        let on_threads = dispatch.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || {
                // For good: what is set goes with its guard.
                std::mem::forget(tracing::dispatcher::set_default(&on_threads));
            })
            .build()
            .unwrap();
        tracing::dispatcher::with_default(&dispatch, || work(&runtime));
        drop(runtime);
        check(&telemetry.snapshot());
    }
}

/// How many of the blocks a unit has.
fn blocks(snapshot: &Snapshot, unit: &str) -> Option<u64> {
    let bytes = snapshot.unit(unit).unwrap().metric("alloc_bytes")?;
    Some(bytes.sum / BLOCK)
}

fn tracked(n: u64) -> Option<u64> {
    cfg!(feature = "track").then_some(n)
}

#[test]
fn tasks_blocking_work_sets_and_threads_are_in_the_unit_that_starts_them() {
    in_both_stacks(
        |runtime| {
            let handler = async {
                let task = spawn(async {
                    allocate();
                    tokio::task::yield_now().await;
                    allocate();
                    // A child of the task's.
                    spawn(async { allocate() }).await.unwrap();
                });
                let pool = spawn_blocking(allocate);
                let mut set = JoinSet::new();
                for _ in 0..3 {
                    set.spawn(async { allocate() });
                }
                set.spawn_blocking(allocate);
                while let Some(done) = set.join_next().await {
                    done.unwrap();
                }
                follow::thread::spawn(allocate).join().unwrap();
                std::thread::spawn(follow::carry(allocate)).join().unwrap();
                task.await.unwrap();
                pool.await.unwrap();
            };
            runtime.block_on(async {
                let request = spawn(handler.instrument(info_span!("request")));
                request.await.unwrap();
                // In no unit.
                spawn(async { allocate() }).await.unwrap();
            });
        },
        |snapshot| {
            assert_eq!(blocks(snapshot, "request"), tracked(10), "{snapshot}");
            assert_eq!(snapshot.unit("request").unwrap().count, 1);
        },
    );
}

#[test]
fn without_the_word_it_is_outside_of_every_unit() {
    in_both_stacks(
        |runtime| {
            let handler = async {
                tokio::spawn(async { allocate() }).await.unwrap();
                tokio::task::spawn_blocking(allocate).await.unwrap();
                allocate();
            };
            let handler = handler.instrument(info_span!("request"));
            runtime.block_on(async { tokio::spawn(handler).await.unwrap() });
        },
        |snapshot| {
            assert_eq!(blocks(snapshot, "request"), tracked(1), "{snapshot}");
            if let Some(outside) = &snapshot.outside {
                assert!(outside.alloc_bytes >= 2 * BLOCK, "{outside:?}");
            }
        },
    );
}

#[test]
fn a_unit_lasts_until_what_it_started_is_done_or_dropped() {
    in_both_stacks(
        |runtime| {
            runtime.block_on(async {
                let never = async {
                    let pending = spawn(std::future::pending::<()>());
                    pending.abort();
                    assert!(pending.await.unwrap_err().is_cancelled());
                };
                spawn(never.instrument(info_span!("request")))
                    .await
                    .unwrap();
            });
        },
        |snapshot| {
            let request = snapshot.unit("request").unwrap();
            assert_eq!((request.count, request.in_flight), (1, 0));
        },
    );
}
