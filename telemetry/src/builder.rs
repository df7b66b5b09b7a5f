//! Configuration, checked before anything starts.

mod error;
mod resource;
mod start;

pub use error::BuildError;

use crate::budgets::Budgets;
use crate::export::Exporter;
use crate::incidents::{Incident, IncidentSettings, Trigger};
use crate::instance::{Bounds, TraceSource};
use crate::output::OutputLimit;
use crate::record::TraceIds;
use crate::subscriber::TelemetryLayer;
use crate::subscriber::filter::{EventFilter, ParseFilterError, UnitFilter};
use crate::telemetry::Telemetry;
use crate::tool::calendar::Calendar;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Configures a [`Telemetry`]. Everything has a default.
///
/// ```
/// use std::time::Duration;
/// use telemetry::{Incident, Telemetry, Trigger, export};
///
/// let (layer, telemetry) = Telemetry::builder()
///     .service("checkout")
///     .resource("service.version", "1.2.0")
///     .units("info,hyper=off")
///     .unit_span("shop::queue", "message")
///     .kind_by("tenant_class")
///     .budgets("[unit.checkout]\nwall.p99 = \"50 ms\"".parse()?)
///     .events("warn")
///     .event_rate(5.0, 10)
///     .error_rate(10.0, 100)
///     .trace_sample(0.01)
///     .system_sample(1.0 / 16.0)
///     .detail(128 * 1024)
///     .max_output(100.0, 65_536.0)
///     .flush_every(Duration::from_secs(5))
///     .max_incident(Duration::from_secs(300))
///     .incident_directory(std::env::temp_dir())
///     .trigger(Trigger::over_budget(0.05), Incident::for_(Duration::from_secs(60)))
///     .max_kinds(256)
///     .max_spans_in_progress(1 << 13)
///     .max_units_in_progress(1 << 12)
///     .export(export::json_lines(std::io::stdout()))
///     .build()?;
/// # drop((layer, telemetry));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens until `build`"]
pub struct Builder {
    /// If the program said one.
    service: Option<String>,
    attributes: BTreeMap<String, String>,
    calendar: Calendar,
    #[cfg(any(debug_assertions, feature = "settable-clock"))]
    clock: Option<crate::SettableClock>,
    units: Result<UnitFilter, ParseFilterError>,
    unit_spans: Vec<(String, String)>,
    kind_by: Vec<String>,
    trace: TraceSource,
    budgets: Budgets,
    events: Result<EventFilter, ParseFilterError>,
    event_rate: (f64, u32),
    error_rate: (f64, u32),
    trace_sample: f64,
    output: OutputLimit,
    flush_every: Duration,
    system_sample: f64,
    exporters: Vec<Box<dyn Exporter>>,
    bounds: Bounds,
    incidents: IncidentSettings,
    triggers: Vec<(Trigger, Incident)>,
    #[cfg(all(feature = "signal", target_os = "linux"))]
    signals: Vec<(i32, Incident)>,
    #[cfg(all(feature = "signal", target_os = "linux"))]
    flush_on_termination: bool,
}

impl Telemetry {
    /// Starts to configure.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    fn new() -> Self {
        Builder {
            service: None,
            attributes: BTreeMap::new(),
            calendar: Calendar::default(),
            #[cfg(any(debug_assertions, feature = "settable-clock"))]
            clock: None,
            units: Ok(UnitFilter::default()),
            unit_spans: Vec::new(),
            kind_by: Vec::new(),
            trace: TraceSource::default(),
            budgets: Budgets::default(),
            events: Ok(EventFilter::default()),
            event_rate: (10.0, 20),
            error_rate: (10.0, 100),
            trace_sample: 0.001,
            output: OutputLimit {
                records_per_second: 200.0,
                bytes_per_second: 262_144.0,
            },
            flush_every: Duration::from_secs(10),
            system_sample: 1.0 / 64.0,
            exporters: Vec::new(),
            bounds: Bounds {
                kinds: 512,
                spans: 1 << 14,
                units: 1 << 13,
                detail: 64 << 10,
            },
            incidents: IncidentSettings {
                longest: Duration::from_secs(15 * 60),
                directory: std::env::temp_dir(),
            },
            triggers: Vec::new(),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            signals: Vec::new(),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            flush_on_termination: false,
        }
    }

    /// The name of the service, which every record carries. Default: the variable `OTEL_SERVICE_NAME`, else
    /// `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, else `service`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// What else every record says of who wrote it, by a name as OpenTelemetry has them: `service.version`,
    /// `deployment.environment`, `host.name`. Default: what `OTEL_RESOURCE_ATTRIBUTES` has, and of the process itself
    /// `process.pid`, `service.instance.id`, a random UUID, and `telemetry.start`, when it was built. A name or a value that is empty, longer than
    /// 16 KiB, or has a line end or a blank at an end, as what is read from a file may, is an error of
    /// [`build`](Builder::build).
    pub fn resource(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// What says the time that records carry; default: [`SystemTime::now`]. For tests, and for a service
    /// that knows the time better than its system. It may jump: how long things take, and when they
    /// happen, goes by the monotonic clock. A time before the year 0 or after 9999 is written as the
    /// nearest that can be.
    ///
    /// It is called for every record, and for events and exemplars on the thread that they happen on. It
    /// must be quick. If it panics there, the system's time is taken.
    pub fn calendar(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.calendar = Calendar::of(now);
        self
    }

    /// For tests: how long things take, when they happen and when they are over goes by this clock.
    #[cfg(any(debug_assertions, feature = "settable-clock"))]
    #[doc(hidden)]
    pub fn clock(mut self, clock: &crate::SettableClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Which spans are units. Default: every root span at INFO or above, and those that mean a request, a message or a job
    /// in [known libraries](crate::UnitSpan::known), whatever their level. A text is parsed as a [`UnitFilter`]; if it is wrong,
    /// [`build`](Builder::build) says so.
    pub fn units<F>(mut self, filter: F) -> Self
    where
        F: TryInto<UnitFilter>,
        ParseFilterError: From<F::Error>,
    {
        self.units = filter.try_into().map_err(ParseFilterError::from);
        self
    }

    /// Has spans of this name be units whatever their level, if their target is this module or inside it: what
    /// [known libraries](crate::UnitSpan::known) have without it.
    pub fn unit_span(mut self, target: impl Into<String>, name: impl Into<String>) -> Self {
        self.unit_spans.push((target.into(), name.into()));
        self
    }

    /// Tells kinds of unit apart by a field of their spans, as it is done by `http.route` with the method, `otel.name`,
    /// `rpc.method`, `messaging.destination`, `job`, and else by the method with the path of `uri` or `path`: a kind is
    /// called after its span and the value, `request GET /books/{id}`. What the span has of the fields that are named
    /// here counts before those, whether it has it from the beginning or records it later. Values should be few: all
    /// kinds share [`max_kinds`](Builder::max_kinds).
    pub fn kind_by(mut self, field: impl Into<String>) -> Self {
        self.kind_by.push(field.into());
        self
    }

    /// Has exemplars and events say where they are in a trace of another tool's: what `current` says of the calling
    /// thread, when it has first entered a span of the unit, and when the event happens.
    ///
    /// With OpenTelemetry's layer in the subscriber, before this one:
    ///
    /// ```text
    /// .trace_ids(|| {
    ///     let context = opentelemetry::Context::current();
    ///     let span = context.span().span_context().clone();
    ///     let ids = (span.trace_id().to_bytes(), span.span_id().to_bytes());
    ///     span.is_valid().then(|| TraceIds::new(ids.0, ids.1))
    /// })
    /// ```
    ///
    /// # Cost
    ///
    /// A call for each unit and each event that is written, and some 20 instructions more at each entry. What it
    /// allocates is no unit's. A panic in it is caught, and counted in the ledger.
    pub fn trace_ids(
        mut self,
        current: impl Fn() -> Option<TraceIds> + Send + Sync + 'static,
    ) -> Self {
        self.trace = TraceSource(Some(Arc::new(current)));
        self
    }

    /// What the kinds of unit may cost. Checked as units end: those that cost more are kept as
    /// exemplars, and a budget that does not hold for a flush interval is a `finding` record.
    /// Default: none.
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// Which events are written, by level and target, as far as their limits allow. Default: INFO
    /// and above. A text is parsed as an [`EventFilter`]; if it is wrong,
    /// [`build`](Builder::build) says so. Without an exporter none is.
    ///
    /// An ERROR event makes its unit count as failed whether it is written or not.
    pub fn events<F>(mut self, filter: F) -> Self
    where
        F: TryInto<EventFilter>,
        ParseFilterError: From<F::Error>,
    {
        self.events = filter.try_into().map_err(ParseFilterError::from);
        self
    }

    /// How many events of one call site are written: `per_second`, and `burst` at once.
    /// Default: 10 a second, 20 at once. What is over it is counted exactly and reported in
    /// `suppressed` records. ERROR events have [a limit of their own](Builder::error_rate).
    pub fn event_rate(mut self, per_second: f64, burst: u32) -> Self {
        self.event_rate = (per_second, burst);
        self
    }

    /// The same for call sites of ERROR events. Default: 10 a second, 100 at once.
    pub fn error_rate(mut self, per_second: f64, burst: u32) -> Self {
        self.error_rate = (per_second, burst);
        self
    }

    /// The share of units that is written in detail, well or not. Default: 0.001. Units
    /// with an error, over budget, slower than 99 % of their kind, or of a rare kind are kept,
    /// too. Each reason keeps at most one a second for each kind of unit (rare ones: a minute),
    /// and at once 10 of the sample, 5 of the others and 3 rare ones; every exemplar says why it was
    /// kept, and its weight for how many it stands.
    pub fn trace_sample(mut self, probability: f64) -> Self {
        self.trace_sample = probability;
        self
    }

    /// How much detail each thread remembers for units that may be kept, in bytes: a power of two
    /// from 4 KiB on, or 0 for none. Default: 64 KiB, some 800 spans. Exemplars then have no spans or events, and
    /// a span inside a unit costs less.
    pub fn detail(mut self, bytes_per_thread: usize) -> Self {
        self.bounds.detail = bytes_per_thread;
        self
    }

    /// The most that is written, over all: records and bytes a second, to each exporter. Default:
    /// 200 and 256 KiB; what one flush writes at once is what is allowed in a flush interval, and
    /// at most 4,096 events and exemplars.
    ///
    /// Events may take half of it: when more pass their limits, a share of them is drawn that fits,
    /// each event says of how many it is an example, and the ledger which share it was. Records that
    /// sum up (of units, findings, suppressed events and the ledger) are always written; what they
    /// take is missing to the rest.
    pub fn max_output(mut self, records_per_second: f64, bytes_per_second: f64) -> Self {
        self.output = OutputLimit {
            records_per_second,
            bytes_per_second,
        };
        self
    }

    /// How long figures are collected before they are written out. Default: 10 seconds.
    pub fn flush_every(mut self, interval: Duration) -> Self {
        self.flush_every = interval;
        self
    }

    /// For which share of the units the system is asked, at every entry and exit, for CPU time and
    /// context switches, and for one in eight of those for input and output too. Default: 1 in 64.
    /// 0: none; 1: all units, and input and output of each. In between it is rounded to one in a
    /// whole number, as each unit of the sample stands for as many.
    ///
    /// An entry and exit of such a unit takes 1 to 2 µs more, with input and output 4 to 5 µs.
    /// What asking adds to a unit's CPU time is measured at the start and subtracted
    /// ([`Cost::cpu_reading_ns`](crate::Cost)); its `busy` and `wall` contain the questions at entries.
    /// Known on Linux only.
    pub fn system_sample(mut self, probability: f64) -> Self {
        self.system_sample = probability;
        self
    }

    /// Has an incident begin by itself when a condition on live figures holds. There may be any number.
    pub fn trigger(mut self, when: Trigger, incident: Incident) -> Self {
        self.triggers.push((when, incident));
        self
    }

    /// Has a signal begin an incident, `SIGUSR2` for example, while others may listen to it, too.
    #[cfg(all(feature = "signal", target_os = "linux"))]
    pub fn incident_on_signal(mut self, signal: i32, incident: Incident) -> Self {
        self.signals.push((signal, incident.who("signal")));
        self
    }

    /// Has SIGTERM and SIGINT (Ctrl-C) write out what there is before the process ends as it would have: by the signal,
    /// within two seconds, whatever exporters do, and at once if the signal comes again. A program that listens itself, by tokio or
    /// `signal-hook`, before or later, does what it does; what there is was then written out when the signal came. Who
    /// listens later and takes the place of all others, as `ctrlc` does, has to begin before this.
    ///
    /// ```no_run
    /// use telemetry::{Telemetry, export};
    ///
    /// let (layer, telemetry) = Telemetry::builder()
    ///     .export(export::json_lines_file("records.jsonl")?)
    ///     .flush_on_termination()
    ///     .build()?;
    /// # drop((layer, telemetry));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// Two handlers and two timers that are not set; some 64 bytes for each telemetry, which are never given back. No thread.
    #[cfg(all(feature = "signal", target_os = "linux"))]
    pub fn flush_on_termination(mut self) -> Self {
        self.flush_on_termination = true;
        self
    }

    /// The longest time that an incident may ask for. Default: 15 minutes.
    pub fn max_incident(mut self, longest: Duration) -> Self {
        self.incidents.longest = longest;
        self
    }

    /// Where incidents write heap profiles, three files each, which nobody deletes. Default: the directory
    /// for temporary files, which also gets them if this one cannot be written to.
    pub fn incident_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.incidents.directory = directory.into();
        self
    }

    /// Adds an exporter; there may be any number, and none. They are called one after the other on the background
    /// thread, but for those that [want a thread of their own](crate::export::on_its_own_thread), and the ledger has an
    /// account for each, by its name.
    pub fn export(mut self, exporter: impl Exporter + 'static) -> Self {
        self.exporters.push(Box::new(exporter));
        self
    }

    /// The most kinds of unit that are kept apart; further ones are counted together as `other`.
    /// Default: 512. A kind takes some 40 KiB once it has units, and 70 KiB if they call across 8 boundaries: 100 kinds on
    /// 8 threads with everything on take 7 MiB.
    pub fn max_kinds(mut self, kinds: usize) -> Self {
        self.bounds.kinds = kinds;
        self
    }

    /// The most spans in progress that are followed. Default: 16,384, which takes 768 KiB. Half of them
    /// may be lean (see [`Lean`](crate::Lean)), each of which takes 64 bytes more, as far as they are ever
    /// needed at once; further ones go to the subscriber. A unit for whose root there is no room is
    /// counted as dropped.
    pub fn max_spans_in_progress(mut self, spans: usize) -> Self {
        self.bounds.spans = spans;
        self
    }

    /// The most units in progress that are followed, at most 1,048,576. Default: 8,192. Each
    /// takes 512 bytes, as far as they are ever needed at once; rounded up to a multiple of 64.
    /// Further ones are counted as dropped. Threads that do nothing keep up to half as many places at hand,
    /// which are made up for: after many idle threads have ended, up to half as many units more are followed.
    pub fn max_units_in_progress(mut self, units: usize) -> Self {
        self.bounds.units = units;
        self
    }

    /// Starts the background thread and returns the layer for the subscriber and the handle.
    ///
    /// Keep the handle for as long as the program works: when it is dropped, the last figures are
    /// written and units are no longer counted. `let (layer, _) = ..` drops it at once.
    ///
    /// In a `static`, or where `std::process::exit` is called, nobody drops it. On Unix the last figures
    /// are then written as the process exits, which waits up to a second for that; see
    /// [`Telemetry`] for what is not an exit. Only [`Telemetry::shutdown`] says whether all was written.
    ///
    /// # Errors
    ///
    /// If the service's name, an attribute of the resource or an exporter's name is not what it looks like, a filter does not parse, the flush interval is zero, a bound is out of range, a trigger's
    /// condition could never hold, its incident or that of a signal never begin, a budget never be
    /// checked, the signal cannot be listened to, or the system has no thread left. Nothing was started
    /// then.
    pub fn build(mut self) -> Result<(TelemetryLayer, Telemetry), BuildError> {
        // What is kept is a copy: the texts of the builder are the program's, to their end.
        alloc_tracker::raw::for_a_tool(|| self.start())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("attributes", &self.attributes)
            .field("units", &self.units)
            .field("unit_spans", &self.unit_spans)
            .field("kind_by", &self.kind_by)
            .field("budgets", &self.budgets)
            .field("events", &self.events)
            .field("event_rate", &self.event_rate)
            .field("error_rate", &self.error_rate)
            .field("trace_sample", &self.trace_sample)
            .field("max_output", &self.output)
            .field("flush_every", &self.flush_every)
            .field("system_sample", &self.system_sample)
            .field("exporters", &self.exporters.len())
            .field("bounds", &self.bounds)
            .finish()
    }
}
