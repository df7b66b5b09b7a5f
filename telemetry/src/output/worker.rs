//! What the background thread does.
//!
//! Whatever panics on it is caught where it happens and counted in the ledger, and the thread goes on
//! with what comes next.

use super::OutputLimit;
use super::delivery::{Delivery, Untold};
use super::lane::Lane;
use super::writer::Writer;
use crate::background::Progress;
use crate::export::Exporter;
use crate::incidents::Watch;
use crate::instance::{Instance, Interval};
use crate::record::{Record, Stream};
use crate::tool::panics::caught;
use crate::tool::silence;
use alloc_tracker::raw::for_the_program;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use std::thread;
use std::time::Duration;

/// No store stays in a core's buffer for anywhere near this long.
const STORES_ARE_VISIBLE: Duration = Duration::from_micros(50);

/// An interval that lacks no more than this many nanoseconds is over.
const NEAR_ENOUGH: u64 = 1_000_000;

/// What the thread is given; see the builder.
pub(crate) struct Setup {
    pub(crate) exporters: Vec<Box<dyn Exporter>>,
    pub(crate) flush_every: Duration,
    pub(crate) output: OutputLimit,
    /// What starts incidents by itself.
    pub(crate) watches: Vec<Watch>,
    /// What of the environment could not be read.
    pub(crate) untold: Vec<String>,
}

/// Starts the thread, and those of exporters that want one.
pub(crate) fn start(instance: &Arc<Instance>, setup: Setup) -> io::Result<()> {
    let (mut exporters, mut lanes) = (Vec::new(), Vec::new());
    let wanted = setup.exporters.iter().filter(|e| e.wants_its_own_thread());
    let wanted = wanted.count();
    (instance.background).report(|progress| progress.lanes = vec![0; wanted]);
    for (place, exporter) in setup.exporters.into_iter().enumerate() {
        // Whatever it says the second time, there are no more.
        if exporter.wants_its_own_thread() && lanes.len() < wanted {
            lanes.push(Lane::start(instance, place, lanes.len(), exporter)?);
        } else {
            exporters.push((place, exporter));
        }
    }
    let worker = Worker {
        writer: Writer::new(
            setup.output,
            setup.flush_every,
            instance.clock.now(),
            setup.untold,
        ),
        instance: Arc::clone(instance),
        exporters,
        lanes,
        deliveries: 0,
        untold: Arc::default(),
        flush_every: setup.flush_every,
        told: (Stream::default(), 0),
        watches: setup.watches,
    };
    let handle = thread::Builder::new()
        .name("telemetry".to_owned())
        .spawn(move || worker.run())?;
    let _ = instance.background.bell.thread.set(handle.thread().clone());
    Ok(())
}

struct Worker {
    instance: Arc<Instance>,
    /// Those that share this thread, with their places in the ledger.
    exporters: Vec<(usize, Box<dyn Exporter>)>,
    /// Those that do not.
    lanes: Vec<Lane>,
    /// So far.
    deliveries: u64,
    untold: Arc<Untold>,
    flush_every: Duration,
    writer: Writer,
    /// The ledger's account of units, and of panics, as it was last written.
    told: (Stream, u64),
    watches: Vec<Watch>,
}

impl Worker {
    fn run(mut self) {
        silence::be_silent();
        alloc_tracker::raw::be_a_tools_own();
        // However this thread ends, nobody waits for it any more.
        let _stopped = ReportStopped(Arc::clone(&self.instance));
        let mut flushed = 0;
        loop {
            while !self.is_called(flushed) && !self.instance.background.bell.dirty.load(Acquire) {
                self.sleep(None);
            }
            // An interval past the end of time is none.
            let begun = self.instance.clock.now();
            let every = u64::try_from(self.flush_every.as_nanos()).ok();
            let deadline = every.and_then(|every| begun.checked_add(every));
            // The system's timers go by another clock: they may be early by a little.
            let is_near = |every: u64| (every / 256).min(NEAR_ENOUGH);
            let near = every.map_or(0, is_near);
            while !self.is_called(flushed) {
                let now = self.instance.clock.now();
                // Or the clock begins anew, as some do when a machine wakes.
                if now < begun || deadline.is_some_and(|at| at.saturating_sub(near) <= now) {
                    break;
                }
                self.sleep(deadline);
            }
            // In this order: whoever asks or adds something from here on is in the next round.
            let background = &self.instance.background;
            let stop = background.stop.load(Acquire);
            let asked = background.asked.load(Acquire);
            background.bell.dirty.store(false, SeqCst);
            // PERF: a thread that adds a unit stores it and then looks at `dirty`, without the
            // fence (8 ns a unit) that would keep the two in order for us. We wait instead, far
            // longer than a store takes to become visible: a unit whose thread still saw `dirty`
            // set is then in this round.
            thread::sleep(STORES_ARE_VISIBLE);
            if stop && self.instance.incidents.due().is_some() {
                // Their reports take time, and nobody may wait for them: first what there is.
                self.flush(false);
            }
            self.attend(stop);
            self.flush(stop);
            flushed = asked;
            if stop {
                self.drop_exporters();
                return;
            }
            let deliveries = self.deliveries;
            let report = |progress: &mut Progress| progress.note_flush(flushed, deliveries);
            self.instance.background.report(report);
        }
    }

    /// Sleeps until then, or until woken or until an incident wants to be looked at.
    fn sleep(&mut self, deadline: Option<u64>) {
        // Before, too: what wakes the thread may have been taken by an exporter that parks.
        self.answer_signals();
        let due = self.instance.incidents.due();
        let until = deadline.into_iter().chain(due).min();
        self.instance.clock.park_until(until);
        self.answer_signals();
        if self.attend(false) {
            self.instance.background.flush_soon();
        }
    }

    fn answer_signals(&mut self) {
        #[cfg(all(feature = "signal", target_os = "linux"))]
        self.guarded(|worker| worker.instance.answer_signals());
    }

    /// Does what is due for incidents; true: there is something to be written.
    fn attend(&mut self, all: bool) -> bool {
        let attended = self.guarded(|worker| worker.instance.attend_incidents(all));
        if attended.is_none() {
            // What cannot be attended to would be due for ever.
            self.guarded(|worker| worker.instance.abandon_incidents(all));
        }
        attended.unwrap_or(false)
    }

    /// `None` if it panicked, which is counted.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = caught(|| work(self));
        if done.is_none() {
            self.instance.counters.panicked();
        }
        done
    }

    /// An exporter may have something to write when it is dropped: before the end is reported.
    fn drop_exporters(&mut self) {
        // All of them at once.
        self.lanes.iter().for_each(Lane::close);
        for (_, exporter) in std::mem::take(&mut self.exporters) {
            self.guarded(|_| for_the_program(|| drop(exporter)));
        }
        for mut lane in std::mem::take(&mut self.lanes) {
            if !lane.wait() {
                self.instance.counters.panicked();
            }
        }
        self.tell_again();
    }

    fn is_called(&self, flushed: u64) -> bool {
        let background = &self.instance.background;
        background.stop.load(Acquire) || background.asked.load(Acquire) != flushed
    }

    fn flush(&mut self, last: bool) {
        self.instance.counters.note_own_cpu();
        let watches = !self.watches.is_empty();
        let interval = self
            .guarded(|worker| worker.instance.end_interval(watches))
            .flatten();
        if !last {
            let units = interval.as_ref().map_or(&[][..], |ended| &ended.units);
            self.guarded(|worker| worker.instance.pull_triggers(&mut worker.watches, units));
            self.guarded(|worker| worker.instance.look_for_hidden());
        }
        let exporters = self.exporters.len() + self.lanes.len();
        if exporters == 0 {
            self.guarded(|worker| worker.instance.close_incidents());
            self.guarded(|worker| worker.instance.incidents.take_records());
            return;
        }
        self.tell_again();
        let Some(records) = self.records(interval, last) else {
            return;
        };
        let told = self.writer.take_told();
        let delivery = Delivery::new(&self.instance, records, told, exporters, &self.untold);
        let delivery = Arc::new(delivery);
        self.deliveries += 1;
        for lane in &self.lanes {
            lane.hand_over(
                self.deliveries,
                &delivery,
                self.instance.background.is_stopping(),
            );
        }
        for (place, exporter) in &mut self.exporters {
            delivery.to(*place, &mut **exporter);
        }
        self.tell_again();
        self.instance.counters.note_own_cpu();
    }

    /// What nobody heard is to be told again.
    fn tell_again(&mut self) {
        for told in self.untold.take() {
            self.guarded(|worker| worker.writer.nothing_was_written(&worker.instance, told));
        }
    }

    /// What is to be written, the ledger last; `None` if there is nothing.
    fn records(&mut self, interval: Option<Interval>, last: bool) -> Option<Vec<Record>> {
        let of_units = interval.as_ref().map_or(0, |ended| ended.units.len());
        let made = self.guarded(|worker| worker.writer.records(&worker.instance, interval, last));
        let mut records = made.unwrap_or_else(|| {
            let counters = &self.instance.counters;
            counters.records_of_all_dropped(of_units as u64, "panicked");
            let told = self.writer.take_told();
            self.guarded(|worker| worker.writer.nothing_was_written(&worker.instance, told));
            Vec::new()
        });
        let (instance, told) = (&self.instance, &self.told);
        let now = (instance.ledger_so_far().units, instance.counters.panics());
        if records.is_empty() && !last && now == *told {
            return None;
        }
        self.told = now;
        let ledger = self.guarded(|worker| worker.writer.ledger(&worker.instance));
        let Some(ledger) = ledger else {
            let counters = &self.instance.counters;
            counters.records_of_all_dropped(records.len() as u64, "panicked");
            let told = self.writer.take_told();
            self.guarded(|worker| worker.writer.nothing_was_written(&worker.instance, told));
            return None;
        };
        records.push(ledger);
        Some(records)
    }
}

/// Says that the thread has ended, when dropped.
struct ReportStopped(Arc<Instance>);

impl Drop for ReportStopped {
    fn drop(&mut self) {
        let instance = &self.0;
        if thread::panicking() || caught(|| instance.abandon_incidents(true)).is_none() {
            instance.counters.panicked();
        }
        instance.background.stopped.store(true, Release);
        instance
            .background
            .report(|progress| progress.stopped = true);
        #[cfg(all(feature = "signal", target_os = "linux"))]
        if let Some(listening) = instance.background.listening.get() {
            crate::exit::signals::ended(listening);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::export::{Exporter, Flush, Record};
    use crate::{Incident, Telemetry, Trigger};
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};
    use tracing::{error, info_span};
    use tracing_subscriber::prelude::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<Record>>>);

    impl Exporter for Written {
        fn name(&self) -> &str {
            "written"
        }

        fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
            self.0.lock().unwrap().extend_from_slice(flush.records());
            Ok(1)
        }
    }

    /// Panics so often, on telemetry's own thread, with something that panics when it is dropped.
    fn calendar(panics: &Arc<AtomicU32>) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        struct Again;
        impl Drop for Again {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new(7));
            }
        }
        let panics = Arc::clone(panics);
        move || {
            let is_own = std::thread::current().name() == Some("telemetry");
            let down = |left: u32| left.checked_sub(1);
            if is_own && panics.fetch_update(SeqCst, SeqCst, down).is_ok() {
                std::panic::resume_unwind(Box::new(Again));
            }
            SystemTime::now()
        }
    }

    #[test]
    fn what_panics_on_the_thread_is_counted_and_said_and_the_thread_goes_on() {
        let (panics, written) = (Arc::new(AtomicU32::new(0)), Written::default());
        let (layer, telemetry) = Telemetry::builder()
            .flush_every(Duration::from_secs(3600))
            .calendar(calendar(&panics))
            .export(written.clone())
            .build()
            .unwrap();
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        let work = || {
            info_span!("unit").in_scope(|| error!("an event"));
            telemetry.flush();
        };
        work();
        assert_eq!(
            written.0.lock().unwrap().len(),
            4,
            "unit, exemplar, event, ledger"
        );
        assert_eq!(telemetry.ledger().panics, 0);
        // In the making of the records, and then in that of the ledger too.
        for times in [1, 2] {
            panics.store(times, SeqCst);
            work();
            assert_eq!(panics.load(SeqCst), 0);
        }
        work();
        let Err(error) = telemetry.shutdown(Duration::from_secs(5)) else {
            panic!("it was reported as success");
        };
        assert!(error.to_string().contains("panicked 3 times"), "{error}");
        let ledger = error.ledger();
        assert_eq!((ledger.panics, ledger.units.kept), (3, 4));
        assert_eq!(ledger.records.dropped["panicked"], 2);
        // What waits to be written is not lost: it was not taken yet.
        assert_eq!((ledger.events.seen, ledger.events.kept), (4, 4));
        let exemplars = &ledger.exemplars;
        assert_eq!(exemplars.seen, exemplars.kept + exemplars.rate_limited);
        let written = written.0.lock().unwrap();
        let counts = written.iter().filter_map(|record| match record {
            Record::Ledger(record) => Some(record.ledger.panics),
            _ => None,
        });
        assert_eq!(counts.collect::<Vec<_>>(), [0, 1, 3, 3], "told at once");
    }

    #[test]
    fn a_panic_in_an_incidents_records_ends_no_thread() {
        let panics = Arc::new(AtomicU32::new(0));
        let (layer, telemetry) = Telemetry::builder()
            .flush_every(Duration::from_millis(1))
            .calendar(calendar(&panics))
            .trigger(
                Trigger::p99_above("unit", Duration::ZERO).cool_down(Duration::ZERO),
                Incident::for_(Duration::from_millis(1)),
            )
            .build()
            .unwrap();
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        panics.store(3, SeqCst);
        for _ in 0..1000 {
            info_span!("unit").in_scope(|| ());
            telemetry.flush();
            if panics.load(SeqCst) == 0 && !telemetry.incidents().is_empty() {
                break;
            }
        }
        assert!(!telemetry.incidents().is_empty(), "incidents begin again");
        assert_eq!(telemetry.ledger().panics, 3);
        assert!(telemetry.shutdown(Duration::from_secs(5)).is_err());
    }

    #[test]
    fn an_incident_is_known_from_its_begin_until_others_have_ended_after_it() {
        let handle = Arc::new(std::sync::OnceLock::<crate::Handle>::new());
        let known = Arc::new(Mutex::new(Vec::new()));
        let (asked, noted) = (Arc::clone(&handle), Arc::clone(&known));
        // Telemetry's own thread asks what time it is while it makes the incident's report.
        let calendar = move || {
            let is_own = std::thread::current().name() == Some("telemetry");
            if let (true, Some(handle)) = (is_own, asked.get()) {
                let incidents = handle.incidents().map(|incidents| incidents.len());
                noted.lock().unwrap().push(incidents);
            }
            SystemTime::now()
        };
        let (_layer, telemetry) = Telemetry::builder()
            .flush_every(Duration::from_secs(3600))
            .calendar(calendar)
            .build()
            .unwrap();
        let id = telemetry
            .incident(Incident::for_(Duration::from_secs(60)))
            .unwrap();
        handle.set(telemetry.handle()).unwrap();
        assert!(telemetry.end_incident(id));
        telemetry.flush();
        let known = std::mem::take(&mut *known.lock().unwrap());
        assert!(!known.is_empty(), "nobody asked in the meantime");
        assert!(known.iter().all(|known| *known == Some(1)), "{known:?}");
        assert_eq!(telemetry.incidents().len(), 1);
    }

    #[test]
    fn an_exporter_that_panics_when_it_is_dropped_is_said_by_shutdown() {
        struct Bad;
        impl Exporter for Bad {
            fn name(&self) -> &str {
                "bad"
            }

            fn export(&mut self, _: &Flush<'_>) -> io::Result<u64> {
                Ok(0)
            }
        }
        impl Drop for Bad {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new(()));
            }
        }
        let written = Written::default();
        let (_layer, telemetry) = Telemetry::builder()
            .export(Bad)
            .export(written.clone())
            .build()
            .unwrap();
        let error = telemetry.shutdown(Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.ledger().panics, 1);
        assert_eq!(
            Arc::strong_count(&written.0),
            1,
            "the others were dropped, too"
        );
    }
}
