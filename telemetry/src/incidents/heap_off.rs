//! Without the feature `profile` there is no heap profiler.

use super::IncidentId;
use crate::record::HeapReport;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Heap;

impl Heap {
    pub(super) fn want(&mut self, mean: Option<u64>, _for: Duration) -> Result<(), String> {
        match mean {
            None => Ok(()),
            Some(_) => Err("build lightweight-telemetry with the feature `profile`".to_owned()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Before;

pub(super) fn before() -> Before {
    Before
}

pub(super) fn spent() -> (u64, u64) {
    (0, 0)
}

pub(super) fn report(_: &Before, _: &Path, _: &str, _: IncidentId) -> HeapReport {
    HeapReport::default()
}

pub(super) fn check(_mean: u64) -> Result<(), String> {
    Err("build lightweight-telemetry with the feature `profile`".to_owned())
}

pub(super) fn is_crowded() -> bool {
    false
}
