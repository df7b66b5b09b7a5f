//! Whatever an exporter does, the service goes on, and the ledger says what became of the records.

mod patience;

use patience::until;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;
use telemetry::export::{self, Exporter, Flush, Record};
use telemetry::{BuildError, Ledger, SettableClock, Stream, Telemetry};
use tracing::info_span;
use tracing_subscriber::prelude::*;

/// A writer whose lines the test can read, and that fails while it has to.
#[derive(Clone)]
struct Shared {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// How many bytes it still takes.
    room: Arc<AtomicUsize>,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            bytes: Arc::default(),
            room: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = match self.room.load(SeqCst) {
            0 => {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "the disk is full",
                ));
            }
            room => &bytes[..bytes.len().min(room)],
        };
        if self.room.load(SeqCst) < usize::MAX {
            self.room.fetch_sub(bytes.len(), SeqCst);
        }
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    fn records(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).ok();
        self.text().lines().filter_map(parse).collect()
    }
}

fn start(exporter: impl Exporter + 'static) -> (Telemetry, tracing::subscriber::DefaultGuard) {
    let (layer, telemetry) = Telemetry::builder()
        .service("test")
        .flush_every(Duration::from_secs(3600))
        .export(exporter)
        .build()
        .unwrap();
    (
        telemetry,
        tracing_subscriber::registry().with(layer).set_default(),
    )
}

fn adds_up(stream: &Stream) -> bool {
    stream.seen == stream.kept + stream.sampled_out + stream.rate_limited + stream.dropped_total()
}

fn all_add_up(ledger: &Ledger) -> bool {
    [
        &ledger.units,
        &ledger.events,
        &ledger.exemplars,
        &ledger.records,
    ]
    .into_iter()
    .all(adds_up)
}

#[test]
fn flushed_records_are_json_lines_and_read_back() {
    let out = Shared::default();
    let (telemetry, _guard) = start(export::json_lines(out.clone()));
    info_span!("unit").in_scope(|| drop(telemetry::call!("db.query")));
    telemetry.flush();
    let records = out.records();
    assert_eq!(
        records.len(),
        out.text().lines().count(),
        "every line is JSON"
    );
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(
            (&record["v"], &record["service"]),
            (&1.into(), &"test".into())
        );
        let ts = record["ts"].as_str().unwrap();
        assert!(ts.ends_with('Z') && ts.as_bytes()[10] == b'T', "{ts}");
    }
    assert_eq!(records[0]["type"], "unit");
    assert_eq!(records[0]["unit"], "unit");
    assert_eq!(records[0]["count"], 1);
    assert_eq!(records[0]["boundaries"]["db.query"]["calls"]["sum"], 1);
    let wall = &records[0]["metrics"]["wall"];
    for figure in ["p50", "p90", "p99", "p999", "max", "sum", "count"] {
        assert!(wall[figure].is_u64(), "{wall}");
    }
    // Unknown is null, never 0: this test installs no tracker.
    assert!(records[0]["metrics"]["allocs"].is_null());
    assert_eq!(records[1]["type"], "ledger");
    assert_eq!(records[1]["units"]["seen"], 1);
    let typed: Vec<Record> = out
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(matches!(&typed[0], Record::Unit(unit) if unit.figures.count == 1));

    // An interval holds what came since the last one, and nothing is written for nothing.
    telemetry.flush();
    assert_eq!(out.records().len(), 2);
    info_span!("unit").in_scope(|| ());
    telemetry.flush();
    assert_eq!(out.records()[2]["count"], 1);
    assert_eq!(telemetry.snapshot().unit("unit").unwrap().count, 2);
}

#[test]
fn a_writer_that_fails_later_costs_records_and_nothing_else() {
    let out = Shared::default();
    let (telemetry, _guard) = start(export::json_lines(out.clone()));
    info_span!("unit").in_scope(|| ());
    telemetry.flush();
    for room in [10, 0] {
        // Half a line gets through, then nothing at all.
        out.room.store(room, SeqCst);
        info_span!("unit").in_scope(|| ());
        telemetry.flush();
    }
    out.room.store(usize::MAX, SeqCst);
    info_span!("unit").in_scope(|| ());
    let ledger = telemetry.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(ledger.units.kept, 4);
    assert_eq!(ledger.records.kept, 4);
    let reason = "write_failed: no storage space".to_owned();
    assert_eq!(ledger.records.dropped, BTreeMap::from([(reason, 4)]));
    assert!(all_add_up(&ledger), "{ledger:?}");
    assert_eq!(ledger.cost.bytes, out.text().len() as u64 - 10);
    // The torn half line does not swallow the records after it, and there is no empty line.
    assert_eq!(out.records().len(), 4, "{}", out.text());
    assert_eq!(out.text().lines().count(), 5);
    assert!(out.text().lines().all(|line| !line.is_empty()));
}

#[test]
fn an_exporter_that_panics_is_counted_and_called_again() {
    struct Panics(u32);
    impl Exporter for Panics {
        fn name(&self) -> &str {
            "panics"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            self.0 += 1;
            if self.0 == 1 {
                std::panic::panic_any("an exporter's bug");
            }
            Ok(1)
        }
    }
    std::panic::set_hook(Box::new(|_| {}));
    let (telemetry, _guard) = start(Panics(0));
    info_span!("unit").in_scope(|| ());
    telemetry.flush();
    info_span!("unit").in_scope(|| ());
    let ledger = telemetry.shutdown(Duration::from_secs(5)).unwrap();
    let _ = std::panic::take_hook();
    assert_eq!(
        ledger.records.dropped,
        BTreeMap::from([("exporter_panicked".to_owned(), 2)])
    );
    assert_eq!(ledger.records.kept, 2);
    assert!(all_add_up(&ledger));
}

#[test]
fn an_exporters_own_spans_and_errors_are_not_counted_and_wake_nobody() {
    struct Chatty(Arc<AtomicUsize>);
    impl Exporter for Chatty {
        fn name(&self) -> &str {
            "chatty"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            self.0.fetch_add(1, SeqCst);
            info_span!("http_post").in_scope(|| {
                drop(telemetry::call!("network"));
                tracing::error!("refused");
            });
            Ok(1)
        }
    }
    let (exports, clock) = (Arc::new(AtomicUsize::new(0)), SettableClock::new());
    let (layer, telemetry) = Telemetry::builder()
        .clock(&clock)
        .flush_every(Duration::from_secs(1))
        .export(Chatty(Arc::clone(&exports)))
        .build()
        .unwrap();
    // The background thread must see the subscriber, too.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    info_span!("unit").in_scope(|| ());
    // Whether the thread has begun to wait for the end of the interval, nobody can see.
    until(|| {
        clock.advance(Duration::from_secs(1));
        exports.load(SeqCst) > 0
    });
    // What the exporter does would be in another flush.
    clock.advance(Duration::from_secs(10));
    telemetry.flush();
    assert_eq!(exports.load(SeqCst), 1, "one unit, one flush");
    assert!(telemetry.snapshot().unit("http_post").is_none());
}

#[test]
fn drops_are_told_even_if_no_unit_ends() {
    let out = Shared::default();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .max_units_in_progress(64)
        .export(export::json_lines(out.clone()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let stuck: Vec<_> = (0..100).map(|_| info_span!("stuck")).collect();
    telemetry.flush();
    let records = out.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["units"]["dropped"]["too_many_units"], 36);
    telemetry.flush();
    assert_eq!(out.records().len(), 1, "nothing new");
    drop(stuck);
}

#[test]
fn exporters_are_dropped_before_shutdown_returns() {
    struct Finalises(Arc<AtomicUsize>);
    impl Exporter for Finalises {
        fn name(&self) -> &str {
            "finalises"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            Ok(1)
        }
    }
    impl Drop for Finalises {
        fn drop(&mut self) {
            for _ in 0..1000 {
                std::thread::yield_now();
            }
            self.0.fetch_add(1, SeqCst);
        }
    }
    let finalised = Arc::new(AtomicUsize::new(0));
    let (telemetry, _guard) = start(Finalises(Arc::clone(&finalised)));
    telemetry.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(finalised.load(SeqCst), 1);
}

#[test]
fn an_endless_interval_is_flushed_on_demand() {
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::MAX)
        .export(export::json_lines(io::sink()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    info_span!("unit").in_scope(|| ());
    telemetry.flush();
    let ledger = telemetry.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(ledger.units.kept, 1);
    assert_eq!(ledger.records.kept, 3);
}

/// Blocks until the test lets go.
struct Blocks(mpsc::Receiver<()>);

impl Exporter for Blocks {
    fn name(&self) -> &str {
        "blocks"
    }

    fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
        let _ = self.0.recv();
        Ok(0)
    }
}

#[test]
fn an_exporter_that_blocks_does_not_hold_up_units_and_shutdown_gives_up_in_time() {
    let (let_go, blocked) = mpsc::channel();
    let (telemetry, _guard) = start(Blocks(blocked));
    info_span!("unit").in_scope(|| ());
    let error = telemetry.shutdown(Duration::from_millis(100)).unwrap_err();
    assert!(error.to_string().contains("100ms"), "{error}");
    assert_eq!(error.ledger().units.kept, 1);
    // Reading the figures does not wait for the exporter either.
    assert_eq!(telemetry.snapshot().unit("unit").unwrap().count, 1);
    drop(let_go);
    assert!(
        telemetry.shutdown(Duration::from_secs(5)).is_ok(),
        "again, and it is done"
    );
}

#[test]
fn one_that_blocks_on_its_own_thread_delays_no_other() {
    let (let_go, blocked) = mpsc::channel();
    let written = Shared::default();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_millis(1))
        .export(export::on_its_own_thread(Blocks(blocked)))
        .export(export::json_lines(written.clone()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let ledger_of = |ledger: &Ledger, name: &str| ledger.exporters[name].clone();
    let of_units = |record: &serde_json::Value| record["type"] == "unit";
    // One is at work, four wait, and five or more find no room.
    for n in 1..=10 {
        info_span!("unit").in_scope(|| ());
        until(|| written.records().iter().filter(|r| of_units(r)).count() >= n);
    }
    let all = ledger_of(&telemetry.ledger(), "json_lines").records;
    let dropped = ledger_of(&telemetry.ledger(), "blocks").records.dropped;
    assert!(dropped["queue_full"] >= 8, "{dropped:?}");
    drop(let_go);
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    let blocks = ledger_of(&ledger, "blocks").records;
    assert!(blocks.kept >= 8, "{blocks:?}");
    assert!(blocks.seen >= all.seen, "{blocks:?}, {all:?}");
    let of_both = blocks.seen + ledger_of(&ledger, "json_lines").records.seen;
    assert_eq!(ledger.records.seen, of_both, "the sum of both");
    assert!(all_add_up(&ledger));
    let bytes = ledger_of(&ledger, "json_lines").bytes;
    assert_eq!(bytes, written.text().len() as u64);
    assert_eq!(ledger.cost.bytes, bytes);
}

#[test]
fn flush_and_shutdown_wait_for_exporters_on_their_own_threads() {
    struct Slow(Shared, Arc<AtomicUsize>);
    impl Exporter for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
            for _ in 0..1000 {
                std::thread::yield_now();
            }
            export::json_lines(&mut self.0).export(flush)
        }

        fn wants_its_own_thread(&self) -> bool {
            true
        }
    }
    impl Drop for Slow {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
        }
    }
    let (written, dropped) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
    let (telemetry, _guard) = start(Slow(written.clone(), Arc::clone(&dropped)));
    for n in 1..=5 {
        info_span!("unit").in_scope(|| ());
        telemetry.flush();
        let units = written.records().into_iter();
        assert_eq!(units.filter(|r| r["type"] == "unit").count(), n);
    }
    info_span!("unit").in_scope(|| ());
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(dropped.load(SeqCst), 1, "it has been dropped");
    assert_eq!(ledger.records.kept, written.records().len() as u64);
}

#[test]
fn what_nobody_wrote_is_told_again_also_by_one_on_its_own_thread() {
    struct FailsOnce(Shared, bool);
    impl Exporter for FailsOnce {
        fn name(&self) -> &str {
            "fails_once"
        }

        fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
            if !std::mem::replace(&mut self.1, true) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            export::json_lines(&mut self.0).export(flush)
        }
    }
    let written = Shared::default();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .event_rate(0.001, 1)
        .export(export::on_its_own_thread(FailsOnce(written.clone(), false)))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let log = |times| (0..times).for_each(|n| tracing::info!(n, "again"));
    log(10);
    telemetry.flush();
    log(5);
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    let records = written.records();
    let suppressed = records.iter().filter(|r| r["type"] == "suppressed");
    let counts: u64 = suppressed.map(|r| r["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 14, "of both flushes");
    assert!(all_add_up(&ledger));
    assert_eq!(ledger.events.dropped["write_failed"], 1);
}

#[test]
fn a_flush_has_a_snapshot_for_who_asks_and_says_who_wrote_it() {
    #[derive(Clone, Default)]
    struct Totals(Arc<Mutex<Vec<(u64, u64)>>>);
    impl Exporter for Totals {
        fn name(&self) -> &str {
            "totals"
        }

        fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
            assert_eq!(flush.resource().service, "shop");
            assert_eq!(flush.resource().attributes["service.version"], "1.2.3");
            let of_interval = flush.records().iter().find_map(|record| match record {
                Record::Unit(unit) => Some(unit.figures.count),
                _ => None,
            });
            let snapshot = flush.snapshot();
            assert_eq!(snapshot.envelope.resource, *flush.resource());
            let of_all = snapshot.unit("unit").unwrap().count;
            self.0
                .lock()
                .unwrap()
                .push((of_interval.unwrap_or(0), of_all));
            Ok(0)
        }
    }
    let totals = Totals::default();
    let (layer, telemetry) = Telemetry::builder()
        .service("shop")
        .resource("service.version", "1.2.3")
        .flush_every(Duration::from_secs(3600))
        .export(totals.clone())
        .export(export::on_its_own_thread(totals.clone()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    for times in [3, 4] {
        (0..times).for_each(|_| info_span!("unit").in_scope(|| ()));
        telemetry.flush();
    }
    let mut seen = totals.0.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [(3, 3), (3, 3), (4, 7), (4, 7)]);
    let ledger = telemetry.ledger();
    let names: Vec<&str> = ledger.exporters.keys().map(String::as_str).collect();
    assert_eq!(names, ["totals", "totals 2"]);
    assert_eq!(ledger.records.dropped_total(), 0, "no exporter panicked");
}

#[test]
fn an_error_that_panics_when_it_is_dropped_ends_nothing() {
    #[derive(Debug)]
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bad")
        }
    }
    impl std::error::Error for Bad {}
    impl Drop for Bad {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new(7));
        }
    }
    struct Fails;
    impl Exporter for Fails {
        fn name(&self) -> &str {
            "fails"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            Err(io::Error::other(Bad))
        }
    }
    let written = Shared::default();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(Fails)
        .export(export::on_its_own_thread(Box::new(Fails)))
        .export(export::json_lines(written.clone()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    for _ in 0..3 {
        info_span!("unit").in_scope(|| ());
        telemetry.flush();
    }
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    let units = written
        .records()
        .into_iter()
        .filter(|r| r["type"] == "unit");
    assert_eq!(units.count(), 3);
    let all = ledger.exporters["json_lines"].records.seen;
    for name in ["fails", "fails 2"] {
        assert_eq!(
            ledger.exporters[name].records.dropped["exporter_panicked"],
            all
        );
    }
}

#[test]
fn a_flush_waits_for_no_later_one_of_an_exporter_that_is_always_behind() {
    struct Slow(mpsc::Receiver<()>);
    impl Exporter for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            let _ = self.0.recv();
            Ok(u64::MAX)
        }
    }
    let (let_go, held) = mpsc::channel();
    let written = Shared::default();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(export::on_its_own_thread(Slow(held)))
        .export(export::json_lines(written.clone()))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    let units = || {
        written
            .records()
            .into_iter()
            .filter(|r| r["type"] == "unit")
    };
    let telemetry = &telemetry;
    std::thread::scope(|threads| {
        let (asked, flushed) = mpsc::channel();
        for n in 0..3 {
            info_span!("unit").in_scope(|| ());
            let asked = asked.clone();
            threads.spawn(move || {
                telemetry.flush();
                asked.send(n).unwrap();
            });
            // Each flush is a delivery of its own.
            until(|| units().count() > n);
        }
        // One delivery after the other is done, and others wait all the while.
        for n in 0..3 {
            let_go.send(()).unwrap();
            assert_eq!(flushed.recv(), Ok(n));
        }
        drop(let_go);
    });
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(
        ledger.cost.bytes,
        u64::MAX,
        "whatever it says that it wrote"
    );
}

#[test]
fn a_handle_is_gone_with_the_telemetry_though_others_are_at_a_call() {
    let (_layer, telemetry) = Telemetry::builder().build().unwrap();
    let handle = telemetry.handle();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| while handle.snapshot().is_some() {});
        }
        drop(telemetry);
    });
    assert!(handle.ledger().is_none() && handle.incidents().is_none());
}

#[test]
fn names_and_attributes_that_are_not_what_they_look_like_are_refused() {
    struct Named(&'static str);
    impl Exporter for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            Ok(0)
        }
    }
    for (name, why) in [
        ("", "it is empty"),
        ("a\nb", "control character at column 2"),
    ] {
        let error = Telemetry::builder()
            .export(Named(name))
            .build()
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let long = "x".repeat(16_385);
    for (name, value, why) in [
        ("", "1", "its name: it is empty"),
        ("service.version", "", "its value: it is empty"),
        (
            "host.name",
            "shop-7\n",
            "its value: there is a blank at its beginning or end",
        ),
        ("host.name", &long, "its value: it has 16385 bytes"),
    ] {
        let error = Telemetry::builder()
            .resource(name, value)
            .build()
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn an_exporter_that_asks_for_a_flush_or_the_end_does_not_wait_for_itself() {
    #[derive(Clone, Default)]
    struct Asks(std::sync::Arc<std::sync::OnceLock<Telemetry>>);
    impl Exporter for Asks {
        fn name(&self) -> &str {
            "asks"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            if let Some(telemetry) = self.0.get() {
                telemetry.flush();
                let _ = telemetry.shutdown(Duration::from_secs(600));
            }
            Ok(0)
        }
    }
    let asks = Asks::default();
    let (telemetry, _guard) = start(asks.clone());
    let telemetry = asks.0.get_or_init(|| telemetry);
    info_span!("unit").in_scope(|| ());
    telemetry.flush();
    telemetry.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_blocked_exporter_does_not_slow_the_units() {
    const UNITS: u64 = 50_000;
    let (let_go, blocked) = mpsc::channel();
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_millis(1))
        .export(Blocks(blocked))
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    for _ in 0..UNITS {
        info_span!("unit").in_scope(|| ());
    }
    let units = telemetry.ledger().units;
    assert_eq!((units.seen, units.kept), (UNITS, UNITS));
    drop(let_go);
}

#[test]
fn dropping_the_handle_writes_out_what_there_is() {
    let out = Shared::default();
    let (telemetry, guard) = start(export::json_lines(out.clone()));
    info_span!("unit").in_scope(|| ());
    drop(telemetry);
    assert_eq!(out.records().len(), 2);
    // The layer outlives its telemetry: units are counted as dropped, nothing breaks.
    info_span!("unit").in_scope(|| ());
    drop(guard);
}

#[test]
fn units_after_shutdown_are_dropped_with_a_reason() {
    let (telemetry, _guard) = start(export::json_lines(io::sink()));
    info_span!("unit").in_scope(|| ());
    telemetry.shutdown(Duration::from_secs(5)).unwrap();
    info_span!("unit").in_scope(|| ());
    let ledger = telemetry.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(
        ledger.units.dropped,
        BTreeMap::from([("shut_down".to_owned(), 1)])
    );
    assert!(all_add_up(&ledger));
}

#[test]
fn wrong_configurations_are_typed_errors_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("no/such/directory/records.jsonl");
    let error = export::json_lines_file(&missing).unwrap_err();
    assert_eq!(error.path(), missing);
    let text = error.to_string();
    assert!(
        text.contains("records.jsonl") && text.contains("No such file"),
        "{text}"
    );

    let error = Telemetry::builder().units("shop=loud").build().unwrap_err();
    assert!(matches!(&error, BuildError::Units(error) if error.part() == "shop=loud"));
    let text = error.to_string();
    assert!(
        text.contains("shop=loud") && text.contains("shop::http=info"),
        "{text}"
    );

    let error = Telemetry::builder()
        .flush_every(Duration::ZERO)
        .build()
        .unwrap_err();
    assert!(matches!(error, BuildError::FlushEvery));
    let error = Telemetry::builder().max_kinds(0).build().unwrap_err();
    assert!(error.to_string().contains("max_kinds is 0"), "{error}");
}

#[test]
fn an_exporter_that_shuts_telemetry_down_is_told_that_it_is_one() {
    type Whole = Arc<OnceLock<Telemetry>>;
    struct Ends(Whole, mpsc::Sender<String>);
    impl Exporter for Ends {
        fn name(&self) -> &str {
            "ends"
        }

        fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
            if let Some(telemetry) = self.0.get() {
                let error = telemetry.shutdown(Duration::from_secs(300)).unwrap_err();
                let _ = self.1.send(error.to_string());
            }
            Ok(0)
        }
    }
    let whole = Whole::default();
    let (told, is_told) = mpsc::channel();
    let exporter = Ends(Arc::clone(&whole), told);
    let (layer, telemetry) = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .export(exporter)
        .build()
        .unwrap();
    let _guard = tracing_subscriber::registry().with(layer).set_default();
    whole.set(telemetry).unwrap();
    info_span!("unit").in_scope(|| ());
    whole.get().unwrap().flush();
    let text = is_told.recv().unwrap();
    assert!(text.contains("by one of its exporters"), "{text}");
}
