//! The names of units, as numbers that a hook can read.

use crate::engine::measure::segments::Excluded;
use crate::fork::Lock;
use std::collections::HashMap;

/// No name.
pub(crate) const NONE: u32 = 0;

/// Names that are kept apart; past them, units are called [`OTHER`].
const NAMES: usize = 4096;
const OTHER: &str = "other";

#[derive(Default)]
struct Names {
    by_number: Vec<&'static str>,
    numbers: HashMap<&'static str, u32>,
}

static KNOWN: Lock<Names> = Lock::new();

/// The number of a name. Locks: not for hooks.
pub(crate) fn number(name: &str) -> u32 {
    let _own = Excluded::start_a_tools();
    let mut guard = KNOWN.lock();
    if !guard.is_first() {
        // In the child of a fork that came while a name was entered: numbers are not given anew.
        return NONE;
    }
    // Once, for two fields of it are borrowed at a time.
    let names = &mut *guard;
    if let Some(number) = names.numbers.get(name) {
        return *number;
    }
    let name = match names.by_number.len() {
        // For good, as a profile may be taken at any time: of these there are not many.
        len if len < NAMES => Box::leak(name.into()),
        _ => OTHER,
    };
    *names.numbers.entry(name).or_insert_with(|| {
        names.by_number.push(name);
        names.by_number.len() as u32
    })
}

/// The names that numbers stand for, at `number - 1`.
pub(crate) fn all() -> Vec<&'static str> {
    KNOWN.lock().by_number.clone()
}
