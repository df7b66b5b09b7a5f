//! Conditions on live figures that start an incident by themselves.

use super::spec::Incident;
use crate::budgets::Budgets;
use crate::budgets::quantity::BEYOND_ALL;
use crate::record::UnitSnapshot;
use crate::tool::names;
use alloc_tracker::raw::escaped;
use std::time::Duration;

/// At a flush a second, three years.
const MOST_INTERVALS: u32 = 100_000_000;

/// A condition on live figures, looked at at each flush, so only while units end or are worked for, or
/// events come in; when it holds, an incident begins.
///
/// ```
/// use std::time::Duration;
/// use telemetry::{Incident, Telemetry, Trigger};
///
/// let (layer, telemetry) = Telemetry::builder()
///     .trigger(
///         Trigger::p99_above("checkout", Duration::from_millis(200)).for_intervals(3),
///         Incident::for_(Duration::from_secs(60)),
///     )
///     .build()?;
/// # drop(layer);
/// # Ok::<(), telemetry::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a trigger watches when it is handed to `Builder::trigger`"]
pub struct Trigger {
    condition: Condition,
    intervals: u32,
    cool_down: Duration,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    OverBudget { share: f64 },
    P99 { unit: String, above: Duration },
    LiveBytes { growth: u64 },
}

impl Trigger {
    /// More than this share of the units of some kind are over one of the limits of its budget: from 0,
    /// at which one unit is enough, to below 1. Needs [`Builder::budgets`](crate::Builder::budgets).
    ///
    /// ```
    /// use std::time::Duration;
    /// use telemetry::Trigger;
    ///
    /// // One checkout in twenty is over its budget, for three flush intervals; once an hour at most.
    /// let trigger = Trigger::over_budget(0.05)
    ///     .for_intervals(3)
    ///     .cool_down(Duration::from_secs(3600));
    /// # let _ = trigger;
    /// ```
    pub fn over_budget(share: f64) -> Self {
        Self::new(Condition::OverBudget { share })
    }

    /// The 99th percentile of the wall time of the units of this name is above this.
    pub fn p99_above(unit: impl Into<String>, wall: Duration) -> Self {
        let unit = unit.into();
        Self::new(Condition::P99 { unit, above: wall })
    }

    /// The process holds at least this many bytes more than at the flush before. Needs the tracker as global
    /// allocator.
    ///
    /// ```
    /// let trigger = telemetry::Trigger::live_bytes_grow(64 << 20); // 64 MiB from one flush to the next
    /// # let _ = trigger;
    /// ```
    pub fn live_bytes_grow(bytes: u64) -> Self {
        Self::new(Condition::LiveBytes { growth: bytes })
    }

    fn new(condition: Condition) -> Self {
        Trigger {
            condition,
            intervals: 1,
            cool_down: Duration::from_secs(600),
        }
    }

    /// The condition must hold in this many flush intervals running, up to 100,000,000. Default: 1, which 0
    /// means too.
    pub fn for_intervals(mut self, intervals: u32) -> Self {
        self.intervals = intervals.max(1);
        self
    }

    /// Why the condition can never hold, or holds without a reason.
    pub(crate) fn check(&self, budgets: &Budgets) -> Result<(), String> {
        if self.intervals > MOST_INTERVALS {
            let intervals = self.intervals;
            return Err(format!(
                "for_intervals({intervals}): no condition holds in so many running; give it at most \
                 {MOST_INTERVALS}"
            ));
        }
        match &self.condition {
            Condition::OverBudget { share } if !(0.0..1.0).contains(share) => Err(format!(
                "over_budget({share}): the share must be from 0 to below 1, like 0.05"
            )),
            Condition::OverBudget { .. } if budgets.units().next().is_none() => {
                Err("over_budget: there are no budgets; give them to the builder".to_owned())
            }
            Condition::OverBudget { .. } => Ok(()),
            Condition::P99 { unit, above } => {
                names::check(unit).map_err(|why| format!("p99_above({unit:?}): {why}"))?;
                match above.as_nanos() < u128::from(BEYOND_ALL) {
                    true => Ok(()),
                    false => Err(format!("p99_above: no unit takes longer than {above:?}")),
                }
            }
            Condition::LiveBytes { growth: growth @ BEYOND_ALL.. } => Err(format!(
                "live_bytes_grow({growth}): no process holds so many bytes"
            )),
            Condition::LiveBytes { .. } if !alloc_tracker::is_installed() => Err(
                "live_bytes_grow: live bytes are not tracked; build with the feature `track` and install \
                 alloc_tracker::AllocTracker as the global allocator"
                    .to_owned(),
            ),
            Condition::LiveBytes { .. } => Ok(()),
        }
    }

    /// The unit that it is about, if it is about one.
    pub(crate) fn unit(&self) -> Option<&str> {
        match &self.condition {
            Condition::P99 { unit, .. } => Some(unit),
            Condition::OverBudget { .. } | Condition::LiveBytes { .. } => None,
        }
    }

    /// How long the trigger does not fire again after it has. Default: 10 minutes.
    pub fn cool_down(mut self, time: Duration) -> Self {
        self.cool_down = time;
        self
    }
}

/// A trigger at work.
#[derive(Debug)]
pub(crate) struct Watch {
    trigger: Trigger,
    incident: Incident,
    /// Intervals running in which the condition held.
    held: u32,
    /// By the instance's clock; 0: now.
    not_before: u64,
    live_bytes: Option<i64>,
}

impl Watch {
    pub(crate) fn new(trigger: Trigger, incident: Incident) -> Self {
        Watch {
            trigger,
            incident,
            held: 0,
            not_before: 0,
            live_bytes: None,
        }
    }

    /// Looks at the figures of an interval: the incident that begins, if one does.
    pub(super) fn look(&mut self, units: &[UnitSnapshot], now: u64) -> Option<Incident> {
        let found = match self.holds(units) {
            Look::Nothing => return None,
            Look::No => None,
            Look::Yes(why) => Some(why),
        };
        self.held = found.as_ref().map_or(0, |_| self.held + 1);
        let is_time = self.held >= self.trigger.intervals && now >= self.not_before;
        let why = found.filter(|_| is_time)?;
        self.held = 0;
        let cool_down = u64::try_from(self.trigger.cool_down.as_nanos()).unwrap_or(u64::MAX);
        self.not_before = now.saturating_add(cool_down);
        let why = match self.incident.why.as_str() {
            "" => why,
            given => format!("{why}; {given}"),
        };
        Some(self.incident.clone().who("trigger").why(why))
    }

    fn holds(&mut self, units: &[UnitSnapshot]) -> Look {
        match &self.trigger.condition {
            Condition::OverBudget { share } => {
                let figures = || units.iter().flat_map(|unit| unit.budgets.values());
                let broken = units.iter().find_map(|unit| {
                    let mut budgets = unit.budgets.iter();
                    let (limit, figures) =
                        budgets.find(|(_, b)| b.of > 0 && b.over as f64 > share * b.of as f64)?;
                    let (name, limit) = (escaped(&unit.unit), escaped(limit));
                    let figures = figures.describe();
                    Some(format!("{name}: {limit} is over its budget: {figures}"))
                });
                match broken {
                    Some(why) => Look::Yes(why),
                    // None that has a budget ended; some may be in progress.
                    None if figures().all(|figures| figures.of == 0) => Look::Nothing,
                    None => Look::No,
                }
            }
            Condition::P99 { unit, above } => {
                let of_unit = units.iter().filter(|snapshot| snapshot.is_called(unit));
                let walls = of_unit.filter_map(|snapshot| snapshot.metrics.get("wall")?.as_ref());
                let Some(p99) = walls.map(|wall| Duration::from_nanos(wall.p99)).max() else {
                    return Look::Nothing;
                };
                match p99 > *above {
                    true => {
                        let unit = escaped(unit);
                        Look::Yes(format!("{unit}: p99 of wall is {p99:?}, above {above:?}"))
                    }
                    false => Look::No,
                }
            }
            Condition::LiveBytes { growth } => {
                // Those of the program: an incident's own report is no reason for another one.
                let now = alloc_tracker::process_usage().live_bytes();
                let Some(before) = self.live_bytes.replace(now) else {
                    return Look::Nothing;
                };
                let grown = u64::try_from(now - before).unwrap_or(0);
                match grown >= *growth && grown > 0 {
                    true => Look::Yes(format!("live bytes grew by {grown} in a flush interval")),
                    false => Look::No,
                }
            }
        }
    }
}

/// What a look at a condition says.
enum Look {
    /// There are no figures of it.
    Nothing,
    No,
    /// It holds, and this has been found.
    Yes(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(trigger: Trigger) -> Watch {
        Watch::new(trigger, Incident::for_(Duration::from_secs(1)))
    }

    fn unit(name: &str, p99: u64) -> UnitSnapshot {
        serde_json::from_value(serde_json::json!({
            "unit": name, "target": "", "count": 1, "errors": 0, "in_flight": 0, "in_flight_max": 1,
            "metrics": {"wall": {"unit": "ns", "count": 1, "sum": p99, "p50": p99, "p90": p99,
                                  "p99": p99, "p999": p99, "max": p99}},
            "boundaries": {},
        }))
        .unwrap()
    }

    #[test]
    fn units_in_progress_neither_hold_nor_break_a_budget() {
        let unit = |of: u64, over: u64| -> [UnitSnapshot; 1] {
            let mut unit = unit("pay", 7);
            let limit = serde_json::json!({
                "unit_of_measure": "ns", "limit": 1.0, "worst": 7, "over": over, "of": of,
                "holds": over == 0,
            });
            let limit = serde_json::from_value(limit).unwrap();
            unit.budgets.insert("wall.p99".to_owned(), limit);
            [unit]
        };
        let mut watch = watch(Trigger::over_budget(0.1).for_intervals(2));
        assert!(watch.look(&unit(10, 5), 1).is_none(), "once is not twice");
        assert!(watch.look(&unit(0, 0), 2).is_none(), "none ended");
        assert!(watch.look(&unit(10, 5), 3).is_some());
        assert!(watch.look(&unit(10, 5), 4).is_none());
        assert!(watch.look(&unit(10, 0), 5).is_none(), "it holds");
        assert!(watch.look(&unit(10, 5), 6).is_none());
    }

    #[test]
    fn it_fires_when_the_condition_holds_long_enough_and_not_again_while_it_cools_down() {
        let trigger = Trigger::p99_above("pay", Duration::from_nanos(100));
        let trigger = trigger.for_intervals(2).cool_down(Duration::from_nanos(50));
        let mut watch = watch(trigger);
        let (slow, fast) = ([unit("other", 1000), unit("pay", 101)], [unit("pay", 100)]);
        assert!(watch.look(&slow, 10).is_none(), "once is not twice");
        assert!(watch.look(&fast, 11).is_none());
        assert!(watch.look(&slow, 12).is_none());
        let incident = watch.look(&slow, 13).unwrap();
        assert_eq!(incident.who, "trigger");
        assert!(
            incident.why.starts_with("pay: p99 of wall is 101ns"),
            "{}",
            incident.why
        );
        for moment in 14..63 {
            assert!(watch.look(&slow, moment).is_none(), "it cools down");
        }
        assert!(watch.look(&slow, 63).is_some());
    }
}
