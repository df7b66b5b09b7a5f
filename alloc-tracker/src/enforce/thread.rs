//! A budget's block on one thread.

use super::returned::IsNoFuture;
use super::verdict::{BudgetReport, Findings, Say, Surroundings};
use crate::engine::{ActiveSites, Sites};
use crate::{Budget, Scope, Unit, engine};
use std::cell::RefCell;
use std::thread::panicking;

/// Checks when it is given the block's value, or dropped because the block is left early.
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
    scope: Scope,
    sites: ActiveSites,
    /// The blocks of the work, if it matters which are left.
    following: Option<Following>,
    surroundings: Surroundings,
    start: engine::Here,
}

impl ThreadGuard {
    /// `process`: what all threads do counts.
    pub fn enter(budget: Budget, process: bool, say: Say) -> Self {
        let surroundings = Surroundings::new(process);
        let following = budget.limits_what_is_kept().then(Following::start);
        let sites = Sites::new().activate();
        let start = engine::Here::now();
        ThreadGuard {
            budget,
            say,
            was_panicking: panicking(),
            measuring: RefCell::new(Some(Measuring {
                scope: Scope::enter(),
                sites,
                following,
                surroundings,
                start,
            })),
        }
    }

    /// The block's value, if the budget holds.
    pub fn value<T: IsNoFuture<Proof>, Proof>(&self, value: T) -> T {
        if let Some(report) = self.end() {
            (self.say)(report);
        }
        value
    }

    pub(super) fn finish(self) -> BudgetReport {
        match self.end() {
            Some(report) => report,
            None => unreachable!("a guard ends once"),
        }
    }

    fn end(&self) -> Option<BudgetReport> {
        let measuring = self.measuring.borrow_mut().take()?;
        let usage = measuring.scope.finish();
        let mut surroundings = measuring.surroundings;
        surroundings.count_as_own(measuring.start);
        let retained = measuring.following.and_then(|f| f.unit.retained());
        let (usage, outside) = surroundings.end(usage);
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

/// Follows what this thread allocates, for a budget, and leaves its
/// [current unit](Unit::current) what it is.
#[derive(Debug)]
struct Following {
    unit: Unit,
    segment: engine::UnitSegment,
}

impl Following {
    fn start() -> Self {
        let unit = Unit::following();
        let segment = unit.handle().open_unseen();
        Following { unit, segment }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        engine::close_for_unit(self.segment);
    }
}
