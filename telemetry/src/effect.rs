//! Whether what is asked for can ever happen.

use crate::budgets::Budgets;
use crate::incidents::{Incident, Trigger};
use crate::os::Sampling;
use crate::subscriber::filter::UnitFilter;

/// The units that triggers and prepared incidents are about; or what can never happen, and why.
pub(crate) fn check<'a>(
    units: &UnitFilter,
    budgets: &Budgets,
    sampling: Sampling,
    triggers: impl Iterator<Item = &'a Trigger>,
    incidents: impl Iterator<Item = &'a Incident>,
) -> Result<Vec<String>, String> {
    let mut watched = Vec::new();
    for trigger in triggers {
        trigger.check(budgets)?;
        watched.extend(trigger.unit().map(str::to_owned));
    }
    watched.extend(incidents.filter_map(Incident::of_unit).map(str::to_owned));
    if let Some(limit) = budgets.of_sample().filter(|_| sampling.is_off()) {
        return Err(format!(
            "{limit} is a figure of the system's sample, and system_sample is 0"
        ));
    }
    let named = budgets.units().next();
    let named = named.or(watched.first().map(String::as_str));
    if let Some(name) = named.filter(|_| units.is_off()) {
        return Err(format!(
            "the filter of units lets none pass, and {name:?} has a budget, a trigger or \
             an incident"
        ));
    }
    Ok(watched)
}
