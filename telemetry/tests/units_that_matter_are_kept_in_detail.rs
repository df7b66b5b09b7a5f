//! Which units become exemplars, for how many each stands, and what is in them.

mod written;

use serde_json::{Value, json};
use std::time::Duration;
use telemetry::SettableClock;
use tracing::{Span, debug_span, error, info, info_span};
use written::{builder, written};

/// `why`, first reason first, of all exemplars.
fn whys(exemplars: &[Value]) -> Vec<&str> {
    exemplars
        .iter()
        .map(|e| e["why"][0].as_str().unwrap())
        .collect()
}

fn weights(exemplars: &[Value]) -> f64 {
    exemplars
        .iter()
        .map(|e| e["weight"].as_f64().unwrap())
        .sum()
}

fn unit(fails: bool) {
    info_span!("request").in_scope(|| {
        if fails {
            error!("it failed");
        }
    });
}

#[test]
fn a_unit_that_is_like_the_others_is_not_kept() {
    let (written, ledger) = written(|b| b, |_| (0..5).for_each(|_| unit(false)));
    assert_eq!(written.of("exemplar").len(), 0);
    assert_eq!(
        (ledger.exemplars.seen, ledger.exemplars.sampled_out),
        (5, 5)
    );
}

#[test]
fn errors_are_kept_within_their_limit_and_stand_for_all_errors() {
    let clock = SettableClock::new();
    let (written, ledger) = written(
        |b| b.clock(&clock).error_rate(1e6, 100_000),
        |_| {
            for n in 0..1000 {
                unit(n % 2 == 0);
            }
            // After a second there is room for another, which stands for those before.
            clock.advance(Duration::from_millis(1200));
            unit(true);
        },
    );
    let exemplars = written.of("exemplar");
    assert_eq!(exemplars.len(), 6);
    assert!(whys(&exemplars).iter().all(|why| *why == "error"));
    assert_eq!(weights(&exemplars), 501.0);
    assert_eq!(ledger.exemplars.kept, exemplars.len() as u64);
    assert_eq!(ledger.exemplars.rate_limited, 501 - ledger.exemplars.kept);
    assert_eq!(ledger.exemplars.seen, 1001);
}

#[test]
fn a_storm_of_errors_does_not_starve_another_reason_or_kind() {
    let (written, _) = written(
        |b| b.budgets("[unit.large]\ncalls.\"db\".max = 1".parse().unwrap()),
        |_| {
            for _ in 0..1000 {
                unit(true);
            }
            info_span!("large").in_scope(|| {
                drop(telemetry::call!("db"));
                drop(telemetry::call!("db"));
            });
            info_span!("other kind").in_scope(|| error!("it failed"));
        },
    );
    let exemplars = written.of("exemplar");
    let of =
        |unit: &str| -> Vec<&Value> { exemplars.iter().filter(|e| e["unit"] == unit).collect() };
    assert_eq!(of("large")[0]["why"], json!(["over_budget"]));
    assert_eq!(of("other kind")[0]["why"], json!(["error"]));
}

#[test]
fn a_sample_is_drawn_and_stands_for_all_units() {
    let (written, _) = written(
        |b| b.trace_sample(0.25),
        |_| {
            for _ in 0..20 {
                unit(false);
            }
        },
    );
    let exemplars = written.of("exemplar");
    assert!(whys(&exemplars).iter().all(|why| *why == "sample"));
    for exemplar in &exemplars {
        assert!(exemplar["weight"].as_f64().unwrap() >= 4.0);
    }
    let all = written_with_everything();
    assert_eq!(weights(&all), 8.0);
}

fn written_with_everything() -> Vec<Value> {
    let (written, _) = written(|b| b.trace_sample(1.0), |_| (0..8).for_each(|_| unit(true)));
    let exemplars = written.of("exemplar");
    assert_eq!(exemplars[0]["why"], json!(["sample", "error"]));
    exemplars
}

#[test]
fn a_large_sample_does_not_starve_errors() {
    let (written, _) = written(
        |b| b.trace_sample(1.0),
        |_| (0..1000).for_each(|n| unit(n == 999)),
    );
    let exemplars = written.of("exemplar");
    let failed: Vec<_> = exemplars.iter().filter(|e| e["error"] == true).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["why"], json!(["error", "sample"]));
    assert_eq!(failed[0]["weight"], 1.0);
}

#[test]
fn threads_that_end_leave_their_detail_or_it_is_not_complete() {
    for (threads, complete) in [(4, true), (20, false)] {
        let (written, _) = written(
            |b| b.trace_sample(1.0),
            |_| {
                let span = info_span!("unit");
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                for n in 0..threads {
                    let (span, dispatch) = (span.clone(), dispatch.clone());
                    let work = move || {
                        let child = || info_span!(parent: &span, "child", n).in_scope(|| {});
                        tracing::dispatcher::with_default(&dispatch, child);
                    };
                    std::thread::spawn(work).join().unwrap();
                }
            },
        );
        let exemplar = &written.of("exemplar")[0];
        assert_eq!(exemplar["complete"], complete);
        let spans = exemplar["spans"].as_array().unwrap().len();
        assert_eq!(spans == threads + 1, complete, "{spans}");
    }
}

#[test]
fn a_value_that_cannot_be_formatted_harms_nobody() {
    struct Panics;
    impl std::fmt::Debug for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("a value that cannot be shown");
        }
    }
    let (written, ledger) = written(
        |b| b,
        |_| {
            let span = info_span!("unit", error = ?Panics, message = "said");
            span.record("message", 3);
            span.in_scope(|| error!(error = ?Panics, "worse"));
        },
    );
    assert_eq!((ledger.units.kept, ledger.units.seen), (1, 1));
    let exemplar = &written.of("exemplar")[0];
    assert_eq!(exemplar["error"], true);
    // What could not be shown is missing, and that is said.
    let fields = json!({ "message": 3, "…": true });
    assert_eq!(exemplar["spans"][0]["fields"], fields);
    assert_eq!(exemplar["events"][0]["fields"], json!({ "…": true }));
}

#[test]
fn what_is_slower_than_the_live_p99_of_its_kind_is_kept() {
    let clock = SettableClock::new();
    let sleep =
        |millis| info_span!("job").in_scope(|| clock.advance(Duration::from_millis(millis)));
    let (written, _) = written(
        |b| b.clock(&clock),
        |telemetry| {
            (0..150).for_each(|_| sleep(1));
            telemetry.flush();
            sleep(300);
        },
    );
    let exemplars = written.of("exemplar");
    let slowest = exemplars
        .iter()
        .max_by_key(|e| e["costs"]["wall"].as_u64())
        .unwrap();
    assert_eq!(slowest["why"], json!(["slow"]));
    assert_eq!(slowest["costs"]["wall"], 300_000_000);
}

#[test]
fn a_kind_that_is_rare_is_kept() {
    let (written, _) = written(
        |b| b,
        |telemetry| {
            (0..1000).for_each(|_| unit(false));
            info_span!("nightly").in_scope(|| {});
            telemetry.flush();
            unit(false);
            info_span!("nightly").in_scope(|| {});
            info_span!("never seen before").in_scope(|| {});
        },
    );
    let exemplars = written.of("exemplar");
    let whys = |unit: &str| -> Vec<&Value> {
        let of_unit = exemplars.iter().filter(|e| e["unit"] == unit);
        of_unit.map(|e| &e["why"]).collect()
    };
    assert_eq!(whys("nightly"), [&json!(["rare"])]);
    assert_eq!(whys("never seen before"), [&json!(["rare"])]);
    assert!(!whys("request").contains(&&json!(["rare"])));
}

#[test]
fn what_a_thread_is_in_it_is_in_once() {
    let clock = SettableClock::new();
    let pass = || clock.advance(Duration::from_millis(1));
    let (written, _) = written(
        |b| b.clock(&clock),
        |_| {
            let order = info_span!("order");
            let query = info_span!("query");
            order.in_scope(|| {
                // A stream that is instrumented with the span that its reader is in.
                for _ in 0..3000 {
                    order.in_scope(|| {});
                }
                order.in_scope(pass);
                pass();
                query.in_scope(|| order.in_scope(|| query.in_scope(pass)));
                error!("no stock");
            });
            order.in_scope(pass);
        },
    );
    let exemplars = written.of("exemplar");
    let order = &exemplars[0];
    assert_eq!(order["complete"], true);
    assert_eq!(order["costs"]["busy"], 4_000_000);
    let span = &order["spans"][0];
    assert_eq!(
        (&span["entries"], &span["busy_ns"]),
        (&2.into(), &4_000_000.into())
    );
}

#[test]
fn an_exemplar_has_the_tree_of_its_spans_and_what_was_logged_in_them() {
    let clock = SettableClock::new();
    let (written, _) = written(
        |b| b.clock(&clock),
        |_| {
            let order = info_span!("order", customer = "c-1", total = tracing::field::Empty);
            order.in_scope(|| {
                let query = info_span!("query", rows = 3);
                query.in_scope(|| {
                    clock.advance(Duration::from_millis(5));
                    info!(found = true, "looked up");
                });
                drop(query);
                Span::current().record("total", 12);
                clock.advance(Duration::from_millis(1));
                // On another thread, by an explicit parent.
                std::thread::scope(|threads| {
                    let (order, dispatch) = (
                        Span::current(),
                        tracing::dispatcher::get_default(Clone::clone),
                    );
                    threads.spawn(move || {
                        tracing::dispatcher::with_default(&dispatch, || {
                            info_span!(parent: &order, "elsewhere").in_scope(|| error!("no stock"));
                        });
                    });
                });
            });
            // Nothing that happens in another unit is in it.
            info_span!("other").in_scope(|| info!("something else"));
        },
    );
    let exemplars = written.of("exemplar");
    assert_eq!(exemplars.len(), 1);
    let order = &exemplars[0];
    assert_eq!(
        (&order["unit"], &order["complete"]),
        (&"order".into(), &true.into())
    );
    assert_eq!(order["costs"]["wakeups"], 2);
    let spans = order["spans"].as_array().unwrap();
    let shape: Vec<_> = spans
        .iter()
        .map(|s| {
            (
                s["name"].as_str().unwrap(),
                s["parent"].as_u64(),
                s["fields"].clone(),
            )
        })
        .collect();
    let order_fields = json!({ "customer": "c-1", "total": 12 });
    assert_eq!(
        shape,
        [
            ("order", None, order_fields),
            ("query", Some(0), json!({ "rows": 3 })),
            ("elsewhere", Some(0), json!({})),
        ]
    );
    let time = |n: usize, name: &str| spans[n][name].as_u64().unwrap();
    assert!(time(1, "busy_ns") >= 5_000_000);
    assert!(time(0, "start_ns") <= time(1, "start_ns") && time(1, "end_ns") <= time(0, "end_ns"));
    assert_eq!(time(0, "end_ns"), order["costs"]["wall"].as_u64().unwrap());
    let events = order["events"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0]["message"], &events[0]["span"]),
        (&"looked up".into(), &1.into())
    );
    assert_eq!(events[0]["fields"], json!({ "found": true }));
    assert_eq!(
        (&events[1]["level"], &events[1]["span"]),
        (&"ERROR".into(), &2.into())
    );
}

#[test]
fn detail_that_was_overwritten_is_told() {
    let busy = || {
        info_span!("long").in_scope(|| {
            (0..2000).for_each(|n| drop(info_span!("step", n).entered()));
            error!("at last");
        });
    };
    let (written, _) = written(|b| b.detail(4096), |_| busy());
    let exemplar = &written.of("exemplar")[0];
    assert_eq!(exemplar["complete"], false);
    let spans = exemplar["spans"].as_array().unwrap();
    assert!((5..128).contains(&spans.len()), "{}", spans.len());
    assert_eq!(spans.last().unwrap()["fields"]["n"], 1999);
    assert_eq!(exemplar["events"][0]["message"], "at last");
}

#[test]
fn without_detail_an_exemplar_is_its_costs() {
    let (written, _) = written(|b| b.detail(0), |_| unit(true));
    let exemplar = &written.of("exemplar")[0];
    assert_eq!(
        (&exemplar["spans"], &exemplar["events"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        (&exemplar["error"], &exemplar["complete"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn events_over_their_limit_are_in_an_exemplar_of_the_sample_in_full_and_else_as_a_mark() {
    let work = |_: &telemetry::Telemetry| {
        info_span!("unit").in_scope(|| {
            for n in 0..3 {
                info!(n, "counted");
            }
            error!("kept for this");
        });
    };
    for (probability, messages) in [(0.0, 1), (1.0, 3)] {
        let (written, _) = written(|b| b.event_rate(0.001, 1).trace_sample(probability), work);
        let exemplar = &written.of("exemplar")[0];
        let events = exemplar["events"].as_array().unwrap();
        assert_eq!(events.len(), 4);
        let counted = events.iter().filter(|e| e["message"] == "counted");
        assert_eq!(counted.count(), messages, "{events:?}");
    }
}

#[test]
fn spans_of_other_layers_are_in_the_tree_as_well() {
    use tracing_subscriber::prelude::*;
    let (builder, written) = builder();
    let (layer, telemetry) = builder.build().unwrap();
    struct Everything;
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Everything {}
    let subscriber = tracing_subscriber::registry().with(Everything).with(layer);
    tracing::subscriber::with_default(subscriber, || {
        info_span!("unit").in_scope(|| {
            debug_span!("not ours").in_scope(|| info_span!("ours").in_scope(|| error!("failed")));
        });
    });
    telemetry.shutdown(Duration::from_secs(10)).unwrap();
    let exemplar = &written.of("exemplar")[0];
    let names: Vec<_> = exemplar["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["unit", "not ours", "ours"]);
}

#[test]
fn what_the_output_has_no_room_for_is_counted_as_limited() {
    let (written, ledger) = written(
        |b| b.flush_every(Duration::from_secs(1)).max_output(2.0, 1e6),
        |telemetry| {
            (0..5).for_each(|_| unit(true));
            telemetry.flush();
        },
    );
    let kept = written.of("exemplar").len() as u64;
    assert!(kept < 5, "{kept}");
    let exemplars = &ledger.exemplars;
    assert_eq!(
        (exemplars.seen, exemplars.kept, exemplars.rate_limited),
        (5, kept, 5 - kept)
    );
}
