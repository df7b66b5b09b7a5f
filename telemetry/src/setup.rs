//! What nine services of ten want, in one line.

use crate::builder::BuildError;
use crate::export::{self, OpenFileError};
use crate::subscriber::Lean;
use crate::telemetry::Telemetry;
use alloc_tracker::raw::escaped;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use tracing::Dispatch;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{Layer, Registry, fmt as logs};

/// The variable that names the file for the records.
const RECORDS: &str = "LIGHTWEIGHT_RECORDS";
/// The variable that says which log events are shown.
const LOGS: &str = "RUST_LOG";

/// Sets up telemetry for a service, with logs to standard error, for the whole program: what
/// [`setup`]`(service).init()` does.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let telemetry = telemetry::init("shop")?;
///     tracing::info_span!("request").in_scope(|| { /* a unit of work */ });
///     println!("{}", telemetry.snapshot());
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// As [`Setup::init`].
pub fn init(service: impl Into<String>) -> Result<Telemetry, InitError> {
    setup(service).init()
}

/// The same with parts of one's own.
///
/// ```
/// use telemetry::Budgets;
/// use tracing_subscriber::Layer;
/// use tracing_subscriber::filter::LevelFilter;
///
/// let budgets: Budgets = "[unit.request]\nallocs.p99 = 500".parse()?;
/// let logs = tracing_subscriber::fmt::layer().with_filter(LevelFilter::WARN);
/// let telemetry = telemetry::setup("shop")
///     .telemetry(|builder| builder.budgets(budgets))
///     .logs(logs)
///     .init()?;
/// # drop(telemetry);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn setup(service: impl Into<String>) -> Setup {
    Setup {
        service: service.into(),
        configure: Box::new(|builder| builder),
        logs: Logs::ToStandardError,
        layers: Vec::new(),
        records: None,
        on_signals: true,
        is_quiet: false,
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;
type Configure = Box<dyn FnOnce(crate::Builder) -> crate::Builder>;

/// What [`init`] composes. Made by [`setup`].
///
/// | part | by default | instead |
/// |---|---|---|
/// | [`Telemetry`] with its layer, in [`Lean`] | as [`Telemetry::builder`] has it | [`telemetry`](Setup::telemetry) |
/// | logs | `fmt` to standard error, what `RUST_LOG` says, else INFO and above | [`logs`](Setup::logs), [`without_logs`](Setup::without_logs) |
/// | further layers, such as OpenTelemetry's | none | [`layer`](Setup::layer) |
/// | records | to the file that `LIGHTWEIGHT_RECORDS` names, if it names one | [`records`](Setup::records), and exporters of [`telemetry`](Setup::telemetry) |
/// | SIGTERM and Ctrl-C, on Linux | write out, and end the process as ever | [`without_signals`](Setup::without_signals) |
#[must_use = "nothing is set up before `init`"]
pub struct Setup {
    service: String,
    configure: Configure,
    logs: Logs,
    layers: Vec<BoxedLayer>,
    records: Option<PathBuf>,
    on_signals: bool,
    is_quiet: bool,
}

enum Logs {
    ToStandardError,
    Own(BoxedLayer),
    Nowhere,
}

impl Setup {
    /// Changes what telemetry itself does: budgets, exporters, filters. Called again, after the call before.
    pub fn telemetry(
        mut self,
        configure: impl FnOnce(crate::Builder) -> crate::Builder + 'static,
    ) -> Self {
        let before = self.configure;
        self.configure = Box::new(|builder| configure(before(builder)));
        self
    }

    /// Shows log events by this layer. Give it a filter of its own (`with_filter`): a layer without one has every span of
    /// the program made.
    pub fn logs(mut self, layer: impl Layer<Registry> + Send + Sync) -> Self {
        self.logs = Logs::Own(Box::new(layer));
        self
    }

    /// Shows none.
    pub fn without_logs(mut self) -> Self {
        self.logs = Logs::Nowhere;
        self
    }

    /// Adds a layer, such as OpenTelemetry's, beside the others. As with [`logs`](Setup::logs), give it a filter.
    pub fn layer(mut self, layer: impl Layer<Registry> + Send + Sync) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Writes records to this file, whatever `LIGHTWEIGHT_RECORDS` says.
    pub fn records(mut self, path: impl Into<PathBuf>) -> Self {
        self.records = Some(path.into());
        self
    }

    /// Leaves SIGTERM and SIGINT alone.
    pub fn without_signals(mut self) -> Self {
        self.on_signals = false;
        self
    }

    /// Does not say on standard error what was set up.
    pub fn quietly(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Sets it up for the whole program, and says so on standard error, in one line.
    ///
    /// Keep the handle: see [`Builder::build`](crate::Builder::build).
    ///
    /// # Errors
    ///
    /// [`InitError`]: telemetry cannot be built, the file for the records cannot be opened, or the program has a global
    /// subscriber, or a logger of the crate `log`, already: telemetry has begun then and ends again, and
    /// signals stay watched.
    pub fn init(self) -> Result<Telemetry, InitError> {
        let is_quiet = self.is_quiet;
        let (dispatch, telemetry, said) = self.compose()?;
        dispatch.try_init().map_err(InitError::IsSet)?;
        if !is_quiet {
            // Whoever cannot be told, is not.
            let _ = writeln!(std::io::stderr(), "{said}");
        }
        Ok(telemetry)
    }

    /// The same for those who say themselves where the subscriber is to be: for a thread, say, with
    /// [`tracing::dispatcher::set_default`]. Says nothing.
    ///
    /// ```
    /// let (dispatch, telemetry) = telemetry::setup("shop").without_logs().build()?;
    /// tracing::dispatcher::with_default(&dispatch, || {
    ///     tracing::info_span!("request").in_scope(|| ());
    /// });
    /// assert_eq!(telemetry.snapshot().unit("request").unwrap().count, 1);
    /// # Ok::<(), telemetry::InitError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`init`](Setup::init), but for the last one.
    pub fn build(self) -> Result<(Dispatch, Telemetry), InitError> {
        let (dispatch, telemetry, _) = self.compose()?;
        Ok((dispatch, telemetry))
    }

    fn compose(self) -> Result<(Dispatch, Telemetry, String), InitError> {
        let mut said = vec![format!("telemetry of {}", escaped(&self.service))];
        let mut builder = Telemetry::builder().service(self.service);
        let by_variable = || std::env::var_os(RECORDS).filter(|path| !path.is_empty());
        if let Some(path) = self.records.or_else(|| by_variable().map(PathBuf::from)) {
            let file = export::json_lines_file(&path).map_err(InitError::Records)?;
            builder = builder.export(file);
            let path = escaped(&path.to_string_lossy()).into_owned();
            let until = if self.on_signals && cfg!(target_os = "linux") {
                ", at SIGTERM and Ctrl-C too"
            } else {
                ""
            };
            said.push(format!("records to {path}{until}"));
        } else {
            said.push(format!("no records ({RECORDS} names no file)"));
        }
        #[cfg(target_os = "linux")]
        if self.on_signals {
            builder = builder.flush_on_termination();
        }
        let mut layers = self.layers;
        match self.logs {
            Logs::ToStandardError => {
                let (filter, which) = filter_of_logs(std::env::var(LOGS).ok().as_deref());
                said.push(format!("logs to standard error ({which})"));
                let layer = logs::layer().with_writer(std::io::stderr);
                layers.insert(0, Box::new(layer.with_filter(filter)));
            }
            Logs::Own(layer) => {
                said.push("logs by a layer of the program's".to_owned());
                layers.insert(0, layer);
            }
            Logs::Nowhere => said.push("no logs".to_owned()),
        }
        if !alloc_tracker::is_installed() {
            let why = "allocations are not counted: install alloc_tracker::AllocTracker";
            said.push(why.to_owned());
        }
        let (layer, telemetry) = (self.configure)(builder)
            .build()
            .map_err(InitError::Build)?;
        let registry = tracing_subscriber::registry();
        // A list of no layers, or a layer that is none, wants all spans: nothing would be lean beside it.
        let dispatch = match layers.is_empty() {
            true => Dispatch::new(Lean::new(registry.with(layer))),
            false => Dispatch::new(Lean::new(registry.with(layers).with(layer))),
        };
        Ok((dispatch, telemetry, said.join("; ")))
    }
}

/// Which events are shown, and how that came about.
fn filter_of_logs(variable: Option<&str>) -> (EnvFilter, String) {
    let default = || EnvFilter::new("info");
    match variable.filter(|text| !text.trim().is_empty()) {
        None => (default(), format!("info; {LOGS} says nothing")),
        Some(text) => match text.parse() {
            Ok(filter) => (filter, format!("{LOGS}={}", escaped(text))),
            // The variable is shared with others, and no reason to stop a service.
            Err(error) => (
                default(),
                format!("info; {LOGS} is not understood: {error}"),
            ),
        },
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("service", &self.service)
            .field("records", &self.records)
            .field("on_signals", &self.on_signals)
            .finish_non_exhaustive()
    }
}

/// Why nothing was set up.
#[non_exhaustive]
pub enum InitError {
    /// Telemetry cannot be built.
    Build(BuildError),
    /// The file for the records cannot be opened.
    Records(OpenFileError),
    /// The program has a global subscriber, or a global logger of the crate `log`.
    IsSet(TryInitError),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitError::Build(error) => error.fmt(f),
            InitError::Records(error) => error.fmt(f),
            InitError::IsSet(error) => write!(
                f,
                "{error}. `init` sets up tracing and log: it takes the place of what the program has for that; its own layers \
                 go in by `setup(..).layer(..)`"
            ),
        }
    }
}

/// As [`Display`](fmt::Display) has it: that is what a `main` that returns it prints.
impl fmt::Debug for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InitError {
    /// What is behind the cause, which the text names already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            InitError::Build(error) => error.source(),
            InitError::Records(error) => error.source(),
            InitError::IsSet(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::filter_of_logs;

    #[test]
    fn what_the_variable_says_of_logs_is_taken_or_told() {
        let said = |variable| {
            let (filter, said) = filter_of_logs(variable);
            (filter.to_string(), said)
        };
        assert_eq!(
            said(None),
            ("info".into(), "info; RUST_LOG says nothing".into())
        );
        assert_eq!(said(Some(" ")).0, "info");
        assert_eq!(said(Some("warn")), ("warn".into(), "RUST_LOG=warn".into()));
        let (filter, why) = said(Some("shop=loud"));
        assert_eq!(filter, "info");
        assert!(
            why.starts_with("info; RUST_LOG is not understood: "),
            "{why}"
        );
    }
}
