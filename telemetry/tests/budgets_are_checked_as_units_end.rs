//! Budgets from a file: broken ones are found, with an exemplar; wrong ones are refused.

mod written;

use serde_json::Value;
use std::io::Write;
use telemetry::Budgets;
use tracing::{error, info_span};
use written::written;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

fn checkout(queries: usize) {
    info_span!("checkout").in_scope(|| {
        for _ in 0..queries {
            let call = telemetry::call!("db.query");
            call.sent(100);
        }
    });
}

fn budgets(text: &str) -> Budgets {
    text.parse().unwrap()
}

#[test]
fn a_budget_that_does_not_hold_is_a_finding_with_an_exemplar() {
    let (written, _) = written(
        |b| b.budgets(budgets("[unit.checkout]\ncalls.\"db.query\".max = 3")),
        |telemetry| {
            (0..10).for_each(|_| checkout(3));
            telemetry.flush();
            (0..98).for_each(|_| checkout(3));
            checkout(7);
            checkout(4);
            let snapshot = telemetry.snapshot();
            let budgets = &snapshot.unit("checkout").unwrap().budgets;
            let calls = &budgets["calls.\"db.query\".max"];
            assert_eq!((calls.over, calls.of, calls.holds), (2, 110, false));
            let table = snapshot.to_string();
            assert!(
                table.contains("limit 3, worst 7, 2 of 110 units over it"),
                "{table}"
            );
        },
    );
    let findings = written.of("finding");
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = &findings[0];
    assert_eq!(
        (&finding["finding"], &finding["unit"]),
        (&"over_budget".into(), &"checkout".into())
    );
    let budget = &finding["budget"];
    assert_eq!(budget["metric"], "calls.\"db.query\"");
    assert_eq!(
        (&budget["limit"], &budget["worst"]),
        (&3.0.into(), &7.into())
    );
    assert_eq!((&budget["over"], &budget["of"]), (&2.into(), &100.into()));
    let exemplars = written.of("exemplar");
    let shown = exemplars
        .iter()
        .find(|e| e["id"] == finding["exemplar"])
        .unwrap();
    assert_eq!(shown["why"][0], "over_budget");
    assert!(shown["boundaries"]["db.query"]["calls"].as_u64().unwrap() > 3);
}

#[test]
fn percentiles_and_rates_hold_while_few_enough_units_are_over() {
    let found = |over: usize| {
        let text = "[unit.checkout]\ncalls.\"db.query\".p99 = 1\nerrors.rate = 0.05";
        let (written, _) = written(
            |b| b.budgets(budgets(text)),
            |_| {
                for n in 0..200 {
                    checkout(if n < over { 2 } else { 1 });
                    info_span!("other").in_scope(|| error!("not of this unit"));
                }
            },
        );
        written.of("finding").len()
    };
    assert_eq!((found(2), found(3)), (0, 1));
}

#[test]
fn an_error_rate_is_of_all_units() {
    let (written, _) = written(
        |b| b.budgets(budgets("[unit.checkout]\nerrors.rate = 0.1")),
        |_| {
            for n in 0..20 {
                info_span!("checkout").in_scope(|| {
                    if n % 5 == 0 {
                        error!("declined");
                    }
                });
            }
        },
    );
    let finding = &written.of("finding")[0];
    assert_eq!(finding["budget"]["limit"], 0.1);
    assert_eq!(
        (&finding["budget"]["over"], &finding["budget"]["of"]),
        (&4.into(), &20.into())
    );
    assert!(
        finding["message"].as_str().unwrap().contains("4 of 20"),
        "{finding}"
    );
    assert_ne!(finding["exemplar"], Value::Null);
}

#[cfg(feature = "track")]
#[test]
fn memory_has_budgets_too() {
    let text = "[unit.load]\npeak_bytes.max = \"64 KiB\"\nalloc_bytes.p99 = \"1 MiB\"\nwall.max = \"1 min\"";
    let (written, _) = written(
        |b| b.budgets(budgets(text)),
        |_| {
            let load = |bytes: usize| {
                info_span!("load").in_scope(|| std::hint::black_box(vec![1u8; bytes]).len())
            };
            load(1000);
            load(100_000);
        },
    );
    let findings = written.of("finding");
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["budget"]["unit_of_measure"], "bytes");
    assert!(findings[0]["budget"]["worst"].as_u64().unwrap() >= 100_000);
    let message = findings[0]["message"].as_str().unwrap();
    assert!(
        message.contains("64.0 KiB") && message.contains("97.7 KiB"),
        "{message}"
    );
}

#[test]
fn a_boundary_that_a_unit_cannot_tell_apart_is_unknown_and_not_zero() {
    let (written, _) = written(
        |b| {
            b.budgets(budgets(
                "[unit.wide]\ncalls.\"33rd\".max = 1\nbytes.\"1\".max = 5",
            ))
        },
        |telemetry| {
            info_span!("wide").in_scope(|| {
                let first = telemetry::call!("1");
                first.sent(u64::MAX);
                first.received(1);
                (2..=32).for_each(|n| drop(telemetry::call!(format!("{n}"))));
                (0..50).for_each(|_| drop(telemetry::call!("33rd")));
            });
            let snapshot = telemetry.snapshot();
            let wide = snapshot.unit("wide").unwrap();
            assert_eq!(wide.budgets["calls.\"33rd\".max"].of, 0);
            assert_eq!(wide.budgets["bytes.\"1\".max"].worst, u64::MAX);
        },
    );
    assert_eq!(written.of("finding").len(), 1);
}

#[test]
fn a_budget_for_a_unit_that_nobody_saw_is_a_warning() {
    let (written, _) = written(
        |b| b.budgets(budgets("[unit.chekout]\nretries.max = 1")),
        |telemetry| {
            checkout(1);
            telemetry.flush();
            checkout(1);
        },
    );
    let findings = written.of("finding");
    assert_eq!(findings.len(), 1, "once");
    assert_eq!(
        (&findings[0]["finding"], &findings[0]["unit"]),
        (&"unknown_unit".into(), &"chekout".into())
    );
    assert!(
        findings[0]["message"]
            .as_str()
            .unwrap()
            .contains("checkout")
    );
}

#[test]
fn a_file_that_is_wrong_is_refused_with_file_line_and_key() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[unit.checkout]\nallocs.p99 = 120\nwall.p99 = 20").unwrap();
    let error = Budgets::from_path(file.path()).unwrap_err();
    assert_eq!(
        (error.line(), error.key()),
        (Some(3), "unit.checkout.wall.p99")
    );
    let told = error.to_string();
    let path = file.path().display().to_string();
    assert!(
        told.starts_with(&format!("{path}:3: unit.checkout.wall.p99: ")),
        "{told}"
    );
    assert!(told.contains("\"2 ms\""), "{told}");

    let error = Budgets::from_path("/no/such/budgets.toml").unwrap_err();
    assert_eq!(error.line(), None);
    assert!(
        error
            .to_string()
            .starts_with("/no/such/budgets.toml: it cannot be read"),
        "{error}"
    );
    // Its text has the cause already.
    assert!(std::error::Error::source(&error).is_none());
}
