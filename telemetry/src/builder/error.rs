//! What is wrong with a configuration.

use crate::incidents::IncidentError;
use crate::subscriber::filter::ParseFilterError;
use alloc_tracker::raw::escaped;
use std::error::Error;
use std::fmt;
use std::io;

/// A configuration that cannot be started.
///
/// ```
/// use telemetry::{BuildError, Telemetry};
///
/// let error = Telemetry::builder().units("info,shop=loud").build().unwrap_err();
/// if let BuildError::Units(error) = &error {
///     assert_eq!((error.part(), error.column()), ("shop=loud", 6));
/// }
/// println!("{error}"); // what is wrong, where, and what to write
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The service's name is empty, or is longer than 16 KiB, or has a blank at an end or a character that does not show; the text says
    /// which, and where.
    Service(String),
    /// An attribute of the resource: its name or its value is so.
    Resource {
        /// Its name.
        name: String,
        /// What is wrong, and where.
        why: String,
    },
    /// The name of an exporter is so.
    Exporter(String),
    /// The unit filter does not parse.
    Units(ParseFilterError),
    /// The target or the name of spans that are to be units is not what it looks like.
    UnitSpan {
        /// The target.
        target: String,
        /// The name.
        name: String,
        /// What is wrong, and where.
        why: String,
    },
    /// The name of a field that tells kinds apart is not what it looks like.
    KindBy {
        /// The name.
        name: String,
        /// What is wrong, and where.
        why: String,
    },
    /// The flush interval is zero.
    FlushEvery,
    /// The event filter does not parse.
    Events(ParseFilterError),
    /// A share is no probability.
    Probability {
        /// The builder's method.
        name: &'static str,
        /// What it was given.
        value: f64,
    },
    /// A rate is not above zero, or more than a billion, or its burst is zero.
    Rate {
        /// The builder's method.
        name: &'static str,
        /// What it was given, per second.
        rate: f64,
        /// What it was given, at once.
        burst: u32,
    },
    /// The ring of details is not a power of two from 4 KiB to 1 GiB, and not 0.
    Detail(usize),
    /// A bound is zero or too large.
    Bound {
        /// The builder's method.
        name: &'static str,
        /// What it was given.
        value: usize,
        /// The largest value that it takes.
        most: usize,
    },
    /// The incident of a trigger or a signal can never start.
    Incident(IncidentError),
    /// Something that was asked for can never happen; the text says what, and why.
    NoEffect(String),
    /// A signal cannot be listened to.
    #[cfg(all(feature = "signal", target_os = "linux"))]
    Signal {
        /// Its number.
        signal: i32,
        /// Why not.
        source: io::Error,
    },
    /// The background thread, or that of an exporter, could not be started.
    Thread(io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("telemetry cannot start: ")?;
        match self {
            BuildError::Service(why) => write!(f, "the name of the service: {why}"),
            BuildError::Resource { name, why } => {
                write!(f, "the attribute {} of the resource, {why}", escaped(name))
            }
            BuildError::Exporter(why) => write!(f, "the name of an exporter: {why}"),
            BuildError::Units(error) => error.fmt(f),
            BuildError::UnitSpan { target, name, why } => {
                let (target, name) = (escaped(target), escaped(name));
                write!(f, "unit_span({target:?}, {name:?}): {why}")
            }
            BuildError::KindBy { name, why } => {
                write!(f, "kind_by({:?}): {why}", escaped(name))
            }
            BuildError::FlushEvery => f.write_str("flush_every is zero; give it a second or more"),
            BuildError::Events(error) => error.fmt(f),
            BuildError::Probability { name, value } => {
                write!(f, "{name} is {value}; it must be from 0 to 1")
            }
            BuildError::Rate { name, rate, burst } => write!(
                f,
                "{name}: {rate} a second, {burst} at once; the rate must be above 0 and at most 1e9, \
                 and what may come at once at least 1"
            ),
            BuildError::Detail(bytes) => write!(
                f,
                "detail is {bytes} bytes; it must be 0 or a power of two from 4096 to 1073741824"
            ),
            BuildError::Bound { name, value, most } => {
                write!(f, "{name} is {value}; it must be from 1 to {most}")
            }
            BuildError::Incident(error) => error.fmt(f),
            BuildError::NoEffect(why) => write!(f, "{}", escaped(why)),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            BuildError::Signal { signal, source } => {
                write!(f, "signal {signal} cannot be listened to: {source}")
            }
            BuildError::Thread(error) => {
                write!(f, "a background thread could not be started: {error}")
            }
        }
    }
}

impl Error for BuildError {
    /// What is behind the cause, which the text names already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BuildError::Units(error) | BuildError::Events(error) => error.source(),
            BuildError::Thread(error) => error.source(),
            BuildError::Incident(error) => error.source(),
            #[cfg(all(feature = "signal", target_os = "linux"))]
            BuildError::Signal { source, .. } => source.source(),
            BuildError::Service(_)
            | BuildError::Resource { .. }
            | BuildError::Exporter(_)
            | BuildError::UnitSpan { .. }
            | BuildError::KindBy { .. }
            | BuildError::FlushEvery
            | BuildError::NoEffect(_)
            | BuildError::Probability { .. }
            | BuildError::Rate { .. }
            | BuildError::Detail(_)
            | BuildError::Bound { .. } => None,
        }
    }
}
