//! Every way to hand work on, and the one word that keeps it in its unit.
//!
//! ```sh
//! cargo run --release --example spawns --features rayon
//! ```

use alloc_tracker::{AllocTracker, InUnit, Unit, in_current_unit};
use rayon::prelude::*;
use std::hint::black_box;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Each piece of work allocates so much that what the spawns themselves take does not matter.
const MIB: usize = 1 << 20;

fn work() {
    drop(black_box(vec![1u8; MIB]));
}

async fn async_work() {
    let held = black_box(vec![1u8; MIB]);
    tokio::task::yield_now().await;
    drop(held);
}

async fn spawned_task() {
    let task = tokio::spawn(async_work().in_current_unit());
    task.await.expect("no panic");
}

async fn blocking_task() {
    let task = tokio::task::spawn_blocking(in_current_unit(work));
    task.await.expect("no panic");
}

async fn set_of_tasks() {
    let mut tasks = JoinSet::new();
    tasks.spawn(async_work().in_current_unit());
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
}

/// The branch that loses is dropped inside the unit, which has what it allocated and freed.
async fn cancelled_by_select() {
    let slow = async {
        let held = black_box(vec![1u8; MIB]);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(held);
    };
    tokio::select! {
        () = slow => {}
        () = tokio::time::sleep(Duration::from_millis(1)) => {}
    }
}

async fn thread() {
    let thread = std::thread::spawn(in_current_unit(work));
    thread.join().expect("no panic");
}

async fn scoped_thread() {
    std::thread::scope(|threads| {
        threads.spawn(in_current_unit(work));
    });
}

async fn rayon_join() {
    // Wrapped here, on the thread that works for the unit, to run on any of rayon's.
    rayon::join(in_current_unit(work), || ());
}

async fn rayon_par_iter() {
    // Called once per item: a handle, which enters the unit each time.
    let unit = Unit::current().unwrap_or_default();
    (0..1).into_par_iter().for_each(|_| unit.run(work));
}

async fn channel() {
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let worker = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
    let sent = jobs.send(Box::new(in_current_unit(work)));
    sent.expect("the worker waits");
    drop(jobs);
    worker.join().expect("no panic");
}

/// Nothing written: the work is nobody's.
async fn without_the_word() {
    tokio::spawn(async_work()).await.expect("no panic");
}

fn report(runtime: &Runtime, kind: &str, written: &str, work: impl Future<Output = ()>) {
    let unit = Unit::new();
    runtime.block_on(work.in_unit(&unit));
    let usage = unit.usage();
    let figures = if usage.is_tracked() {
        format!("{:>9} B {:>6} B", usage.alloc_bytes, usage.live_bytes())
    } else {
        usage.to_string()
    };
    println!("{kind:<28} {written:<44} {figures}");
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    rayon::join(|| (), || ()); // its threads' start is nobody's unit
    println!(
        "{:<28} {:<44} {:>11} {:>8}",
        "1 MiB of work, handed on by", "what is written", "allocated", "live"
    );
    let in_unit = ".in_current_unit()";
    let closure = "in_current_unit(|| ..)";
    let report = |kind: &str, written: &str, work: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        report(&runtime, kind, written, work);
    };
    report(
        "tokio::spawn",
        &format!("spawn(future{in_unit})"),
        Box::pin(spawned_task()),
    );
    report(
        "spawn_blocking",
        &format!("spawn_blocking({closure})"),
        Box::pin(blocking_task()),
    );
    report(
        "JoinSet",
        &format!("tasks.spawn(future{in_unit})"),
        Box::pin(set_of_tasks()),
    );
    report(
        "select!, cancelled",
        "nothing",
        Box::pin(cancelled_by_select()),
    );
    report(
        "std::thread::spawn",
        &format!("spawn({closure})"),
        Box::pin(thread()),
    );
    report(
        "std::thread::scope",
        &format!("scope.spawn({closure})"),
        Box::pin(scoped_thread()),
    );
    report(
        "rayon::join",
        &format!("join({closure}, ..)"),
        Box::pin(rayon_join()),
    );
    report(
        "rayon, par_iter",
        "for_each(|item| unit.run(|| ..))",
        Box::pin(rayon_par_iter()),
    );
    report(
        "a channel",
        &format!("send(Box::new({closure}))"),
        Box::pin(channel()),
    );
    report(
        "tokio::spawn, forgotten",
        "nothing: the work is nobody's",
        Box::pin(without_the_word()),
    );
    Ok(())
}
