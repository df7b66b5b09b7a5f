//! Configuration, checked before anything starts.

use crate::background::Background;
use crate::core::{Bounds, Core};
use crate::export::Exporter;
use crate::layer::TelemetryLayer;
use crate::system::Sampling;
use crate::telemetry::Telemetry;
use crate::units::{Interest, ParseUnitFilterError, UnitFilter};
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Configures a [`Telemetry`]. Everything has a default.
#[must_use = "nothing happens until `build`"]
pub struct Builder {
    service: String,
    units: Result<UnitFilter, ParseUnitFilterError>,
    flush_every: Duration,
    system_sample: f64,
    exporters: Vec<Box<dyn Exporter>>,
    bounds: Bounds,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Builder {
            service: String::from("service"),
            units: Ok(UnitFilter::default()),
            flush_every: Duration::from_secs(10),
            system_sample: 1.0 / 64.0,
            exporters: Vec::new(),
            bounds: Bounds {
                kinds: 512,
                spans: 1 << 14,
                units: 1 << 13,
            },
        }
    }

    /// The name of the service, which every record carries. Default: `service`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Which spans are units. Default: every root span at INFO or above. A text is parsed as a
    /// [`UnitFilter`]; if it is wrong, [`build`](Builder::build) says so.
    pub fn units<F>(mut self, filter: F) -> Self
    where
        F: TryInto<UnitFilter>,
        ParseUnitFilterError: From<F::Error>,
    {
        self.units = filter.try_into().map_err(ParseUnitFilterError::from);
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
    /// Known on Linux only.
    pub fn system_sample(mut self, probability: f64) -> Self {
        self.system_sample = probability;
        self
    }

    /// Adds an exporter; there may be any number, and none.
    pub fn export(mut self, exporter: impl Exporter + 'static) -> Self {
        self.exporters.push(Box::new(exporter));
        self
    }

    /// The most kinds of unit that are told apart; further ones are counted together as `other`.
    /// Default: 512. A kind takes some 200 KiB once it has units, and some
    /// 30 KiB more for each boundary.
    pub fn max_kinds(mut self, kinds: usize) -> Self {
        self.bounds.kinds = kinds;
        self
    }

    /// The most spans in progress that are followed. Default: 16,384, which takes 768 KiB. A unit
    /// for whose root there is no room is counted as dropped.
    pub fn max_spans_in_progress(mut self, spans: usize) -> Self {
        self.bounds.spans = spans;
        self
    }

    /// The most units in progress that are followed, 1,048,576 at the most. Default: 8,192. Each
    /// takes 512 bytes, as far as they are ever needed at once; rounded up to a multiple of 64.
    /// Further ones are counted as dropped.
    pub fn max_units_in_progress(mut self, units: usize) -> Self {
        self.bounds.units = units;
        self
    }

    /// Starts the background thread and returns the layer for the subscriber and the handle.
    ///
    /// Keep the handle for as long as the program works: when it is dropped, the last figures are
    /// written and units are no longer counted. `let (layer, _) = ..` drops it at once, and
    /// `std::process::exit` drops nothing: call [`Telemetry::shutdown`] before it.
    ///
    /// # Errors
    ///
    /// If the unit filter does not parse, the flush interval is zero, a bound is out of range, or
    /// the system has no thread left. Nothing was started then.
    pub fn build(self) -> Result<(TelemetryLayer, Telemetry), BuildError> {
        let units = self.units.map_err(BuildError::Units)?;
        if self.flush_every.is_zero() {
            return Err(BuildError::FlushEvery);
        }
        for (name, value, most) in [
            ("max_kinds", self.bounds.kinds, 1 << 20),
            ("max_spans_in_progress", self.bounds.spans, 1 << 28),
            ("max_units_in_progress", self.bounds.units, 1 << 20),
        ] {
            if value == 0 || value > most {
                return Err(BuildError::Bound { name, value, most });
            }
        }
        let sampling = Sampling::new(self.system_sample)
            .ok_or(BuildError::SystemSample(self.system_sample))?;
        let core = Core::new(self.service, units.clone(), self.bounds, sampling);
        let core = Arc::new(core);
        Background::start(&core, self.exporters, self.flush_every).map_err(BuildError::Thread)?;
        let layer = TelemetryLayer::new(Arc::clone(&core), Interest::new(units));
        Ok((layer, Telemetry::new(core)))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("units", &self.units)
            .field("flush_every", &self.flush_every)
            .field("system_sample", &self.system_sample)
            .field("exporters", &self.exporters.len())
            .field("bounds", &self.bounds)
            .finish()
    }
}

/// A configuration that cannot be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The unit filter does not parse.
    Units(ParseUnitFilterError),
    /// The flush interval is zero.
    FlushEvery,
    /// The share of units to ask the system about is no probability.
    SystemSample(f64),
    /// A bound is zero or too large.
    Bound {
        /// The builder's method.
        name: &'static str,
        /// What it was given.
        value: usize,
        /// The largest value that it takes.
        most: usize,
    },
    /// The background thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("telemetry cannot start: ")?;
        match self {
            BuildError::Units(error) => error.fmt(f),
            BuildError::FlushEvery => f.write_str("flush_every is zero; give it a second or more"),
            BuildError::SystemSample(p) => {
                write!(f, "system_sample is {p}; it must be from 0 to 1")
            }
            BuildError::Bound { name, value, most } => {
                write!(f, "{name} is {value}; it must be from 1 to {most}")
            }
            BuildError::Thread(error) => {
                write!(f, "the background thread could not be started: {error}")
            }
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BuildError::Units(error) => Some(error),
            BuildError::Thread(error) => Some(error),
            BuildError::FlushEvery | BuildError::SystemSample(_) | BuildError::Bound { .. } => None,
        }
    }
}
