//! The records of one flush, on their way to all exporters.

use super::writer::Told;
use crate::export::{Exporter, Flush, SnapshotSource};
use crate::instance::Instance;
use crate::record::{Record, Snapshot};
use crate::tool::panics::caught;
use alloc_tracker::raw::{for_a_tool, for_the_program};
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(super) struct Delivery {
    instance: Arc<Instance>,
    records: Vec<Record>,
    /// As soon as an exporter wants it.
    snapshot: OnceLock<Snapshot>,
    /// What the records tell once and for all.
    told: Mutex<Option<Told>>,
    /// Exporters that have not answered yet.
    open: AtomicUsize,
    is_written: AtomicBool,
    untold: Arc<Untold>,
}

/// What was told by records that no exporter took: to be told again.
#[derive(Default)]
pub(super) struct Untold(Mutex<Vec<Told>>);

impl Untold {
    pub(super) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Delivery {
    /// To this many exporters.
    pub(super) fn new(
        instance: &Arc<Instance>,
        records: Vec<Record>,
        told: Told,
        exporters: usize,
        untold: &Arc<Untold>,
    ) -> Self {
        Delivery {
            instance: Arc::clone(instance),
            records,
            snapshot: OnceLock::new(),
            told: Mutex::new(Some(told)),
            open: AtomicUsize::new(exporters),
            is_written: AtomicBool::new(false),
            untold: Arc::clone(untold),
        }
    }

    /// Hands it to the exporter with this place in the ledger.
    pub(super) fn to(&self, place: usize, exporter: &mut dyn Exporter) {
        let flush = Flush::of(&self.instance.resource, &self.records, self);
        // An exporter is the user's code: its panic is counted, and ends nothing; its memory is the program's.
        // So is what it returns: an error may panic when it is dropped.
        let export = || exporter.export(&flush).map_err(|error| error.kind());
        let result = caught(|| for_the_program(export));
        match result {
            Some(Ok(bytes)) => {
                let counters = &self.instance.counters;
                counters.records_written(place, self.records.len() as u64, bytes);
                self.is_written.store(true, Relaxed);
                self.answered();
            }
            Some(Err(kind)) => self.lost(place, &format!("write_failed: {kind}")),
            None => self.lost(place, "exporter_panicked"),
        }
    }

    /// The exporter with this place in the ledger does not get it, or not whole.
    pub(super) fn lost(&self, place: usize, why: &str) {
        let counters = &self.instance.counters;
        counters.records_dropped(place, self.records.len() as u64, why);
        self.answered();
    }

    fn answered(&self) {
        // The last one acquires what the others stored.
        if self.open.fetch_sub(1, AcqRel) > 1 || self.is_written.load(Relaxed) {
            return;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = told;
        let mut untold = self.untold.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.extend(told.take());
    }
}

impl SnapshotSource for Delivery {
    fn snapshot(&self) -> &Snapshot {
        // It is telemetry's, for as long as the flush.
        self.snapshot
            .get_or_init(|| for_a_tool(|| self.instance.snapshot()))
    }
}
