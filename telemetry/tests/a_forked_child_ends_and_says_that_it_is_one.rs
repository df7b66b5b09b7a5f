//! `fork` while other threads are at every lock that there is: the child waits for nobody, whichever
//! function it calls, counts on, and says that it is a child.
#![cfg(unix)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::export::{self, Exporter, Flush};
use telemetry::{Incident, IncidentError, Ledger, Stream, Telemetry};
use tracing::{error, info, info_span};

mod forked;
mod stack;

use forked::{End, child};

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

/// An exporter that is at its lock nearly always.
struct Holds(Arc<Mutex<Vec<u8>>>);

impl Exporter for Holds {
    fn name(&self) -> &str {
        "holds"
    }

    fn export(&mut self, flush: &Flush<'_>) -> std::io::Result<u64> {
        let mut held = self.0.lock().unwrap();
        held.clear();
        for record in flush.records() {
            serde_json::to_writer(&mut *held, record)?;
        }
        (0..500_000).for_each(|_| std::hint::spin_loop());
        Ok(held.len() as u64)
    }
}

fn adds_up(stream: &Stream) -> bool {
    stream.seen == stream.kept + stream.sampled_out + stream.rate_limited + stream.dropped_total()
}

fn all_add_up(ledger: &Ledger) -> bool {
    let streams = [&ledger.units, &ledger.events, &ledger.exemplars];
    streams.into_iter().all(adds_up) && adds_up(&ledger.records)
}

/// What a child does, by its number; a number for what is wrong.
fn act(number: usize, telemetry: &Telemetry) -> i32 {
    let wrong = |is_right: bool, code: i32| if is_right { 0 } else { code };
    match number % ACTIONS {
        0 => std::process::exit(0),
        1 => match telemetry.shutdown(Duration::from_millis(10)) {
            Ok(_) => 1,
            Err(error) => wrong(
                error.to_string().contains("forked")
                    && error.ledger().forked
                    && all_add_up(error.ledger()),
                2,
            ),
        },
        2 => {
            let snapshot = telemetry.snapshot();
            wrong(
                snapshot.ledger.forked && snapshot.to_string().contains("forked"),
                3,
            )
        }
        3 => wrong(telemetry.ledger().forked, 4),
        4 => {
            telemetry.flush();
            0
        }
        5 => {
            let incident = telemetry.incident(Incident::for_(Duration::from_secs(1)));
            wrong(matches!(incident, Err(IncidentError::NotRunning)), 5)
        }
        6 => {
            for incident in telemetry.incidents() {
                let _ = incident;
            }
            0
        }
        7 => {
            // It counts on: more than a ring of units, of a kind that the parent never had.
            for _ in 0..3000 {
                info_span!("childs").in_scope(|| {
                    let call = telemetry::call!("child.call");
                    call.sent(3);
                    info!("in the child");
                    error!("in the child");
                });
            }
            let snapshot = telemetry.snapshot();
            // If a thread was just making a kind, or entering a name, there is no further one.
            let named = snapshot.unit("childs").or(snapshot.unit("other"));
            let Some(unit) = named else { return 6 };
            match unit.count {
                3000 => wrong(
                    all_add_up(&snapshot.ledger)
                        && snapshot.ledger.events.dropped.contains_key("forked"),
                    7,
                ),
                _ => 8,
            }
        }
        8 => {
            // Its own threads take their places, and end.
            std::thread::scope(|threads| {
                for _ in 0..3 {
                    threads.spawn(|| info_span!("main").in_scope(|| ()));
                }
            });
            wrong(telemetry.ledger().forked, 9)
        }
        9 => {
            // One that builds its own is served.
            let out = Arc::new(Mutex::new(Vec::new()));
            let (layer, own) = Telemetry::builder()
                .export(Holds(Arc::clone(&out)))
                .build()
                .unwrap();
            tracing::dispatcher::with_default(&stack::dispatch(layer), || {
                info_span!("own").in_scope(|| ());
            });
            let ledger = own.shutdown(Duration::from_secs(10)).unwrap();
            wrong(!ledger.forked && ledger.units.kept == 1, 10)
        }
        10 => {
            // As a daemon does.
            let grandchild = child(|| {
                let _ = telemetry.snapshot();
                wrong(telemetry.ledger().forked, 11)
            });
            wrong(grandchild == End::Code(0), 12)
        }
        _ => {
            // SAFETY: the closure writes a word, between fork and exec.
            let status = unsafe {
                Command::new("true")
                    .pre_exec(|| {
                        info_span!("before exec").in_scope(|| info!("in the child"));
                        Ok(())
                    })
                    .status()
            };
            wrong(status.is_ok_and(|status| status.success()), 13)
        }
    }
}

const ACTIONS: usize = 12;
const ROUNDS: usize = 25;

#[test]
fn whichever_function_it_calls() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_millis(1))
        .event_rate(100_000.0, 1000)
        .trace_sample(0.1)
        .export(Holds(held))
        .export(export::json_lines(std::io::sink()))
        .build()
        .unwrap();
    let _ = tracing::dispatcher::set_global_default(stack::dispatch(layer));
    let (stop, units) = (AtomicBool::new(false), AtomicU64::new(0));
    let (telemetry, stop, units) = (&telemetry, &stop, &units);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !stop.load(Relaxed) {
                    info_span!("u").in_scope(|| {
                        drop(telemetry::call!("db.query"));
                        info!("x");
                    });
                    units.fetch_add(1, Relaxed);
                }
            });
        }
        threads.spawn(|| {
            while !stop.load(Relaxed) {
                let incident = telemetry.incident(Incident::for_(Duration::from_secs(5)));
                let _ = (telemetry.snapshot(), telemetry.ledger());
                if let Ok(incident) = incident {
                    telemetry.end_incident(incident);
                }
                telemetry.flush();
            }
        });
        info_span!("main").in_scope(|| ());
        let mut wrong = Vec::new();
        for number in 0..ROUNDS * ACTIONS {
            let end = child(|| act(number, telemetry));
            if end != End::Code(0) {
                wrong.push((number % ACTIONS, end));
            }
            // So that forks meet the threads in other places each time.
            (0..5_000 * (number % 17)).for_each(|_| std::hint::spin_loop());
        }
        stop.store(true, Relaxed);
        assert_eq!(wrong, []);
    });
    // The parent is none the worse for it.
    let ledger = telemetry.shutdown(Duration::from_secs(20)).unwrap();
    assert!(!ledger.forked && all_add_up(&ledger), "{ledger:?}");
    assert_eq!(ledger.units.kept, units.load(Relaxed) + 1);
    let _ = std::io::stdout().flush();
}
