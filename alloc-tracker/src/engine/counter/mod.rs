//! One thread's sums, and how others read them.
//!
//! * [`block`]: the counters of a thread; [`peaks`], [`countdown`]: what it looks for in them.
//! * [`inside`]: what of them it does for units.
//! * [`published`], [`slot`], [`registry`]: how other threads read them; the process's totals.
//! * [`tools`]: what tools allocate for themselves.

pub(super) mod block;
#[cfg(feature = "profile")]
pub(super) mod countdown;
pub(super) mod counts;
pub(super) mod inside;
pub(super) mod peaks;
pub(super) mod published;
pub(super) mod registry;
pub(super) mod slot;
pub(super) mod tools;

// Where the loom models have it, too.
use super::sync;

// Not in `published`, which the models have with other atomics.
#[cfg(test)]
mod tests {
    use super::published::*;

    #[test]
    fn what_was_raised_stays_until_it_is_cleared() {
        let (block, placing) = (Published::new(), Placing::new());
        block.clear(UNPUBLISHED, &placing);
        assert!(!block.is_alert() && !block.looks_up(0));
        block.raise(OWN);
        block.raise(PROCESS);
        assert_eq!(block.alerts(), OWN | PROCESS);
        assert!(block.looks_up(0) && block.looks_up(123));
        block.clear(OWN, &placing);
        assert_eq!(block.alerts(), PROCESS);
        block.clear(PROCESS, &placing);
        assert!(!block.is_alert() && !block.looks_up(0));
    }
}
