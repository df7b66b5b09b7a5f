//! The names of units, as numbers that a hook can read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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

static KNOWN: Mutex<Option<Names>> = Mutex::new(None);

/// The number of a name. Locks: not for hooks.
pub(crate) fn number(name: &'static str) -> u32 {
    crate::excluded(|| {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let names = known.get_or_insert_default();
        let name = match names.by_number.len() {
            len if len < NAMES || names.numbers.contains_key(name) => name,
            _ => OTHER,
        };
        *names.numbers.entry(name).or_insert_with(|| {
            names.by_number.push(name);
            names.by_number.len() as u32
        })
    })
}

/// The names that numbers stand for, at `number - 1`.
pub(crate) fn all() -> Vec<&'static str> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .as_ref()
        .map_or_else(Vec::new, |names| names.by_number.clone())
}
