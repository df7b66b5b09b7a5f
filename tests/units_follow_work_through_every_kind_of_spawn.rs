//! One word at each spawn, and the unit has what was done there; without it, it has not.
#![cfg(feature = "track")]

use alloc_tracker::{AllocTracker, InUnit, Unit, Usage, in_current_unit};
use rayon::prelude::*;
use std::hint::black_box;
use std::sync::mpsc;
use std::time::Duration;
use tokio::task::JoinSet;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// So large that what the spawns themselves allocate does not matter beside it.
const MIB: u64 = 1 << 20;

fn work() {
    drop(black_box(vec![1u8; MIB as usize]));
}

async fn async_work() {
    let first = black_box(vec![1u8; MIB as usize / 2]);
    tokio::task::yield_now().await;
    drop(first);
    drop(black_box(vec![1u8; MIB as usize / 2]));
}

/// The whole megabytes that a unit has allocated; what is beside them must be small.
fn megabytes(usage: Usage) -> u64 {
    assert!(usage.alloc_bytes % MIB < MIB / 8, "{usage}");
    usage.alloc_bytes / MIB
}

/// Runs `work` in a new unit on a runtime of four workers, beside which other work allocates.
fn in_unit_beside_noise<F: Future + Send>(work: F) -> Usage {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let unit = Unit::new();
    runtime.block_on(async {
        let noise = tokio::spawn(async {
            loop {
                drop(black_box(vec![1u8; 3 * MIB as usize]));
                tokio::task::yield_now().await;
            }
        });
        work.in_unit(&unit).await;
        noise.abort();
    });
    unit.usage()
}

#[test]
fn tokio_spawn() {
    let usage = in_unit_beside_noise(async {
        let with = tokio::spawn(async_work().in_current_unit());
        let without = tokio::spawn(async_work());
        with.await.unwrap();
        without.await.unwrap();
    });
    assert_eq!(megabytes(usage), 1);
}

#[test]
fn tokio_spawn_blocking() {
    let usage = in_unit_beside_noise(async {
        tokio::task::spawn_blocking(in_current_unit(work))
            .await
            .unwrap();
        tokio::task::spawn_blocking(work).await.unwrap();
    });
    assert_eq!(megabytes(usage), 1);
}

#[test]
fn tokio_join_set() {
    let usage = in_unit_beside_noise(async {
        let mut tasks = JoinSet::new();
        for _ in 0..5 {
            tasks.spawn(async_work().in_current_unit());
        }
        tasks.spawn_blocking(in_current_unit(work));
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    assert_eq!(megabytes(usage), 6);
}

#[test]
fn a_spawn_inside_a_spawn() {
    let usage = in_unit_beside_noise(async {
        let inner = async {
            tokio::spawn(async_work().in_current_unit()).await.unwrap();
            tokio::task::spawn_blocking(in_current_unit(work))
                .await
                .unwrap();
        };
        tokio::spawn(inner.in_current_unit()).await.unwrap();
    });
    assert_eq!(megabytes(usage), 2);
}

#[test]
fn std_threads_and_scoped_threads() {
    let unit = Unit::new();
    unit.run(|| {
        let with = std::thread::spawn(in_current_unit(work));
        let without = std::thread::spawn(work);
        with.join().unwrap();
        without.join().unwrap();
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(in_current_unit(work));
            }
        });
    });
    assert_eq!(megabytes(unit.usage()), 4);
}

#[test]
fn rayon_join_and_par_iter() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(4)
        .build()
        .unwrap();
    let unit = Unit::new();
    unit.run(|| {
        // Both closures are wrapped here, on the thread that works for the unit.
        let (left, right) = (in_current_unit(work), in_current_unit(work));
        pool.install(|| rayon::join(left, right));
        // A closure that is called often enters the unit itself.
        let unit = &unit;
        pool.install(|| (0..10).into_par_iter().for_each(|_| unit.run(work)));
    });
    assert_eq!(megabytes(unit.usage()), 12);
}

#[test]
fn a_channel_hands_the_unit_on_with_the_work() {
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let worker = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
    let (a, b) = (Unit::new(), Unit::new());
    for unit in [&a, &b, &a] {
        unit.run(|| jobs.send(Box::new(in_current_unit(work))).unwrap());
    }
    jobs.send(Box::new(work)).unwrap();
    drop(jobs);
    worker.join().unwrap();
    assert_eq!((megabytes(a.usage()), megabytes(b.usage())), (2, 1));
}

#[test]
fn select_and_cancellation_end_the_work_and_what_it_held_is_freed_for_the_unit() {
    let usage = in_unit_beside_noise(async {
        let slow = async {
            let held = black_box(vec![1u8; MIB as usize]);
            tokio::time::sleep(Duration::from_secs(3600)).await;
            drop(held);
        };
        tokio::select! {
            () = slow => unreachable!("an hour"),
            () = async_work() => {}
        }
        // A task that is aborted is dropped by the runtime, on whatever thread.
        let (started, wait) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(
            async move {
                let held = black_box(vec![1u8; MIB as usize]);
                let _ = started.send(());
                std::future::pending::<()>().await;
                drop(held);
            }
            .in_current_unit(),
        );
        wait.await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(megabytes(usage), 3);
    assert!(usage.live_bytes() < MIB as i64 / 8, "{usage}");
}

#[test]
fn units_beside_each_other_on_the_same_workers_are_kept_apart() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let units: Vec<(Unit, usize)> = (0..200).map(|n| (Unit::new(), 100 + n)).collect();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (unit, size) in &units {
            let size = *size;
            let future = async move {
                for _ in 0..50 {
                    let kept = black_box(vec![1u8; size]);
                    tokio::task::yield_now().await;
                    drop(kept);
                }
            };
            tasks.spawn(future.in_unit(unit));
        }
        tasks.join_all().await;
    });
    for (unit, size) in units {
        let usage = unit.usage();
        let own = 50 * size as u64;
        // `yield_now` may make room in a list of the worker, at the expense of who asks.
        let foreign = usage.alloc_bytes - own;
        assert!(foreign < 64 * 1024, "{usage} for {own}");
        assert_eq!(
            usage.allocs - usage.reallocs,
            usage.frees + usage.live_blocks() as u64
        );
        assert!(usage.peak_bytes >= size as u64);
    }
}
