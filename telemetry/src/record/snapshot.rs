//! All figures at one moment.

use super::{Envelope, Ledger, Level, Outside, UnitSnapshot, written_as};
use alloc_tracker::raw::escaped;
use serde::{Deserialize, Serialize};

/// The cost of every kind of unit, at one moment. Displayed, it is a table.
///
/// ```
/// use telemetry::Telemetry;
/// use tracing_subscriber::prelude::*;
///
/// let (layer, telemetry) = Telemetry::builder().build()?;
/// tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
///     tracing::info_span!("checkout").in_scope(|| ());
/// });
/// let snapshot = telemetry.snapshot();
/// println!("{snapshot}");
/// let checkout = snapshot.unit("checkout").unwrap();
/// let wall = checkout.metric("wall").unwrap();
/// println!("99 % of {} took at most {} ns", wall.count, wall.quantile(0.99));
/// # assert_eq!(wall.count, 1);
/// # Ok::<(), telemetry::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whose figures, and of when.
    pub envelope: Envelope,
    /// Over how many seconds: since the start, or the last flush for an exported interval.
    pub seconds: f64,
    /// The kinds that had units, the one with the most wall time in all first; those too of which none has
    /// ended, and some are in progress.
    pub units: Vec<UnitSnapshot>,
    /// What was done for no unit; `None` if allocations are not tracked.
    pub outside: Option<Outside>,
    /// Units that a budget, a trigger or a prepared incident is about, and that nobody has seen so far although others were
    /// seen: their names may be wrong. If there is the unit `other`, they may be among those that it stands
    /// for.
    pub unseen: Vec<String>,
    /// Boundaries that a budget allows to be crossed, and that no unit has crossed so far: the same.
    pub unseen_boundaries: Vec<String>,
    /// Root spans that nobody takes for units, of which some layer had some made; where no unit was seen so far, the
    /// call sites of all spans that are none. Those that the filter of units names are not in it. And spans that would be
    /// units, and that a filter of all layers hides.
    pub passed_by: Vec<PassedBy>,
    /// What became of everything, since the start.
    pub ledger: Ledger,
}

/// How it is written, as with [`Record`](super::Record).
#[derive(Serialize, Deserialize)]
#[serde(remote = "Snapshot")]
struct Flat {
    #[serde(flatten)]
    envelope: Envelope,
    seconds: f64,
    units: Vec<UnitSnapshot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outside: Option<Outside>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen_boundaries: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed_by: Vec<PassedBy>,
    ledger: Ledger,
}

written_as!(Snapshot, Flat);

impl Snapshot {
    /// Of this many seconds, in which there was no unit.
    pub fn new(envelope: Envelope, seconds: f64) -> Self {
        Snapshot {
            envelope,
            seconds,
            units: Vec::new(),
            outside: None,
            unseen: Vec::new(),
            unseen_boundaries: Vec::new(),
            passed_by: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// The figures of the kind of unit with this name, or else of one whose span has it. If several do: of the one with
    /// the most wall time in all; look through `units` for the others.
    pub fn unit(&self, name: &str) -> Option<&UnitSnapshot> {
        let named = self.units.iter().find(|unit| unit.unit == name);
        named.or_else(|| self.units.iter().find(|unit| unit.is_called(name)))
    }
}

/// What hides spans from all layers, and what to write instead.
const HIDDEN: &str = "hidden by a filter of all layers; put it on the layer that it is for: \
                      `registry().with(fmt::layer().with_filter(filter)).with(layer)`";

/// A call site of spans that are no units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PassedBy {
    /// The name of the spans.
    pub span: String,
    /// Their target.
    pub target: String,
    /// Their level.
    pub level: Level,
    /// The place in the code, `file:line`, if the call site says it.
    pub location: Option<String>,
    /// Root spans that were made, for some other layer.
    pub roots: u64,
    /// They would be units, and a filter of all layers hides them from this one, too.
    #[serde(default)]
    pub hidden: bool,
}

impl PassedBy {
    /// Of which there was no span.
    pub fn new(span: impl Into<String>, target: impl Into<String>, level: Level) -> Self {
        PassedBy {
            span: span.into(),
            target: target.into(),
            level,
            location: None,
            roots: 0,
            hidden: false,
        }
    }

    /// What to give to [`Builder::units`](crate::Builder::units) to have these be units.
    ///
    /// ```
    /// use telemetry::record::{Level, PassedBy};
    ///
    /// let passed_by = PassedBy::new("request", "my_server::http", Level::Debug);
    /// assert_eq!(passed_by.filter(), "info,my_server::http=debug");
    /// ```
    pub fn filter(&self) -> String {
        let level = self.level.as_str().to_ascii_lowercase();
        format!("info,{}={level}", self.target)
    }

    /// Whose they are, and what to write, in one line.
    pub(crate) fn describe(&self) -> String {
        let (span, target) = (escaped(&self.span), escaped(&self.target));
        let (level, filter) = (self.level.as_str(), self.filter());
        if self.hidden {
            return format!("{span} ({target}, {level}): {HIDDEN}");
        }
        let units = format!("to have them be units: .units({:?})", escaped(&filter));
        format!("{span} ({target}, {level}); {units}")
    }
}
