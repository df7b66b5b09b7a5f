//! A span's fields tell kinds of unit apart: routes of a server, not its spans.

mod written;

use alloc_tracker::AllocTracker;
use std::fmt;
use std::time::Duration;
use telemetry::{BuildError, Builder, Lean, Snapshot, Telemetry};
use tracing::field::Empty;
use tracing::{Dispatch, debug_span, info, info_span};
use tracing_subscriber::prelude::*;
use written::Written;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

/// Does `work` in a plain subscriber and in a lean one, which must say the same.
fn both(configure: impl Fn(Builder) -> Builder, work: impl Fn(&Telemetry)) -> (Snapshot, Written) {
    let in_stack = |is_lean: bool| {
        let (builder, written) = written::builder();
        let (layer, telemetry) = configure(builder).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let dispatch = match is_lean {
            true => Dispatch::new(Lean::new(subscriber)),
            false => Dispatch::new(subscriber),
        };
        tracing::dispatcher::with_default(&dispatch, || work(&telemetry));
        let snapshot = telemetry.snapshot();
        let _ = telemetry.shutdown(Duration::from_secs(10)).unwrap();
        (snapshot, written)
    };
    let (plain, written) = in_stack(false);
    let (lean, _) = in_stack(true);
    assert_eq!(counts(&plain), counts(&lean));
    (plain, written)
}

/// How many units there were of each kind, in the order of their names.
fn counts(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    let mut counts: Vec<(&str, u64)> = snapshot.units.iter().map(|u| (&*u.unit, u.count)).collect();
    counts.sort_unstable();
    assert!(
        snapshot.units.iter().all(|unit| unit.in_flight == 0),
        "{snapshot:?}"
    );
    counts
}

/// As `tower_http::trace::DefaultMakeSpan` has it.
fn request(method: &str, uri: &str) -> tracing::Span {
    info_span!("request", method = %method, uri = %uri, version = ?1.1)
}

#[test]
fn six_routes_are_six_kinds_whatever_their_ids_and_queries() {
    let (snapshot, written) = both(
        |builder| builder.trace_sample(1.0),
        |_| {
            for id in 0..10 {
                for (method, uri) in [
                    ("GET", "/".to_owned()),
                    ("GET", format!("/books/{id}")),
                    ("PUT", format!("/books/{id}?now={id}")),
                    ("GET", format!("/books/{id}/pages/{}", id * 7)),
                    ("POST", format!("http://shop.test/orders?by=user{id}")),
                    ("GET", "/v1/health".to_owned()),
                ] {
                    request(method, &uri).in_scope(|| info!("handled"));
                }
            }
        },
    );
    let expected = [
        ("request GET /", 10),
        ("request GET /books/{id}", 10),
        ("request GET /books/{id}/pages/{id}", 10),
        ("request GET /v1/health", 10),
        ("request POST /orders", 10),
        ("request PUT /books/{id}", 10),
    ];
    assert_eq!(counts(&snapshot), expected);
    let books = snapshot.unit("request PUT /books/{id}").unwrap();
    assert_eq!(books.class.as_deref(), Some("PUT /books/{id}"));
    assert_eq!(snapshot.unit("request").unwrap().span_name(), "request");
    for record in ["unit", "exemplar", "event"] {
        let units = written.of(record);
        let named = |name: &str| units.iter().any(|record| record["unit"] == name);
        assert!(
            named("request POST /orders") && !named("request"),
            "{record}: {units:?}"
        );
    }
}

#[test]
fn a_route_may_come_after_the_span_has_begun_and_fields_of_inner_spans_say_nothing() {
    let (snapshot, _) = both(
        |builder| builder,
        |telemetry| {
            for id in 0..5 {
                let span = info_span!(
                    "HTTP request",
                    http.method = "GET",
                    http.route = Empty,
                    status = Empty
                );
                span.in_scope(|| {
                    let now = telemetry.snapshot();
                    let waiting = now.unit("HTTP request GET").unwrap();
                    assert_eq!(waiting.in_flight, 1);
                    info_span!("query", otel.name = "SELECT", job = "inner").in_scope(|| ());
                    if id > 0 {
                        span.record("http.route", "/books/{id}");
                    }
                    span.record("status", 200);
                    let name = if id > 0 {
                        "HTTP request GET /books/{id}"
                    } else {
                        "HTTP request GET"
                    };
                    assert_eq!(telemetry.snapshot().unit(name).unwrap().in_flight, 1);
                });
            }
        },
    );
    let expected = [("HTTP request GET", 1), ("HTTP request GET /books/{id}", 4)];
    assert_eq!(counts(&snapshot), expected);
}

#[test]
fn what_is_inside_a_unit_takes_no_room_from_kinds_nor_is_it_asked_for_its_class() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static FORMATTED: AtomicU64 = AtomicU64::new(0);
    struct Counted(u64);
    impl fmt::Display for Counted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            FORMATTED.fetch_add(1, Relaxed);
            write!(f, "query {}", self.0 % 26)
        }
    }
    let before = FORMATTED.load(Relaxed);
    let (snapshot, _) = both(
        |builder| builder.max_kinds(4),
        |_| {
            for n in 0..100 {
                info_span!("order").in_scope(|| {
                    info_span!("query", otel.name = %Counted(n)).in_scope(|| ());
                });
            }
            for job in ["a", "b", "c"] {
                info_span!("task", job).in_scope(|| ());
            }
        },
    );
    let expected = [("order", 100), ("task a", 1), ("task b", 1), ("task c", 1)];
    assert_eq!(counts(&snapshot), expected);
    // For the detail of both stacks, and in `Lean` once more as long as its call site is not known.
    let formatted = FORMATTED.load(Relaxed) - before;
    assert!((200..=201).contains(&formatted), "{formatted}");
}

#[test]
fn jobs_messages_calls_and_what_the_builder_names_are_classes_too() {
    let (snapshot, _) = both(
        |builder| builder.kind_by("tenant.class"),
        |_| {
            info_span!("task", job = "send_mail", id = 17).in_scope(|| ());
            info_span!("consume", messaging.destination = "orders").in_scope(|| ());
            info_span!("grpc", rpc.service = "shop.Orders", rpc.method = "Buy").in_scope(|| ());
            info_span!("request", method = "GET", uri = "/a", tenant.class = "gold")
                .in_scope(|| ());
            info_span!("checkout", user = "ann").in_scope(|| ());
            info_span!("read", path = "/etc/hosts").in_scope(|| ());
        },
    );
    let expected = [
        ("checkout", 1),
        ("consume orders", 1),
        ("grpc shop.Orders/Buy", 1),
        ("read", 1),
        ("request gold", 1),
        ("task send_mail", 1),
    ];
    assert_eq!(counts(&snapshot), expected);
}

#[test]
fn budgets_are_of_a_class_or_of_all_that_have_none_of_their_own() {
    let budgets = "[unit.request]\nwakeups.max = 1\n[unit.\"request GET /long\"]\nwakeups.max = 3";
    let (snapshot, written) = both(
        |builder| builder.budgets(budgets.parse().unwrap()),
        |_| {
            for uri in ["/long", "/short"] {
                let span = request("GET", uri);
                span.in_scope(|| ());
                span.in_scope(|| ());
            }
        },
    );
    let holds = |unit| snapshot.unit(unit).unwrap().budgets["wakeups.max"].holds;
    assert!(holds("request GET /long") && !holds("request GET /short"));
    assert!(snapshot.unseen.is_empty(), "{:?}", snapshot.unseen);
    let findings = written.of("finding");
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["unit"], "request GET /short");
}

#[test]
fn who_asks_for_what_is_not_there_takes_no_room_from_what_is() {
    let (snapshot, _) = both(
        |builder| builder.max_kinds(20),
        |_| {
            for n in 0..1000 {
                let word: String = format!("{n:03}")
                    .bytes()
                    .map(|b| char::from(b'a' + b - b'0'))
                    .collect();
                request("GET", &format!("/{word}")).in_scope(|| ());
            }
            info_span!("HTTP request", http.method = "GET", http.route = "/books").in_scope(|| ());
        },
    );
    let known = counts(&snapshot);
    assert_eq!(known.iter().map(|(_, count)| count).sum::<u64>(), 1001);
    assert!(known.contains(&("HTTP request GET /books", 1)), "{known:?}");
    let rest = known.iter().find(|(name, _)| *name == "request").unwrap();
    assert_eq!(rest.1, 990, "{known:?}");
}

#[test]
fn a_value_that_panics_says_nothing_and_a_strangers_text_is_cut() {
    struct Broken;
    impl fmt::Display for Broken {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("not today")
        }
    }
    let (snapshot, _) = both(
        |builder| builder,
        |_| {
            info_span!("task", job = %Broken).in_scope(|| ());
            info_span!("task", job = %"é".repeat(10_000)).in_scope(|| ());
            // Formatting has spans of its own.
            struct Spanned;
            impl fmt::Display for Spanned {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    info_span!("inner").in_scope(|| f.write_str("spanned"))
                }
            }
            info_span!("task", job = %Spanned).in_scope(|| ());
        },
    );
    let counts = counts(&snapshot);
    let has = |name| {
        counts
            .iter()
            .any(|(known, count)| *known == name && *count > 0)
    };
    assert!(has("task") && has("task spanned"), "{counts:?}");
    let longest = counts.iter().map(|(name, _)| name.len()).max().unwrap();
    assert!((90..130).contains(&longest), "{counts:?}");
}

#[test]
fn a_name_that_cannot_be_one_is_refused() {
    let error = Telemetry::builder().kind_by(" tenant").build().unwrap_err();
    assert!(
        matches!(&error, BuildError::KindBy { name, .. } if name == " tenant"),
        "{error}"
    );
}

#[test]
fn an_incident_about_a_class_or_about_all_of_a_span_raises_it_whenever_it_is_known() {
    for about in ["request", "request GET /books/{id}"] {
        let (_, written) = both(
            |builder| builder,
            |telemetry| {
                let incident = telemetry::Incident::for_(Duration::from_secs(60)).unit(about);
                let _ = telemetry.incident(incident).unwrap();
                request("GET", "/books/17").in_scope(|| ());
                debug_span!("no unit").in_scope(|| ());
            },
        );
        let kept = written.of("exemplar");
        assert!(
            kept.iter().any(|exemplar| exemplar["why"][0] == "incident"),
            "{about}: {kept:?}"
        );
    }
}
