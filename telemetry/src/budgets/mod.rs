//! Budgets: what a kind of unit may cost, read from `budgets.toml` and checked as units end.

mod limit;
mod parse;
pub(crate) mod quantity;

pub(crate) use limit::{Limit, Over};

use alloc_tracker::raw::escaped;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What each kind of unit may cost.
///
/// ```
/// use telemetry::Budgets;
///
/// let budgets: Budgets = r#"
///     [unit.checkout]
///     allocs.p99 = 120            # 99 % of the units make at most 120 allocations
///     alloc_bytes.p99 = "64 KiB"
///     peak_bytes.max = "1 MiB"    # no unit holds more at once
///     cpu.p99 = "2 ms"
///     calls."db.query".max = 3
///     errors.rate = 0.01          # at most one unit in a hundred fails
/// "#
/// .parse()?;
///
/// let error = "[unit.checkout]\nallocs.p98 = 1".parse::<Budgets>().unwrap_err();
/// assert!(error.to_string().contains("2: unit.checkout.allocs.p98"));
/// # Ok::<(), telemetry::BudgetsError>(())
/// ```
///
/// The metrics are `wall` and its parts `active`, `queued`, `wait` and `unexplained`, `busy`, `cpu` (durations),
/// `alloc_bytes`, `peak_bytes`, `io_bytes` (bytes), `allocs`, `wakeups`, `retries`, `io_calls`, `context_switches`
/// (counts), and for each boundary `calls."name"`, `bytes."name"`, sent and received, `time."name"`, `wait."name"`,
/// `retries."name"` and the others that it has ([`BoundaryMetric`](crate::BoundaryMetric)). Each has `p50`, `p90`, `p99`, `p999` and
/// `max`; `errors` has `rate`. A limit is kept by what is exactly at it.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    units: BTreeMap<String, Vec<Limit>>,
}

impl Budgets {
    /// Reads a file.
    ///
    /// ```
    /// use telemetry::Budgets;
    ///
    /// let error = Budgets::from_path("no/such/budgets.toml").unwrap_err();
    /// assert_eq!(error.line(), None);
    /// assert!(error.to_string().starts_with("no/such/budgets.toml: it cannot be read"));
    /// ```
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not TOML, or says something that cannot be checked: with the
    /// file, the line and the key.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, BudgetsError> {
        let path = path.as_ref();
        let in_file = |error: BudgetsError| BudgetsError {
            path: Some(path.to_owned()),
            ..error
        };
        match fs::read_to_string(path) {
            Ok(text) => text.parse().map_err(in_file),
            Err(source) => Err(in_file(BudgetsError {
                why: format!("it cannot be read: {source}"),
                source: Some(source),
                ..BudgetsError::default()
            })),
        }
    }

    /// The names of the units that have a budget.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        self.units.keys().map(String::as_str)
    }

    /// The boundaries that units may cross, but not too often.
    pub(crate) fn boundaries(&self) -> impl Iterator<Item = &'static str> {
        let limits = self.units.values().flatten();
        limits.filter_map(Limit::boundary).map(|id| id.name())
    }

    /// A limit on a figure that only a sample of the units has, as in the file.
    pub(crate) fn of_sample(&self) -> Option<String> {
        let named = |(unit, limits): (&String, &Vec<Limit>)| {
            let limit = limits.iter().find(|limit| limit.is_of_sample())?;
            Some(format!("unit.{unit:?}.{}", limit.key()))
        };
        self.units.iter().find_map(named)
    }

    /// The limits of units that have the first of these names for which there are some.
    pub(crate) fn of(&self, names: &[&str]) -> &[Limit] {
        let limits = names.iter().find_map(|name| self.units.get(*name));
        limits.map_or(&[], Vec::as_slice)
    }
}

impl FromStr for Budgets {
    type Err = BudgetsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::parse(text).map(|units| Budgets { units })
    }
}

/// Budgets that cannot be used.
///
/// ```
/// use telemetry::Budgets;
///
/// let error = "[unit.checkout]\nallocs.p98 = 1".parse::<Budgets>().unwrap_err();
/// assert_eq!((error.line(), error.key()), (Some(2), "unit.checkout.allocs.p98"));
/// ```
#[derive(Debug, Default)]
pub struct BudgetsError {
    path: Option<PathBuf>,
    /// From 1; 0 where no line is to blame.
    line: usize,
    key: String,
    why: String,
    source: Option<io::Error>,
}

impl BudgetsError {
    /// The line that is wrong, from 1; `None` if the file cannot be read.
    pub fn line(&self) -> Option<usize> {
        (self.line > 0).then_some(self.line)
    }

    /// The key that is wrong, with the keys around it; empty if the text is not TOML.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for BudgetsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => f.write_str(&escaped(&path.to_string_lossy()))?,
            None => f.write_str("budgets")?,
        }
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", escaped(&self.key))?;
        }
        write!(f, ": {}", escaped(&self.why))
    }
}

impl Error for BudgetsError {
    /// What is behind the cause, which the text names already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref()?.source()
    }
}
