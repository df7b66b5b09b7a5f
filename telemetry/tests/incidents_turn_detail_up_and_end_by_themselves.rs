//! Incidents: what they raise, within which scope, until when, and what they say of it.
#![cfg(feature = "profile")]

mod patience;
mod written;

use patience::until;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use telemetry::{Budgets, Incident, IncidentError, SettableClock, Telemetry, Trigger};
use tracing::{info, info_span};
use written::{Written, builder, written};

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

/// There is one heap profiler in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const MINUTE: Duration = Duration::from_secs(60);

/// For a minute, whatever it takes: a debug build on a busy machine takes more than its share.
fn a_minute() -> Incident {
    Incident::for_(MINUTE).max_cpu(1.0)
}

fn pay(user: u64) {
    info_span!("pay", user).in_scope(|| info!("paid"));
}

fn browse() {
    info_span!("browse").in_scope(|| info!("looked"));
}

fn why_has_incident(exemplar: &Value) -> bool {
    let why = exemplar["why"].as_array().unwrap();
    why.iter().any(|why| why == "incident")
}

fn incident_exemplars(written: &Written, unit: &str) -> usize {
    let exemplars = written.of("exemplar");
    // There may be another reason, too, which comes first: a kind that had no units in an interval is
    // rare.
    let of = |e: &&Value| e["unit"] == unit && why_has_incident(e);
    exemplars.iter().filter(of).count()
}

#[test]
fn a_kind_that_is_seen_for_the_first_time_is_in_it() {
    for scope in ["", "&unit=cold", "&unit=other"] {
        let _alone = alone();
        let (written, _) = written(
            |builder| builder,
            |telemetry| {
                let text = format!("for=60s&max_cpu=1{scope}");
                telemetry.incident(text.parse().unwrap()).unwrap();
                (0..20).for_each(|_| info_span!("cold").in_scope(|| ()));
            },
        );
        let kept = incident_exemplars(&written, "cold");
        assert_eq!(kept, if scope == "&unit=other" { 0 } else { 20 }, "{scope}");
    }
}

/// Waits until the incident is over.
fn ended(telemetry: &Telemetry) -> telemetry::export::IncidentRecord {
    let mut ended = None;
    until(|| {
        let known = telemetry.incidents();
        ended = known.into_iter().rfind(|record| record.phase == "end");
        ended.is_some()
    });
    ended.unwrap()
}

#[test]
fn units_within_the_scope_are_kept_and_others_are_not() {
    let (written, _) = written(
        |b| b,
        |telemetry| {
            (0..10).for_each(pay);
            (0..10).for_each(|_| browse());
            let incident = a_minute().unit("pay").who("me").why("to see");
            let id = telemetry.incident(incident).unwrap();
            (0..10).for_each(pay);
            (0..10).for_each(|_| browse());
            assert!(telemetry.end_incident(id));
            telemetry.flush();
            assert!(!telemetry.end_incident(id), "it is over");
            let other = telemetry.incident(a_minute()).unwrap();
            assert!(telemetry.end_incident(other) && !telemetry.end_incident(other));
            (0..10).for_each(pay);
        },
    );
    assert_eq!(incident_exemplars(&written, "pay"), 10);
    assert_eq!(incident_exemplars(&written, "browse"), 0);
    let records = written.of("incident");
    let [begin, end, ..] = &records[..] else {
        panic!("{records:?}");
    };
    for record in [begin, end] {
        assert_eq!(record["who"], "me");
        assert_eq!(record["why"], "to see");
        assert_eq!(record["scope"]["unit"], "pay");
        assert_eq!(record["ttl_seconds"], 60.0);
    }
    assert_eq!(begin["phase"], "begin");
    assert_eq!(begin["end"], Value::Null);
    assert_eq!(end["end"]["by"], "request");
    // Those kept for another reason are not its cost.
    assert!(end["end"]["cost"]["exemplars"].as_u64().unwrap() >= 9);
    assert!(end["end"]["cost"]["bytes"].as_u64().unwrap() > 1000);
}

#[test]
fn a_scope_of_fields_is_kept_to() {
    let (written, _) = written(
        |b| b,
        |telemetry| {
            let incident = a_minute().field("user", "7");
            // The kind is not known yet: it is when the incident is looked at again.
            pay(7);
            let id = telemetry.incident(incident).unwrap();
            (0..10).for_each(pay);
            browse();
            telemetry.end_incident(id);
            telemetry.flush();
            (0..10).for_each(pay);
        },
    );
    assert_eq!(incident_exemplars(&written, "pay"), 1);
    assert_eq!(incident_exemplars(&written, "browse"), 0);
    let exemplars = written.of("exemplar");
    let kept = exemplars.iter().find(|e| why_has_incident(e)).unwrap();
    assert_eq!(kept["spans"][0]["fields"]["user"], 7);
}

#[test]
fn a_field_that_is_named_like_a_word_of_the_language_is_meant_by_what_is_written_for_it() {
    let sell = |kind: u64| drop(info_span!("sell", r#type = kind, order.r#match = 1).entered());
    let text = |kind: u64| drop(info_span!("text", "r#type" = kind).entered());
    let (written, _) = written(
        |b| b,
        |telemetry| {
            sell(0);
            text(0);
            let scope = "for=60s&unit=sell&field.r#type=7&field.order.r#match=1";
            telemetry.incident(scope.parse().unwrap()).unwrap();
            let scope = "for=60s&unit=text&field.r#type=8";
            telemetry.incident(scope.parse().unwrap()).unwrap();
            (0..10).for_each(sell);
            (0..10).for_each(text);
        },
    );
    assert_eq!(incident_exemplars(&written, "sell"), 1);
    assert_eq!(incident_exemplars(&written, "text"), 1);
}

#[test]
fn a_kind_that_is_new_is_within_the_scope_soon() {
    let clock = SettableClock::new();
    let (written, _) = written(
        |b| b.clock(&clock),
        |telemetry| {
            let id = telemetry.incident(a_minute()).unwrap();
            for _ in 0..150 {
                info_span!("new").in_scope(|| ());
                clock.advance(Duration::from_millis(10));
            }
            telemetry.end_incident(id);
        },
    );
    assert!(incident_exemplars(&written, "new") > 10);
}

#[test]
fn events_of_units_within_the_scope_pass_their_limits() {
    let storm = |unit: bool| {
        let work = || (0..50).for_each(|n| info!(n, "storm"));
        match unit {
            true => info_span!("pay").in_scope(work),
            false => info_span!("browse").in_scope(work),
        }
    };
    let (written, ledger) = written(
        |b| b.event_rate(0.001, 1),
        |telemetry| {
            storm(true);
            storm(false);
            let incident = a_minute().unit("pay");
            let id = telemetry.incident(incident).unwrap();
            storm(true);
            storm(false);
            telemetry.end_incident(id);
            telemetry.flush();
            storm(true);
        },
    );
    let events = written.of("event");
    let of = |unit: &str| events.iter().filter(|e| e["unit"] == unit).count();
    assert_eq!((of("pay"), of("browse")), (51, 0));
    assert_eq!(ledger.events.kept, 51);
    assert_eq!(written.of("incident")[1]["end"]["cost"]["events"], 50);
}

#[test]
fn it_ends_by_itself_although_who_started_it_is_gone_and_nothing_happens() {
    let (builder, written) = builder();
    let clock = SettableClock::new();
    let (_layer, telemetry) = builder.clock(&clock).build().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            telemetry
                .incident(Incident::for_(Duration::from_millis(100)))
                .unwrap()
        });
    });
    clock.advance(Duration::from_millis(99));
    assert!(telemetry.incidents()[0].end.is_none());
    clock.advance(Duration::from_millis(1));
    let record = ended(&telemetry);
    let end = record.end.unwrap();
    assert_eq!(end.by, "ttl");
    assert_eq!(end.seconds, 0.1);
    // Both are written at once, not at the end of a flush interval of an hour.
    until(|| written.of("incident").len() == 2);
}

#[test]
fn what_cannot_be_is_refused_and_says_why() {
    let _alone = alone();
    let (builder, _written) = builder();
    let (_layer, telemetry) = builder.max_incident(MINUTE).build().unwrap();
    for ttl in [Duration::ZERO, MINUTE + Duration::from_nanos(1)] {
        let refused = telemetry.incident(Incident::for_(ttl)).unwrap_err();
        assert!(matches!(
            refused,
            IncidentError::Ttl {
                longest: MINUTE,
                ..
            }
        ));
    }
    for share in [0.0, 1.1, f64::NAN] {
        let refused = telemetry.incident(Incident::for_(MINUTE).max_cpu(share));
        assert!(matches!(refused, Err(IncidentError::Cpu(_))));
    }
    let refused = telemetry.incident(a_minute().heap(0)).unwrap_err();
    assert!(
        refused.to_string().contains("a mean of 0 bytes"),
        "{refused}"
    );
    let ids: Vec<_> = (0..8)
        .map(|_| telemetry.incident(a_minute()).unwrap())
        .collect();
    let refused = telemetry.incident(a_minute()).unwrap_err();
    assert_eq!(refused, IncidentError::TooMany(8));
    for id in ids {
        assert!(telemetry.end_incident(id));
    }
    telemetry.flush();
    telemetry.incident(a_minute()).unwrap();
    telemetry.shutdown(Duration::from_secs(5)).unwrap();
    let refused = telemetry.incident(a_minute()).unwrap_err();
    assert_eq!(refused, IncidentError::NotRunning);
    assert_eq!(
        telemetry
            .incidents()
            .last()
            .unwrap()
            .end
            .as_ref()
            .unwrap()
            .by,
        "shutdown"
    );
    let refused = Telemetry::builder()
        .trigger(Trigger::over_budget(0.5), Incident::for_(Duration::MAX))
        .build();
    assert!(refused.unwrap_err().to_string().contains("max_incident"));
}

#[cfg(feature = "profile")]
#[inline(never)]
fn spawned_and_not_followed() {
    for _ in 0..2000 {
        drop(std::hint::black_box(vec![1u8; 1000]));
    }
}

#[inline(never)]
fn leaks() -> Vec<Vec<u8>> {
    (0..400).map(|_| vec![1; 5000]).collect()
}

#[test]
fn the_heap_is_profiled_meanwhile_and_the_culprit_named() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    let (written, _) = written(
        |b| b.service("a shop/1").incident_directory(directory.path()),
        |telemetry| {
            kept.push(info_span!("pay").in_scope(leaks));
            let id = telemetry.incident(a_minute().heap(1024)).unwrap();
            let samples = alloc_tracker::profiler::info().samples;
            kept.push(info_span!("pay").in_scope(leaks));
            assert!(alloc_tracker::profiler::info().samples > samples);
            assert!(alloc_tracker::profiler::is_running());
            // Nobody takes the unit along.
            std::thread::spawn(spawned_and_not_followed).join().unwrap();
            assert_eq!(telemetry.files(id), []);
            telemetry.end_incident(id);
            telemetry.flush();
            assert!(!alloc_tracker::profiler::is_running());
            // By a handle, for a route of three lines.
            let files = telemetry.handle().files(id).unwrap();
            let read = |(name, bytes): &(String, Vec<u8>)| {
                assert_eq!(&std::fs::read(directory.path().join(name)).unwrap(), bytes);
                name.split_once("-incident-1").unwrap().1.to_owned()
            };
            let names: Vec<_> = files.iter().map(read).collect();
            assert_eq!(names, [".heap.pb.gz", ".growth.svg", ".growth.json"]);
            assert_eq!(telemetry.files(7.into()), []);
            kept.push(info_span!("pay").in_scope(leaks));
        },
    );
    let end = written.of("incident")[1]["end"].clone();
    let heap = &end["heap"];
    assert_eq!(heap["error"], Value::Null);
    let first = &heap["grew"][0];
    assert_eq!(first["unit"], "pay");
    assert!(first["site"].as_str().unwrap().contains("leaks"), "{first}");
    let grown = first["inuse_bytes"].as_f64().unwrap();
    assert!((grown - 2e6).abs() < 5e5, "{grown}");
    assert!(end["cost"]["heap_samples"].as_u64().unwrap() > 300);
    assert!(end["cost"]["cpu_seconds"].as_f64().unwrap() > 0.0);
    let outside = &heap["outside"][0];
    assert_eq!(outside["unit"], Value::Null);
    let site = outside["site"].as_str().unwrap();
    assert!(site.contains("spawned_and_not_followed"), "{outside}");
    let files = heap["files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    for (file, ends) in files
        .iter()
        .zip([".heap.pb.gz", ".growth.svg", ".growth.json"])
    {
        let file = file.as_str().unwrap();
        assert!(file.ends_with(ends) && file.contains("a_shop_1"), "{file}");
        assert!(std::fs::metadata(file).unwrap().len() > 100);
    }
}

#[test]
fn incidents_may_overlap_and_the_finest_rate_counts() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let mean = alloc_tracker::profiler::mean_bytes;
    let (written, _) = written(
        |b| b.incident_directory(directory.path()),
        |telemetry| {
            pay(0);
            browse();
            let of = |unit: &str| a_minute().unit(unit);
            let coarse = telemetry.incident(of("pay").heap(1 << 20)).unwrap();
            assert_eq!(mean(), Some(1 << 20));
            let fine = telemetry.incident(of("browse").heap(1 << 16)).unwrap();
            assert_eq!(mean(), Some(1 << 16));
            pay(1);
            browse();
            telemetry.end_incident(fine);
            telemetry.flush();
            assert_eq!(mean(), Some(1 << 20));
            pay(2);
            browse();
            telemetry.end_incident(coarse);
            telemetry.flush();
            assert_eq!(mean(), None);
        },
    );
    assert_eq!(incident_exemplars(&written, "pay"), 2);
    assert_eq!(incident_exemplars(&written, "browse"), 1);
}

#[test]
fn a_directory_that_is_not_there_is_told_and_nothing_else_is_lost() {
    let _alone = alone();
    let (written, ledger) = written(
        |b| b.incident_directory("/nowhere/at/all"),
        |telemetry| {
            telemetry.incident(a_minute().heap(1 << 20)).unwrap();
            pay(1);
        },
    );
    let heap = &written.of("incident")[1]["end"]["heap"];
    assert!(heap["error"].as_str().unwrap().contains("/nowhere/at/all"));
    let files = heap["files"].as_array().unwrap();
    assert_eq!(files.len(), 3, "among the temporary files");
    for file in files {
        std::fs::remove_file(file.as_str().unwrap()).unwrap();
    }
    assert_eq!(ledger.units.kept, 1);
}

#[test]
fn an_incident_sheds_what_is_more_than_its_share() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let clock = SettableClock::new();
    let (written, _) = written(
        |b| b.clock(&clock).incident_directory(directory.path()),
        |telemetry| {
            pay(0);
            let incident = a_minute().heap(1).max_cpu(0.001).max_bytes(2000);
            let id = telemetry.incident(incident).unwrap();
            // In each second, as time passes here, far more than a millisecond of samples.
            for _ in 0..4 {
                for _ in 0..20 {
                    pay(1);
                    (0..1000).for_each(|n| drop(std::hint::black_box(vec![1u8; n])));
                }
                clock.advance(Duration::from_secs(1));
                telemetry.flush();
            }
            assert!(alloc_tracker::profiler::mean_bytes() >= Some(2));
            // It is looked at once a second.
            clock.advance(Duration::from_millis(1100));
            telemetry.flush();
            (0..10).for_each(|_| pay(99));
            telemetry.flush();
            telemetry.end_incident(id);
        },
    );
    let cost = &written.of("incident")[1]["end"]["cost"];
    assert!(cost["shed"].as_u64().unwrap() >= 2, "{cost}");
    let exemplars = written.of("exemplar");
    let late = |e: &&Value| e["spans"][0]["fields"]["user"] == 99 && why_has_incident(e);
    assert_eq!(
        exemplars.iter().filter(late).count(),
        0,
        "its bytes are used up"
    );
    assert!(incident_exemplars(&written, "pay") > 0);
}

#[test]
fn a_trigger_begins_one_at_the_flush_that_sees_its_condition() {
    let budgets: Budgets = "[unit.pay]\nallocs.max = 0\n".parse().unwrap();
    let (written, _) = written(
        |b| {
            b.budgets(budgets)
                .trigger(Trigger::over_budget(0.5), a_minute().unit("pay"))
        },
        |telemetry| {
            browse();
            telemetry.flush();
            assert!(telemetry.incidents().is_empty());
            for _ in 0..3 {
                info_span!("pay").in_scope(|| drop(std::hint::black_box(vec![1u8; 100])));
                telemetry.flush();
                assert_eq!(
                    telemetry.incidents().len(),
                    1,
                    "once, until it has cooled down"
                );
            }
        },
    );
    let begin = &written.of("incident")[0];
    assert_eq!(begin["who"], "trigger");
    let why = begin["why"].as_str().unwrap();
    assert!(
        why.starts_with("pay: allocs.max is over its budget"),
        "{why}"
    );
    // The first was over its budget before the incident began.
    assert!(incident_exemplars(&written, "pay") + 3 >= 2);
}

#[test]
fn memory_that_grows_begins_one() {
    let _alone = alone();
    let mut kept = Vec::new();
    let (_, _) = written(
        |b| {
            b.trigger(
                Trigger::live_bytes_grow(10 << 20).for_intervals(2),
                a_minute(),
            )
        },
        |telemetry| {
            for (round, grows) in [false, true, false, true, true].into_iter().enumerate() {
                if grows {
                    kept.push(vec![1u8; 20 << 20]);
                }
                pay(1);
                telemetry.flush();
                assert_eq!(
                    telemetry.incidents().len(),
                    usize::from(round == 4),
                    "{round}"
                );
            }
            assert!(
                telemetry.incidents()[0]
                    .why
                    .contains("live bytes grew by 2")
            );
        },
    );
}

#[cfg(all(feature = "signal", target_os = "linux"))]
#[test]
fn a_signal_begins_one_in_an_idle_service() {
    let (builder, _written) = builder();
    let incident = a_minute().why("kill -USR2");
    let (_layer, telemetry) = builder
        .incident_on_signal(signal_hook::consts::SIGUSR2, incident)
        .build()
        .unwrap();
    signal_hook::low_level::raise(signal_hook::consts::SIGUSR2).unwrap();
    until(|| !telemetry.incidents().is_empty());
    let record = &telemetry.incidents()[0];
    assert_eq!(
        (record.who.as_str(), record.why.as_str()),
        ("signal", "kill -USR2")
    );
    let refused = Telemetry::builder()
        .incident_on_signal(signal_hook::consts::SIGKILL, a_minute())
        .build();
    assert!(refused.unwrap_err().to_string().contains("signal 9"));
}

/// An exporter that never comes back until it is let go.
struct Blocked(std::sync::mpsc::Receiver<()>);

impl telemetry::export::Exporter for Blocked {
    fn name(&self) -> &str {
        "blocked"
    }

    fn export(&mut self, _: &telemetry::export::Flush<'_>) -> std::io::Result<u64> {
        let _ = self.0.recv();
        Ok(0)
    }
}

#[test]
fn it_is_over_in_time_though_the_background_thread_is_held_up() {
    let (let_go, held) = std::sync::mpsc::channel();
    let clock = SettableClock::new();
    let (layer, telemetry) = Telemetry::builder()
        .clock(&clock)
        .flush_every(Duration::from_secs(3600))
        .trace_sample(0.0)
        .event_rate(0.001, 1)
        .export(Blocked(held))
        .build()
        .unwrap();
    let subscriber =
        tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
    tracing::subscriber::with_default(subscriber, || {
        pay(0);
        // Its own begin is what the exporter is stuck with.
        let incident = Incident::for_(Duration::from_millis(300)).max_cpu(1.0);
        telemetry.incident(incident).unwrap();
        (0..10).for_each(pay);
        clock.advance(Duration::from_millis(400));
        assert!(
            telemetry.incidents()[0].end.is_none(),
            "nobody has attended to it"
        );
        (0..10).for_each(pay);
    });
    drop(let_go);
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(ledger.exemplars.kept, 10, "those of its time");
    // One is within the limit of its call site, and ten pass for the incident.
    assert_eq!(ledger.events.kept, 11);
}

#[test]
fn an_incident_ends_its_detail_when_its_bytes_are_used_up_whatever_it_takes_of_the_processor() {
    let _alone = alone();
    let clock = SettableClock::new();
    let (written, _) = written(
        |b| b.clock(&clock),
        |telemetry| {
            let id = telemetry.incident(a_minute().max_bytes(2000)).unwrap();
            for user in [1, 99] {
                (0..10).for_each(|_| pay(user));
                telemetry.flush();
                clock.advance(Duration::from_millis(1100));
                telemetry.flush();
            }
            telemetry.end_incident(id);
        },
    );
    let of = |user: u64| {
        let exemplars = written.of("exemplar").into_iter();
        let for_it = exemplars.filter(|e| e["spans"][0]["fields"]["user"] == user);
        for_it.filter(why_has_incident).count()
    };
    assert!(of(1) > 0);
    assert_eq!(of(99), 0);
}
