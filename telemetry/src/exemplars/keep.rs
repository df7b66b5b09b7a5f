//! Which units are kept, why, and how many each of them stands for.

use crate::budgets::Limit;
use crate::cost::{Finished, Metric};
use crate::os::RANDOM_BITS;
use crate::record::Reason;
use crate::tool::rate::{Limiter, Rate};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

impl Reason {
    /// For one kind of unit.
    const fn rate(self) -> Rate {
        match self {
            Reason::Sample => Rate::every(1, 10),
            Reason::Error | Reason::OverBudget | Reason::Slow => Rate::every(1, 5),
            Reason::Incident => Rate::every_millis(20, 100),
            // Nothing is kept for what is unknown.
            Reason::Rare | Reason::Unknown => Rate::every(60, 3),
        }
    }
}

/// All reasons that apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reasons(u8);

impl Reasons {
    /// Incidents end on time even if the thread that would say so is held up.
    fn as_of(self, now: u64, incidents_end: u64) -> Self {
        match now < incidents_end {
            true => self,
            false => Reasons(self.0 & !(1 << Reason::Incident as u8)),
        }
    }

    fn all(self) -> impl Iterator<Item = Reason> {
        let applies = move |reason: &Reason| self.0 & 1 << *reason as u8 != 0;
        Reason::ALL.into_iter().filter(applies)
    }
}

/// What keeps a unit, and for how many it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kept {
    reasons: Reasons,
    reason: Reason,
    /// Units with the same reason that were left out since the last one that was kept for it.
    left_out: u64,
    /// Units that each unit of the sample stands for.
    per_sampled: f64,
}

impl Kept {
    /// All reasons that apply, the one that kept it first.
    pub(crate) fn why(&self) -> impl Iterator<Item = Reason> {
        let others = self.reasons.all().filter(|other| *other != self.reason);
        [self.reason].into_iter().chain(others)
    }

    /// Whether an incident is the reason.
    pub(crate) fn is_for_incident(&self) -> bool {
        self.reason == Reason::Incident
    }

    /// Of the sample, in which all are.
    #[cfg(test)]
    pub(crate) fn drawn() -> Self {
        Kept {
            reasons: Reasons(0),
            reason: Reason::Sample,
            left_out: 0,
            per_sampled: 1.0,
        }
    }

    /// Whether it stands for all units, not for those with a reason.
    pub(crate) fn is_sample(&self) -> bool {
        self.reason == Reason::Sample
    }

    /// How many units of its kind with the same reason it stands for; of the sample: how many of all.
    pub(crate) fn weight(&self) -> f64 {
        let each = match self.reason {
            Reason::Sample => self.per_sampled,
            _ => 1.0,
        };
        (self.left_out + 1) as f64 * each
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Choice {
    /// There is no reason to keep it.
    No,
    /// The limit of its reason says no.
    RateLimited,
    Keep(Kept),
}

/// The share of units that is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HeadSample {
    /// A unit is drawn if its random number is below this.
    below: u64,
    probability: f64,
}

impl HeadSample {
    /// `None` if it is no probability.
    pub(crate) fn new(probability: f64) -> Option<Self> {
        let below = (probability * (1u64 << RANDOM_BITS) as f64) as u64;
        (0.0..=1.0)
            .contains(&probability)
            .then_some(HeadSample { below, probability })
    }

    /// By a random number of [`RANDOM_BITS`].
    #[inline]
    pub(crate) fn draws(self, random: u64) -> bool {
        random < self.below
    }
}

/// Chooses among the units of one kind.
#[derive(Debug)]
pub(crate) struct Chooser {
    /// Wall time in nanoseconds above which a unit is slow.
    slow_above: AtomicU64,
    /// Of RARE and INCIDENT.
    flags: AtomicU8,
    limiters: [Limiter; Reason::ALL.len()],
    left_out: [AtomicU64; Reason::ALL.len()],
}

impl Default for Chooser {
    fn default() -> Self {
        Chooser {
            slow_above: AtomicU64::new(u64::MAX),
            flags: AtomicU8::new(0),
            limiters: Default::default(),
            left_out: Default::default(),
        }
    }
}

// The flags, as far below the bits of their reasons.
const RARE: u8 = 1;
const INCIDENT: u8 = 2;
const _: () = assert!(Reason::Incident as u8 == Reason::Rare as u8 + 1);

/// Of fewer units nobody can say which are slow.
const SLOW_IS_KNOWN_FROM: u64 = 100;
/// A kind that had less than one in this many units of the last interval is rare.
const RARE_IN: u64 = 100;

impl Chooser {
    /// Chooses a unit that ended at the first of `now`; incidents are over at the second. `is_drawn`: it is in the sample; `is_in_incident`: an
    /// incident is about it by its fields, whatever it is about by its kind.
    #[inline]
    pub(crate) fn choose(
        &self,
        unit: &Finished,
        limits: &[Limit],
        sample: HeadSample,
        (is_drawn, is_in_incident): (bool, bool),
        now: impl FnOnce() -> (u64, u64),
    ) -> Choice {
        let reasons = u8::from(is_drawn) << Reason::Sample as u8
            | u8::from(unit.error) << Reason::Error as u8
            | u8::from(limits.iter().any(|l| l.is_broken_by(unit))) << Reason::OverBudget as u8
            | u8::from(unit.costs.value(Metric::Wall) > self.slow_above.load(Relaxed))
                << Reason::Slow as u8
            | self.flags.load(Relaxed) << Reason::Rare as u8
            | u8::from(is_in_incident) << Reason::Incident as u8;
        if reasons == 0 {
            return Choice::No;
        }
        let (now, incidents_end) = now();
        self.choose_for(Reasons(reasons).as_of(now, incidents_end), sample, now)
    }

    /// The first reason within its limit keeps it; in the books of those before, it is left out.
    #[cold]
    fn choose_for(&self, reasons: Reasons, sample: HeadSample, now: u64) -> Choice {
        if reasons.0 == 0 {
            return Choice::No;
        }
        for reason in reasons.all() {
            let left_out = &self.left_out[reason as usize];
            if self.limiters[reason as usize].allows(reason.rate(), now) {
                return Choice::Keep(Kept {
                    reasons,
                    reason,
                    left_out: left_out.swap(0, Relaxed),
                    per_sampled: 1.0 / sample.probability,
                });
            }
            left_out.fetch_add(1, Relaxed);
        }
        Choice::RateLimited
    }

    /// A unit was kept, and yet is not written: the next one stands for it too.
    pub(crate) fn lose(&self, kept: &Kept) {
        self.left_out[kept.reason as usize].fetch_add(kept.left_out + 1, Relaxed);
    }

    /// What the last interval says of the kind: how many units it had, of how many of all kinds.
    pub(crate) fn learn_share(&self, units: u64, of: u64) {
        self.set(RARE, units * RARE_IN < of);
    }

    /// Whether all units of the kind are within the scope of an incident.
    pub(crate) fn set_incident(&self, within: bool) {
        self.set(INCIDENT, within);
    }

    pub(crate) fn is_in_incident(&self) -> bool {
        self.flags.load(Relaxed) & INCIDENT != 0
    }

    fn set(&self, flag: u8, to: bool) {
        if to {
            self.flags.fetch_or(flag, Relaxed);
        } else {
            self.flags.fetch_and(!flag, Relaxed);
        }
    }

    /// The 99th percentile of the kind's wall time.
    pub(crate) fn learn_p99(&self, p99: u64) {
        self.slow_above.store(p99, Relaxed);
    }

    /// Whether this many units say what is slow.
    pub(crate) fn is_enough(units: u64) -> bool {
        units >= SLOW_IS_KNOWN_FROM
    }
}
