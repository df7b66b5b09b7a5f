//! The records that exporters are given.

use crate::ledger::Ledger;
use crate::snapshot::{Snapshot, UnitSnapshot};
use serde::{Deserialize, Serialize};

/// One record. Serialised, it is one object with `v`, `type`, `ts` and `service`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// What the units of one kind cost in one interval.
    Unit(UnitRecord),
    /// What became of everything, since the start.
    Ledger(LedgerRecord),
}

/// What the units of one kind cost in one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// The end of the interval, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// The length of the interval in seconds.
    pub seconds: f64,
    /// The figures.
    #[serde(flatten)]
    pub figures: UnitSnapshot,
}

/// What became of everything, since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerRecord {
    /// The version of the format: 1.
    pub v: u32,
    /// When, RFC 3339 in UTC.
    pub ts: String,
    /// The name of the service.
    pub service: String,
    /// The figures.
    #[serde(flatten)]
    pub ledger: Ledger,
}

impl Record {
    /// The records of an interval: one for each kind, and the ledger.
    pub(crate) fn of(interval: Snapshot) -> Vec<Record> {
        let Snapshot {
            v,
            ts,
            service,
            seconds,
            units,
            ledger,
        } = interval;
        let unit = |figures| {
            Record::Unit(UnitRecord {
                v,
                ts: ts.clone(),
                service: service.clone(),
                seconds,
                figures,
            })
        };
        let mut records: Vec<Record> = units.into_iter().map(unit).collect();
        records.push(Record::Ledger(LedgerRecord {
            v,
            ts,
            service,
            ledger,
        }));
        records
    }
}
