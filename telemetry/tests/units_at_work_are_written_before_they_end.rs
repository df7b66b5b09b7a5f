//! A service whose units last, connections say, is written about while it works: how many are in
//! progress and what they cost in each interval. They are in the distributions once, when they end.

use std::hint::black_box;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use telemetry::export::{Exporter, Flush, Record, UnitRecord};
use telemetry::{Builder, SettableClock, Telemetry};
use tracing::{Dispatch, info_span};

mod patience;
mod stack;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

/// Sends the records of the units.
struct Sends(Sender<UnitRecord>);

impl Exporter for Sends {
    fn name(&self) -> &str {
        "sends"
    }

    fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
        for record in flush.records() {
            if let Record::Unit(unit) = record {
                let _ = self.0.send(unit.clone());
            }
        }
        Ok(0)
    }
}

/// The records, and what makes them come.
struct Records {
    came: Receiver<UnitRecord>,
    clock: SettableClock,
}

impl Records {
    fn try_iter(&self) -> impl Iterator<Item = UnitRecord> + '_ {
        self.came.try_iter()
    }
}

fn start(configure: impl FnOnce(Builder) -> Builder) -> (Dispatch, Telemetry, Records) {
    let (sender, came) = channel();
    let clock = SettableClock::new();
    let builder = Telemetry::builder().flush_every(Duration::from_millis(10));
    let builder = builder.clock(&clock);
    let builder = configure(builder.export(Sends(sender)));
    let (layer, telemetry) = builder.build().unwrap();
    (stack::dispatch(layer), telemetry, Records { came, clock })
}

/// Works until this many records of units have come, by themselves.
fn until(records: &Records, number: usize, mut work: impl FnMut()) -> Vec<UnitRecord> {
    let mut came = Vec::new();
    patience::until(|| {
        work();
        records.clock.advance(Duration::from_millis(1));
        came.extend(records.try_iter());
        came.len() >= number
    });
    came
}

#[test]
fn what_a_lasting_call_carries_makes_flushes_too() {
    for detail in [64 << 10, 0] {
        let (dispatch, telemetry, records) = start(|builder| builder.detail(detail));
        tracing::dispatcher::with_default(&dispatch, || {
            let _connection = info_span!("connection").entered();
            let call = telemetry::call!("socket");
            let sent = until(&records, 3, || call.sent(100));
            let boundaries = sent.iter().map(|r| &r.figures.in_progress.boundaries);
            assert!(boundaries.clone().all(|b| b.contains_key("socket")));
            until(&records, 3, || info_span!("child").in_scope(|| ()));
        });
        drop(telemetry);
    }
}

fn cost(records: &[UnitRecord], metric: &str) -> u64 {
    let costs = records.iter();
    let costs = costs.map(|r| r.figures.in_progress.cost(metric).unwrap_or(0));
    costs.sum()
}

fn sum(record: &UnitRecord, metric: &str) -> u64 {
    record.figures.metric(metric).map_or(0, |d| d.sum)
}

#[test]
fn a_connection_that_is_polled_costs_in_its_intervals_what_it_costs_in_the_end() {
    let (dispatch, telemetry, records) = start(|builder| builder);
    tracing::dispatcher::with_default(&dispatch, || {
        let connection = info_span!("connection");
        let (mut polls, clock) = (0, records.clock.clone());
        let poll = || {
            polls += 1;
            connection.in_scope(|| {
                clock.advance(Duration::from_micros(10));
                drop(black_box(vec![1u8; 1000]));
                let call = telemetry::call!("redis");
                call.sent(10);
                call.received(7);
            });
        };
        let mut came = until(&records, 5, poll);
        for record in &came {
            let figures = &record.figures;
            assert_eq!((figures.count, figures.in_progress.count), (0, 1));
            assert!(figures.metrics.values().all(Option::is_none), "{figures:?}");
            assert!(figures.boundaries.is_empty());
        }
        telemetry.flush();
        came.extend(records.try_iter());
        // All of them are written once: what one interval did not have, the next one has.
        assert_eq!(cost(&came, "wakeups"), polls);
        assert_eq!(cost(&came, "busy"), 10_000 * polls);
        let last = came.iter().map(|r| r.seconds).sum::<f64>() * 1e9;
        assert!(cost(&came, "wall") as f64 <= last * 1.01, "{last}");
        let redis = came
            .iter()
            .map(|r| &r.figures.in_progress.boundaries["redis"]);
        let redis = redis.fold([0; 3], |sum, b| {
            let of = [b.calls, b.bytes_sent, b.bytes_received];
            std::array::from_fn(|i| sum[i] + of[i])
        });
        assert_eq!(redis, [polls, 10 * polls, 7 * polls]);
        if cfg!(feature = "track") {
            assert_eq!(cost(&came, "allocs"), polls);
            assert_eq!(cost(&came, "alloc_bytes"), 1000 * polls);
        } else {
            let unknown = came
                .iter()
                .all(|r| r.figures.in_progress.cost("allocs").is_none());
            assert!(unknown, "{came:?}");
        }
        // A snapshot has what they have cost since they began, and the table shows them.
        let snapshot = telemetry.snapshot();
        let unit = snapshot.unit("connection").unwrap();
        assert_eq!((unit.count, unit.in_progress.count), (0, 1));
        assert_eq!(unit.in_progress.cost("wakeups"), Some(polls));
        let table = snapshot.to_string();
        let head = table.lines().next().unwrap();
        assert!(head.contains("wake-ups  in progress"), "{table}");
        assert!(
            table.contains("In progress: 1 connection; so far: "),
            "{table}"
        );

        drop(connection);
        telemetry.flush();
        let ended: Vec<_> = records.try_iter().collect();
        let [ended] = ended.as_slice() else {
            panic!("{ended:?}");
        };
        assert_eq!(
            (ended.figures.count, ended.figures.in_progress.count),
            (1, 0)
        );
        assert_eq!(sum(ended, "wakeups"), polls);
        assert_eq!(ended.figures.boundaries["redis"].calls.sum, polls);
        let unit = telemetry.snapshot();
        let unit = unit.unit("connection").unwrap();
        assert_eq!(unit.metric("wakeups").unwrap().count, 1);
        assert_eq!(unit.in_progress.cost("wakeups"), None);
    });
}

/// A thread for each connection, which never leaves its span: what it does inside is seen.
#[test]
fn a_connection_that_is_entered_once_is_written_while_it_works() {
    type Work = fn();
    let works: [Work; 2] = [
        || info_span!("command").in_scope(|| ()),
        || drop(telemetry::call!("redis")),
    ];
    for work in works {
        let (dispatch, _telemetry, records) = start(|builder| builder);
        tracing::dispatcher::with_default(&dispatch, || {
            let entered = info_span!("connection").entered();
            for record in until(&records, 3, work) {
                assert_eq!(record.figures.in_progress.count, 1);
                assert_eq!(
                    record.figures.in_progress.cost("wakeups").map(|n| n <= 1),
                    Some(true)
                );
            }
            drop(entered);
        });
    }
}

#[test]
fn what_is_not_worked_for_is_not_written() {
    let (dispatch, telemetry, records) = start(|b| b.flush_every(Duration::from_secs(3600)));
    tracing::dispatcher::with_default(&dispatch, || {
        let (idle, busy) = (info_span!("idle"), info_span!("busy"));
        idle.in_scope(|| ());
        telemetry.flush();
        assert_eq!(records.try_iter().count(), 1);
        busy.in_scope(|| ());
        telemetry.flush();
        let came: Vec<_> = records.try_iter().map(|r| r.figures.unit).collect();
        assert_eq!(came, ["busy"]);
        telemetry.flush();
        assert_eq!(records.try_iter().count(), 0);
        // Beside one that ended there are all of its kind.
        let others: Vec<_> = (0..3).map(|_| info_span!("kind")).collect();
        info_span!("kind").in_scope(|| ());
        telemetry.flush();
        let came: Vec<_> = records.try_iter().collect();
        assert_eq!(came.len(), 1);
        assert_eq!(
            (came[0].figures.count, came[0].figures.in_progress.count),
            (1, 3)
        );
        drop(others);
    });
}

#[test]
#[cfg(feature = "track")]
fn a_trigger_fires_while_no_unit_ends() {
    use telemetry::{Incident, Trigger};

    let clock = SettableClock::new();
    let (layer, telemetry) = Telemetry::builder()
        .clock(&clock)
        .flush_every(Duration::from_millis(10))
        .trigger(
            Trigger::live_bytes_grow(1 << 20),
            Incident::for_(Duration::from_secs(1)),
        )
        .build()
        .unwrap();
    tracing::dispatcher::with_default(&stack::dispatch(layer), || {
        let connection = info_span!("connection");
        let mut kept = Vec::new();
        patience::until(|| {
            connection.in_scope(|| kept.push(vec![0u8; 2 << 20]));
            clock.advance(Duration::from_millis(10));
            !telemetry.incidents().is_empty()
        });
    });
}
