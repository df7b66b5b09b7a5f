//! Without a filter the spans that libraries make for requests are units, and nothing else passes by in silence.

mod written;

use std::time::Duration;
use telemetry::record::PassedBy;
use telemetry::{BuildError, Builder, Lean, Snapshot, Telemetry, UnitSpan};
use tracing::{Dispatch, debug_span, info_span, trace_span};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use written::Written;

/// Another layer, with a filter of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Others {
    None,
    UpTo(LevelFilter),
}

struct Quiet;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Quiet {}

fn in_stack(
    is_lean: bool,
    others: Others,
    configure: impl Fn(Builder) -> Builder,
    work: impl Fn(&Telemetry),
) -> (Snapshot, Written) {
    let (builder, written) = written::builder();
    let (layer, telemetry) = configure(builder).build().unwrap();
    let level = match others {
        Others::None => LevelFilter::OFF,
        Others::UpTo(level) => level,
    };
    let subscriber = tracing_subscriber::registry()
        .with(Quiet.with_filter(level))
        .with(layer);
    let dispatch = match is_lean {
        true => Dispatch::new(Lean::new(subscriber)),
        false => Dispatch::new(subscriber),
    };
    tracing::dispatcher::with_default(&dispatch, || work(&telemetry));
    let snapshot = telemetry.snapshot();
    let _ = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    (snapshot, written)
}

/// Every stack that people have.
fn everywhere(
    configure: impl Fn(Builder) -> Builder,
    work: impl Fn(&Telemetry),
    check: impl Fn(Snapshot),
) {
    let levels = [LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    let others = levels.map(Others::UpTo).into_iter().chain([Others::None]);
    for others in others {
        for is_lean in [false, true] {
            check(in_stack(is_lean, others, &configure, &work).0);
        }
    }
}

/// As a usual axum service has it.
fn trace_layer() -> tracing::Span {
    debug_span!(target: "tower_http::trace::make_span", "request", method = "GET", uri = "/books/1")
}

/// As `axum-tracing-opentelemetry` has it.
fn open_telemetry() -> tracing::Span {
    trace_span!(target: "otel::tracing", "HTTP request", http.route = "/a", http.request.method = "GET")
}

#[test]
fn requests_of_known_libraries_are_units_whatever_their_level() {
    everywhere(
        |builder| builder,
        |_| {
            for _ in 0..3 {
                trace_layer().in_scope(|| info_span!("handler").in_scope(|| ()));
                open_telemetry().in_scope(|| ());
                debug_span!("detail").in_scope(|| ());
                // Inside something that is none.
                debug_span!("connection").in_scope(|| trace_layer().in_scope(|| ()));
            }
        },
        |snapshot| {
            let count = |unit| snapshot.unit(unit).map(|unit| unit.count);
            assert_eq!(count("request GET /books/{id}"), Some(6), "{snapshot:?}");
            assert_eq!(count("HTTP request GET /a"), Some(3));
            assert_eq!(snapshot.units.len(), 2, "{snapshot:?}");
        },
    );
}

#[test]
fn a_filter_that_speaks_of_them_has_the_last_word() {
    let units = |filter: &'static str| {
        let configure = move |builder: Builder| builder.units(filter);
        let work = |_: &Telemetry| {
            trace_layer().in_scope(|| ());
            open_telemetry().in_scope(|| ());
            info_span!(target: "shop", "job").in_scope(|| ());
        };
        let (plain, _) = in_stack(false, Others::UpTo(LevelFilter::TRACE), configure, work);
        let (lean, _) = in_stack(true, Others::None, configure, work);
        let names = |snapshot: &Snapshot| {
            let mut names: Vec<String> = snapshot
                .units
                .iter()
                .map(|u| u.span_name().to_owned())
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&plain), names(&lean));
        names(&plain)
    };
    assert_eq!(units("info"), ["HTTP request", "job", "request"]);
    assert_eq!(units("warn"), ["HTTP request", "request"]);
    assert_eq!(units("info,tower_http=off"), ["HTTP request", "job"]);
    assert_eq!(units("info,otel=off,shop=off"), ["request"]);
    // A list of what is wanted, and of nothing else.
    assert_eq!(units("shop=info"), ["job"]);
    assert!(units("off").is_empty());
}

#[test]
fn a_program_may_add_spans_of_its_own() {
    everywhere(
        |builder| builder.unit_span("shop::queue", "message"),
        |_| {
            trace_span!(target: "shop::queue::consumer", "message", job = "mail").in_scope(|| ());
            trace_span!(target: "shop::queues", "message").in_scope(|| ());
            trace_span!(target: "shop::queue", "other").in_scope(|| ());
        },
        |snapshot| {
            assert_eq!(snapshot.units.len(), 1, "{snapshot:?}");
            assert_eq!(snapshot.unit("message mail").unwrap().count, 1);
        },
    );
    let error = |target: &str, name: &str| {
        Telemetry::builder()
            .unit_span(target, name)
            .build()
            .unwrap_err()
    };
    for (target, name) in [
        ("", "message"),
        ("shop::*", "message"),
        ("shop", ""),
        ("shop", "message "),
    ] {
        let error = error(target, name);
        assert!(
            matches!(error, BuildError::UnitSpan { .. }),
            "{target:?}, {name:?}: {error}"
        );
    }
}

fn about_handle(snapshot: &Snapshot) -> Option<&PassedBy> {
    snapshot
        .passed_by
        .iter()
        .find(|passed_by| passed_by.span == "handle")
}

/// The findings about spans of this name: other tests register theirs with every subscriber.
fn findings_about(written: &Written, span: &str) -> Vec<serde_json::Value> {
    let mut findings = written.of("finding");
    findings.retain(|finding| finding["unit"] == span);
    findings
}

#[test]
fn root_spans_that_nobody_takes_for_units_are_counted_where_they_are_made_and_said_once() {
    for is_lean in [false, true] {
        let (snapshot, written) = in_stack(
            is_lean,
            Others::UpTo(LevelFilter::DEBUG),
            |builder| builder,
            |telemetry| {
                for n in 0..7 {
                    debug_span!("handle", n).in_scope(|| debug_span!("inner").in_scope(|| ()));
                    info_span!("order").in_scope(|| debug_span!("in a unit").in_scope(|| ()));
                    telemetry.flush();
                }
            },
        );
        let target = env!("CARGO_CRATE_NAME");
        let passed_by = about_handle(&snapshot).unwrap();
        assert_eq!(passed_by.roots, 7);
        assert_eq!(passed_by.filter(), format!("info,{target}=debug"));
        assert!(
            passed_by
                .location
                .as_ref()
                .unwrap()
                .contains("passes_by_is_said.rs:")
        );
        let table = snapshot.to_string();
        assert!(
            table.contains(&format!("7 root spans handle ({target}, DEBUG)")),
            "{table}"
        );
        let findings = findings_about(&written, "handle");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            (&findings[0]["finding"], &findings[0]["unit"]),
            (&"setup".into(), &"handle".into())
        );
        let message = findings[0]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!(".units(\"info,{target}=debug\")")),
            "{message}"
        );
    }
}

#[test]
fn what_the_filter_names_was_chosen_and_is_not_said() {
    let target = env!("CARGO_CRATE_NAME");
    let (snapshot, written) = in_stack(
        false,
        Others::UpTo(LevelFilter::DEBUG),
        |builder| builder.units(format!("info,{target}=warn")),
        |_| {
            info_span!("handle").in_scope(|| ());
            debug_span!("handle").in_scope(|| ());
        },
    );
    assert!(about_handle(&snapshot).is_none(), "{snapshot:?}");
    assert!(findings_about(&written, "handle").is_empty());
}

#[test]
fn the_docs_have_the_table_of_known_spans() {
    let docs = include_str!("../../docs/units.md");
    for UnitSpan {
        library,
        target,
        name,
        ..
    } in UnitSpan::known()
    {
        let row = format!("| {library} | `{target}` | `{name}` |");
        assert!(docs.contains(&row), "{row}");
    }
}
