//! A program may have any number of call sites: those past the bound share one limit and one count, and
//! nothing is lost unseen. Units are known by their names.

mod written;

use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::{Event, Level, Metadata, info_span};
use written::{sum, written};

struct Nowhere;

static NOWHERE: Nowhere = Nowhere;

impl Callsite for Nowhere {
    fn set_interest(&self, _: tracing::subscriber::Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        unreachable!("nobody asks")
    }
}

/// Call sites of events, each on a line of its own.
fn call_sites(count: u32, level: Level) -> Vec<&'static Metadata<'static>> {
    let make = |line| {
        let fields = FieldSet::new(&[], Identifier(&NOWHERE));
        let (file, kind) = (Some("many.rs"), Kind::EVENT);
        let metadata = Metadata::new("event", "many", level, file, Some(line), None, fields, kind);
        &*Box::leak(Box::new(metadata))
    };
    (0..count).map(make).collect()
}

fn log(metadata: &'static Metadata<'static>) {
    Event::dispatch(metadata, &metadata.fields().value_set_all(&[]));
}

#[test]
fn every_event_of_ten_thousand_call_sites_is_written_or_counted() {
    const SITES: u32 = 10_000;
    const TOLD_APART: u32 = 6_144;
    const TIMES: u64 = 5;
    let (mut infos, errors) = (call_sites(SITES, Level::INFO), call_sites(3, Level::ERROR));
    let (written, ledger) = written(
        |b| {
            b.event_rate(1e-6, 1)
                .error_rate(1e-6, 2)
                .max_output(1e6, 1e9)
        },
        |telemetry| {
            for _ in 0..TIMES {
                for sites in infos.chunks(1000) {
                    sites.iter().for_each(|site| log(site));
                    // What is written waits in a bounded queue.
                    telemetry.flush();
                }
                errors.iter().for_each(|site| log(site));
            }
        },
    );
    let all = TIMES * (u64::from(SITES) + 3);
    assert_eq!(ledger.events.seen, all);
    // One of each that is kept apart, and one of all others; of their errors two.
    let kept = u64::from(TOLD_APART) + 1 + 2;
    assert_eq!(
        (ledger.events.kept, ledger.events.rate_limited),
        (kept, all - kept)
    );
    let suppressed = written.of("suppressed");
    assert_eq!(sum(&suppressed, "count"), all - kept);
    let (others, known): (Vec<_>, Vec<_>) = suppressed
        .into_iter()
        .partition(|record| record["location"].is_null());
    assert_eq!(sum(&known, "count"), (TIMES - 1) * u64::from(TOLD_APART));
    assert!(others.iter().all(|record| record["level"] == "other"));
    infos.truncate(TOLD_APART as usize);
    let lines: std::collections::BTreeSet<_> = known
        .iter()
        .map(|record| record["location"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(lines.len(), infos.len());
}

#[test]
fn units_of_further_call_sites_are_told_by_their_names_and_their_budgets_checked() {
    let budgets = "[unit.late]\ncalls.db.max = 0".parse().unwrap();
    written(
        |b| b.budgets(budgets),
        |telemetry| {
            info_span!("pay").in_scope(|| ());
            let events = call_sites(10_000, Level::INFO);
            events.iter().for_each(|site| log(site));
            for _ in 0..2 {
                info_span!("pay").in_scope(|| ());
                info_span!("late").in_scope(|| drop(telemetry::call!("db")));
            }
            let snapshot = telemetry.snapshot();
            let count = |name| snapshot.unit(name).map(|unit| unit.count);
            assert_eq!(
                (count("pay"), count("late"), count("other")),
                (Some(3), Some(2), None)
            );
            assert_eq!(
                snapshot.unit("late").unwrap().budgets["calls.\"db\".max"].over,
                2
            );
        },
    );
}
