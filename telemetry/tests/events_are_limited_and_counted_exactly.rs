//! Events are written as far as their limits allow; what is not is counted to the last one.

mod patience;
mod written;

use patience::until;
use serde_json::json;
use std::sync::Barrier;
use std::time::Duration;
use telemetry::SettableClock;
use tracing::dispatcher::{set_default, with_default};
use tracing::{debug, error, info, info_span, warn};
use written::{builder, stack, sum, written};

#[test]
fn an_event_is_written_with_its_fields_and_its_unit() {
    let (written, ledger) = written(
        |b| b,
        |_| {
            info_span!("order").in_scope(|| {
                warn!(items = 3, total = 9.5, customer = %"c-1", paid = true, "placed {}", "late");
            });
            info!("outside");
        },
    );
    let events = written.of("event");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["message"], "placed late");
    assert_eq!(events[0]["level"], "WARN");
    assert_eq!(events[0]["unit"], "order");
    assert_eq!(events[0]["weight"], 1.0);
    let fields = json!({ "items": 3, "total": 9.5, "customer": "c-1", "paid": true });
    assert_eq!(events[0]["fields"], fields);
    let location = events[0]["location"].as_str().unwrap();
    assert!(location.contains("events_are_limited") && location.contains(".rs:"));
    assert_eq!(events[1]["unit"], serde_json::Value::Null);
    assert_eq!((ledger.events.kept, ledger.events.seen), (2, 2));
}

#[test]
fn levels_and_targets_are_chosen_by_a_filter() {
    let work = |_: &telemetry::Telemetry| {
        info!(target: "loud", "1");
        warn!(target: "loud", "2");
        debug!(target: "quiet", "3");
        info!(target: "other", "4");
        error!(target: "off", "5");
    };
    let messages = |filter: &'static str| -> Vec<String> {
        let (written, _) = written(|b| b.events(filter), work);
        let events = written.of("event");
        let messages = events
            .iter()
            .map(|e| e["message"].as_str().unwrap().to_owned());
        let mut messages: Vec<_> = messages.collect();
        messages.sort();
        messages
    };
    assert_eq!(messages("info"), ["1", "2", "4", "5"]);
    assert_eq!(messages("warn,quiet=debug,off=off"), ["2", "3"]);
    assert_eq!(messages("off"), Vec::<String>::new());
}

/// From one call site.
fn one(n: u64) {
    info!(n, "one of many");
}

#[test]
fn two_million_events_in_a_second_are_some_records_and_an_exact_count() {
    const EACH: u64 = 1_000_000;
    let (builder, written) = builder();
    let clock = SettableClock::new();
    let builder = builder.clock(&clock).event_rate(10.0, 20);
    let (layer, telemetry) = builder.build().unwrap();
    let subscriber = stack::dispatch(layer);
    with_default(&subscriber, || {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let together = Barrier::new(2);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    together.wait();
                    // Half a millionth of a second for each.
                    let storm = |n: u64| {
                        one(n);
                        if n % 2000 == 0 {
                            clock.advance(Duration::from_micros(500 * 2));
                        }
                    };
                    with_default(&dispatch, || (0..EACH).for_each(storm));
                });
            }
        });
    });
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    let kept = ledger.events.kept;
    assert_eq!(ledger.events.seen, 2 * EACH);
    assert_eq!(ledger.events.rate_limited, 2 * EACH - kept);
    // 20 at once, and 10 in the second that passes.
    assert!((29..=31).contains(&kept), "{kept}");
    assert_eq!(written.of("event").len() as u64, kept);
    let suppressed = written.of("suppressed");
    assert_eq!(suppressed.len(), 1, "{suppressed:?}");
    assert_eq!(sum(&suppressed, "count") + kept, 2 * EACH);
    let time = |name: &str| suppressed[0][name].as_str().unwrap().to_owned();
    assert!(time("first") <= time("last") && time("last") <= time("ts"));
}

#[test]
fn suppressed_counts_go_on_from_record_to_record_and_outlive_their_threads() {
    let (written, ledger) = written(
        |b| b.event_rate(0.001, 1),
        |telemetry| {
            for round in 1..=3 {
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                std::thread::scope(|threads| {
                    threads.spawn(|| {
                        let work = || (0..100 * round).for_each(one);
                        tracing::dispatcher::with_default(&dispatch, work);
                    });
                });
                telemetry.flush();
            }
        },
    );
    let suppressed = written.of("suppressed");
    let counts: Vec<_> = suppressed
        .iter()
        .map(|s| s["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [99, 200, 300]);
    assert!(suppressed[0]["last"].as_str() <= suppressed[1]["first"].as_str());
    assert_eq!((ledger.events.kept, ledger.events.rate_limited), (1, 599));
}

#[test]
fn a_storm_of_one_call_site_or_level_leaves_the_others_their_share() {
    let (written, _) = written(
        |b| b.event_rate(1.0, 5).error_rate(1.0, 50),
        |_| {
            info_span!("unit").in_scope(|| {
                for n in 0..1000 {
                    one(n);
                    error!(n, "failed");
                }
                info!("still here");
            });
        },
    );
    let events = written.of("event");
    let count = |message: &str| events.iter().filter(|e| e["message"] == message).count();
    assert!((5..=8).contains(&count("one of many")));
    assert!((50..=53).contains(&count("failed")));
    assert_eq!(count("still here"), 1);
    assert_eq!(written.of("unit")[0]["errors"], 1);
}

#[test]
fn many_call_sites_together_keep_the_limit_of_the_output_and_say_which_share_it_was() {
    // Each call site is within its own limit; together they are not.
    let clock = SettableClock::new();
    let (written, ledger) = written(
        |b| {
            let b = b.clock(&clock).event_rate(1e9, 1_000_000);
            b.max_output(100.0, 1e6)
        },
        |telemetry| {
            for _ in 0..4 {
                for _ in 0..500 {
                    (0..20).for_each(one);
                    clock.advance(Duration::from_micros(2200));
                }
                telemetry.flush();
            }
        },
    );
    let events = written.of("event");
    assert_eq!(events.len() as u64, ledger.events.kept);
    // The first flush may write what is allowed in an interval, which is long here.
    assert!(ledger.event_probability.unwrap() < 0.2, "{ledger:?}");
    assert!(ledger.events.sampled_out > 0);
    let seen: f64 = events.iter().map(|e| e["weight"].as_f64().unwrap()).sum();
    let unwritten = (ledger.events.rate_limited + ledger.events.dropped_total()) as f64;
    let estimated = (seen + unwritten) / ledger.events.seen as f64;
    assert!((0.8..1.2).contains(&estimated), "{estimated} {ledger:?}");
    let suppressed = sum(&written.of("suppressed"), "count");
    assert_eq!(suppressed + ledger.events.kept, ledger.events.seen);
}

#[test]
fn a_queue_that_is_full_loses_events_with_a_reason() {
    let (written, ledger) = written(
        |b| b.event_rate(1e9, 1_000_000),
        |_| (0..10_000).for_each(one),
    );
    assert_eq!(ledger.events.seen, 10_000);
    // A quarter of the queue is for ERROR events and exemplars.
    assert_eq!(ledger.events.kept, 3072);
    assert_eq!(ledger.events.dropped["queue_full"], 10_000 - 3072);
    assert_eq!(sum(&written.of("suppressed"), "count"), 10_000 - 3072);
}

#[test]
fn a_storm_of_many_sites_and_summaries_hides_no_first_error() {
    // One record a second, of which the unit's summary and the ledger take more than all.
    let clock = SettableClock::new();
    let (written, _) = written(
        |b| {
            b.clock(&clock)
                .event_rate(1e9, 100_000)
                .error_rate(1e9, 100_000)
                .max_output(4.0, 1e6)
        },
        |telemetry| {
            telemetry.flush();
            for _ in 0..3 {
                clock.advance(Duration::from_millis(1100));
                info_span!("a").in_scope(|| {});
                info_span!("b").in_scope(|| {});
                info_span!("c").in_scope(|| {});
                for n in 0..500 {
                    error!(n, "storm");
                    one(n);
                }
                error!("once");
                telemetry.flush();
            }
        },
    );
    let events = written.of("event");
    let count = |message: &str| events.iter().filter(|e| e["message"] == message).count();
    assert!(count("once") >= 3, "{}", count("once"));
}

#[test]
fn what_no_exporter_took_is_told_again_or_lost_with_a_reason() {
    use telemetry::export::{Exporter, Flush};

    struct FailsFirst(written::Written, bool);
    impl Exporter for FailsFirst {
        fn name(&self) -> &str {
            "fails_first"
        }

        fn export(&mut self, flush: &Flush<'_>) -> std::io::Result<u64> {
            if !std::mem::replace(&mut self.1, true) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            self.0.export(flush)
        }
    }
    let written = written::Written::default();
    let (layer, telemetry) = telemetry::Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .event_rate(0.001, 10)
        .budgets("[unit.ghost]\nallocs.max = 1".parse().unwrap())
        .export(FailsFirst(written.clone(), false))
        .build()
        .unwrap();
    let _guard = set_default(&stack::dispatch(layer));
    for _ in 0..2 {
        info_span!("unit").in_scope(|| (0..100).for_each(one));
        telemetry.flush();
    }
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(ledger.events.kept, 0);
    assert_eq!(ledger.events.dropped["write_failed"], 10);
    assert_eq!(ledger.events.seen, 200);
    assert_eq!(sum(&written.of("suppressed"), "count"), 190);
    assert_eq!(written.of("finding").len(), 1);
}

#[test]
fn call_sites_that_suppress_wake_the_writer_by_themselves() {
    let (builder, written) = builder();
    let clock = SettableClock::new();
    let (layer, telemetry) = builder
        .clock(&clock)
        .event_rate(1e-6, 1)
        .flush_every(Duration::from_secs(1))
        .build()
        .unwrap();
    let _guard = set_default(&stack::dispatch(layer));
    one(0);
    telemetry.flush();
    (0..100).for_each(one);
    until(|| {
        clock.advance(Duration::from_secs(1));
        !written.of("suppressed").is_empty()
    });
    assert_eq!(sum(&written.of("suppressed"), "count"), 100);
}

#[test]
fn events_after_the_end_are_lost_with_a_reason() {
    let (builder, _) = builder();
    let (layer, telemetry) = builder.build().unwrap();
    let _guard = set_default(&stack::dispatch(layer));
    telemetry.shutdown(Duration::from_secs(10)).unwrap();
    info!("too late");
    let ledger = telemetry.ledger();
    assert_eq!(ledger.events.dropped["shut_down"], 1);
    assert_eq!(ledger.events.seen, 1);
}

#[test]
fn without_an_exporter_no_event_is_looked_at() {
    let (layer, telemetry) = telemetry::Telemetry::builder().build().unwrap();
    let _guard = set_default(&stack::dispatch(layer));
    info_span!("unit").in_scope(|| {
        info!("nobody reads this");
        error!("nor this, but it is counted");
    });
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.ledger.events.seen, 0);
    assert_eq!(snapshot.ledger.event_probability, None);
    assert_eq!(snapshot.unit("unit").unwrap().errors, 1);
}
