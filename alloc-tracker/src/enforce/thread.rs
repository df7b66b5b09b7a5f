//! A budget's block on one thread.

use super::verdict::{BudgetReport, Findings, Say, Surroundings};
use crate::engine::{ActiveSites, Sites};
use crate::{Budget, Unit, engine};
use std::cell::RefCell;
use std::thread::panicking;

/// Checks as it is dropped, after the block has ended or was left.
#[derive(Debug)]
pub struct ThreadGuard {
    budget: Budget,
    say: Say,
    /// A panic that is under way when the block ends may have been so when it began.
    was_panicking: bool,
    measuring: RefCell<Option<Measuring>>,
}

#[derive(Debug)]
struct Measuring {
    working: Working,
    sites: ActiveSites,
    surroundings: Surroundings,
    start: engine::Here,
}

impl ThreadGuard {
    /// `process`: what all threads do counts.
    pub fn enter(budget: Budget, process: bool, say: Say) -> Self {
        let surroundings = Surroundings::new(process);
        let unit = unit_of(budget);
        let sites = Sites::new().activate();
        let start = engine::Here::now();
        ThreadGuard {
            budget,
            say,
            was_panicking: panicking(),
            measuring: RefCell::new(Some(Measuring {
                working: Working::start(unit),
                sites,
                surroundings,
                start,
            })),
        }
    }

    pub(super) fn finish(self) -> BudgetReport {
        match self.end() {
            Some(report) => report,
            None => unreachable!("a guard ends once"),
        }
    }

    fn end(&self) -> Option<BudgetReport> {
        let measuring = self.measuring.borrow_mut().take()?;
        let unit = measuring.working.end();
        let mut surroundings = measuring.surroundings;
        surroundings.count_as_own(measuring.start);
        let retained = unit.retained();
        let (usage, outside) = surroundings.end(unit.usage());
        Some(self.budget.judge(&Findings {
            usage,
            retained,
            sites: measuring.sites.stop(),
            outside,
        }))
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        // A body that panics has its own say; a second panic would abort.
        let ended = if panicking() && !self.was_panicking {
            None
        } else {
            self.end()
        };
        if let Some(report) = ended {
            (self.say)(report);
        }
    }
}

/// Where a budget's work is counted: it follows its blocks if it matters which are left.
pub(super) fn unit_of(budget: Budget) -> Unit {
    if budget.limits_what_is_kept() {
        Unit::following()
    } else {
        Unit::new()
    }
}

/// This thread works for a budget.
#[derive(Debug)]
struct Working {
    unit: Unit,
    segment: engine::UnitSegment,
}

impl Working {
    fn start(unit: Unit) -> Self {
        Working {
            segment: unit.handle().open_for_budget(),
            unit,
        }
    }

    fn end(self) -> Unit {
        self.unit.clone()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        engine::close_for_unit(self.segment);
    }
}
