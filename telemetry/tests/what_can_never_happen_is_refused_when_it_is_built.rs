//! A configuration that is taken has an effect: what could never match, hold or be checked is refused with
//! what to write, and what can be known at work only is said in the table. This program has no tracker.

mod written;

use proptest::prelude::*;
use std::time::Duration;
use telemetry::{Budgets, BuildError, Builder, Incident, Telemetry, Trigger, UnitFilter, call};
use tracing::info_span;
use tracing_subscriber::prelude::*;
use written::written;

fn refused(configure: impl FnOnce(Builder) -> Builder) -> String {
    let error = configure(Telemetry::builder()).build().unwrap_err();
    assert!(matches!(error, BuildError::NoEffect(_)), "{error:?}");
    error.to_string()
}

fn a_minute() -> Incident {
    Incident::for_(Duration::from_secs(60))
}

fn budgets(text: &str) -> Budgets {
    text.parse().unwrap()
}

#[test]
fn a_trigger_that_can_never_fire_is_refused() {
    let over_budget = |share| {
        refused(|b| {
            b.budgets(budgets("[unit.a]\nwakeups.max = 1"))
                .trigger(Trigger::over_budget(share), a_minute())
        })
    };
    for share in [1.0, 2.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(over_budget(share).contains("from 0 to below 1"));
    }
    for (trigger, mend) in [
        (Trigger::over_budget(0.1), "there are no budgets"),
        (Trigger::p99_above("", Duration::ZERO), "it is empty"),
        (Trigger::p99_above("pay ", Duration::ZERO), "blank"),
        (
            Trigger::p99_above("pay", Duration::MAX),
            "no unit takes longer",
        ),
        (
            Trigger::p99_above("pay", Duration::from_nanos(i64::MAX as u64)),
            "no unit takes longer",
        ),
        (
            Trigger::p99_above("pa\u{200b}y", Duration::ZERO),
            "U+200B at column 3 does not show",
        ),
        (
            Trigger::p99_above("pay", Duration::ZERO).for_intervals(u32::MAX),
            "give it at most 100000000",
        ),
        (Trigger::live_bytes_grow(u64::MAX), "no process holds"),
        (
            Trigger::live_bytes_grow(i64::MAX as u64),
            "no process holds",
        ),
        (
            Trigger::live_bytes_grow(1 << 20),
            "install alloc_tracker::AllocTracker",
        ),
    ] {
        let message = refused(|b| b.trigger(trigger, a_minute()));
        assert!(message.contains(mend), "{message}");
    }
}

#[test]
fn a_trigger_whose_incident_may_write_nothing_is_refused() {
    let trigger = || Trigger::p99_above("pay", Duration::from_secs(1));
    let builder = Telemetry::builder().trigger(trigger(), a_minute().max_bytes(0));
    let error = builder.build().unwrap_err();
    assert!(error.to_string().contains("max_bytes is 0"), "{error}");
}

#[test]
fn a_service_whose_name_is_not_what_it_looks_like_is_refused() {
    for (name, why) in [
        ("check\u{3164}out", "U+3164 at column 6 does not show"),
        (
            "check\u{a0}out",
            "U+00A0 at column 6 only looks like a blank",
        ),
        ("checkout\n", "blank at its beginning or end"),
        ("", "it is empty"),
    ] {
        let error = Telemetry::builder().service(name).build().unwrap_err();
        assert!(matches!(error, BuildError::Service(_)), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_budget_that_is_never_checked_is_refused_or_shown() {
    let sampled = "[unit.\"GET /\"]\ncpu.p99 = \"1 ms\"";
    let message = refused(|b| b.budgets(budgets(sampled)).system_sample(0.0));
    assert!(message.contains("unit.\"GET /\".cpu.p99"), "{message}");

    let checked = "[unit.pay]\nwakeups.max = 1";
    let message = refused(|b| b.budgets(budgets(checked)).units("off,shop=off"));
    assert!(message.contains("lets none pass, and \"pay\""), "{message}");

    let text = "[unit.pay]\nallocs.max = 3\nwall.max = \"1 min\"\ncalls.db.max = 1\ncalls.bd.max = 2\ncalls.never.max = 0\n[unit.chekout]\nwall.max = \"1 s\"";
    let (layer, telemetry) = Telemetry::builder()
        .budgets(budgets(text))
        .trigger(
            Trigger::p99_above("pya", Duration::from_secs(1)),
            a_minute().unit("cash"),
        )
        .build()
        .unwrap();
    assert!(
        telemetry.snapshot().unseen.is_empty(),
        "nothing was seen so far"
    );
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        info_span!("pay").in_scope(|| drop(call!("db")));
    });
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.unseen, ["cash", "chekout", "pya"]);
    assert_eq!(snapshot.unseen_boundaries, ["bd"]);
    let table = snapshot.to_string();
    let expected = "\nNot checked:\n  pay  allocs.max: no unit had this figure so far\n  \
                    cash: no unit of this name was seen\n  \
                    chekout: no unit of this name was seen\n  pya: no unit of this name was seen\n  \
                    bd: no unit called a boundary of this name\n";
    assert!(table.contains(expected), "{table}");
}

#[test]
fn a_name_that_was_never_seen_is_a_finding() {
    let trigger = Trigger::p99_above("pya", Duration::from_secs(1));
    let (written, _) = written(
        |b| {
            b.trigger(trigger, a_minute())
                .budgets(budgets("[unit.other]\nwakeups.max = 1"))
        },
        |_| info_span!("pay").in_scope(|| ()),
    );
    let findings = written.of("finding");
    let named: Vec<_> = findings
        .iter()
        .map(|f| (f["finding"].as_str(), f["unit"].as_str()))
        .collect();
    // `other` is what stands for the kinds past the bound, and no unit of this name.
    let unknown = Some("unknown_unit");
    assert_eq!(named, [(unknown, Some("other")), (unknown, Some("pya"))]);
}

#[test]
fn what_was_never_seen_may_be_among_the_others() {
    let text = "[unit.pay]\nwakeups.max = 1\n[unit.buy]\ncalls.db.max = 1";
    let (written, _) = written(
        |b| b.max_kinds(1).budgets(budgets(text)),
        |telemetry| {
            info_span!("buy").in_scope(|| drop(call!("other")));
            info_span!("pay").in_scope(|| ());
            let table = telemetry.snapshot().to_string();
            for line in [
                "pay: no unit of this name was seen; it may be among `other`\n",
                "db: no unit called a boundary of this name; it may be among `other`\n",
            ] {
                assert!(table.contains(line), "{table}");
            }
        },
    );
    let message = &written.of("finding")[0]["message"];
    let message = message.as_str().unwrap();
    assert!(message.contains("it may be among `other`"), "{message}");
}

/// Words of all the languages of configuration, and nonsense between them.
fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("[unit.a]\n"),
        Just("[unit.\"a b\"]"),
        Just("allocs.max = "),
        Just("errors.rate = "),
        Just("calls.\"x\".p99 = "),
        Just("0.5"),
        Just("\"64 KiB\""),
        Just("'''"),
        Just("{"),
        Just("}"),
        Just("for=60s"),
        Just("&"),
        Just("unit="),
        Just("%2"),
        Just("%C3%A4"),
        Just("heap=512KiB"),
        Just("max_cpu="),
        Just("1e400"),
        Just("field.a=b"),
        Just("shop::cart"),
        Just("=debug"),
        Just(","),
    ];
    let piece =
        prop_oneof![4 => word.prop_map(str::to_owned), 1 => any::<String>(), 1 => "\\PC{0,3}"];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in texts()) {
        let errors = [
            text.parse::<Budgets>().err().map(|error| error.to_string()),
            text.parse::<Incident>().err().map(|error| error.to_string()),
            text.parse::<UnitFilter>().err().map(|error| error.to_string()),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn what_a_parser_takes_can_be_built(text in texts()) {
        let mut builder = Telemetry::builder();
        if let Ok(incident) = text.parse::<Incident>() {
            let built = builder
                .max_incident(Duration::MAX)
                .trigger(Trigger::p99_above("a", Duration::ZERO), incident)
                .build();
            // Of no time, or of the heap without the tracker.
            prop_assert!(!matches!(built, Err(BuildError::NoEffect(_))));
            builder = Telemetry::builder();
        }
        if let Ok(budgets) = text.parse::<Budgets>() {
            prop_assert!(builder.budgets(budgets).build().is_ok());
        }
    }
}
