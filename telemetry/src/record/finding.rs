//! What somebody should act upon.

use super::{BudgetSnapshot, Envelope};
use crate::tool::words::words;
use serde::{Deserialize, Serialize};

words! {
    /// What a finding is about.
    FindingKind {
        /// A budget did not hold for an interval.
        OverBudget = "over_budget",
        /// A budget, a trigger or a prepared incident is about a unit that nobody saw.
        UnknownUnit = "unknown_unit",
        /// Something of the setting up looks missing: root spans that nobody takes for units.
        Setup = "setup",
    }
}

words! {
    /// What about a metric is limited.
    Statistic {
        /// Half the units keep it.
        P50 = "p50",
        /// 90 % of the units keep it.
        P90 = "p90",
        /// 99 % of the units keep it.
        P99 = "p99",
        /// 99.9 % of the units keep it.
        P999 = "p999",
        /// Every unit keeps it.
        Max = "max",
        /// At most a share of the units has it.
        Rate = "rate",
    }
}

/// Something to act upon.
///
/// ```
/// use std::time::SystemTime;
/// use telemetry::Measure;
/// use telemetry::record::{
///     BrokenBudget, BudgetSnapshot, Envelope, FindingKind, FindingRecord, Resource, Statistic,
/// };
///
/// let envelope = Envelope::new(Resource::new("shop"), SystemTime::now());
/// let message = "checkout: more than 1 in 100 take over 50 ms";
/// let kind = FindingKind::OverBudget;
/// let mut finding = FindingRecord::new(envelope, kind, "checkout", message);
/// let mut kept = BudgetSnapshot::new(Measure::Nanoseconds, 5e7);
/// (kept.over, kept.of, kept.holds) = (31, 1000, false);
/// finding.budget = Some(BrokenBudget::new("wall", Statistic::P99, kept));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FindingRecord {
    /// When it was found.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// What it is about.
    pub finding: FindingKind,
    /// The name of the unit; of the span, if it is about one that is no unit.
    pub unit: String,
    /// The target of its span's call site; empty if nobody saw it.
    pub target: String,
    /// For people.
    pub message: String,
    /// The budget that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BrokenBudget>,
    /// The id of an exemplar that shows it, if one was kept.
    pub exemplar: Option<String>,
}

impl FindingRecord {
    /// About a unit, which is nowhere.
    pub fn new(
        envelope: Envelope,
        finding: FindingKind,
        unit: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        FindingRecord {
            envelope,
            finding,
            unit: unit.into(),
            target: String::new(),
            message: message.into(),
            budget: None,
            exemplar: None,
        }
    }
}

/// A budget that did not hold for one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrokenBudget {
    /// The metric, as in `budgets.toml`.
    pub metric: String,
    /// What about it.
    pub statistic: Statistic,
    /// How it was kept.
    #[serde(flatten)]
    pub figures: BudgetSnapshot,
}

impl BrokenBudget {
    /// How this limit on a metric was kept.
    pub fn new(metric: impl Into<String>, statistic: Statistic, figures: BudgetSnapshot) -> Self {
        BrokenBudget {
            metric: metric.into(),
            statistic,
            figures,
        }
    }
}
