//! All figures at one moment.

use super::{Envelope, Ledger, UnitSnapshot, written_as};
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
    /// Units that a budget, a trigger or a prepared incident is about, and that nobody has seen so far although others were
    /// seen: their names may be wrong. If there is the unit `other`, they may be among those that it stands
    /// for.
    pub unseen: Vec<String>,
    /// Boundaries that a budget allows to be crossed, and that no unit has crossed so far: the same.
    pub unseen_boundaries: Vec<String>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen_boundaries: Vec<String>,
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
            unseen: Vec::new(),
            unseen_boundaries: Vec::new(),
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
