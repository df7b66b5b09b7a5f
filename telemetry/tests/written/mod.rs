//! A telemetry whose records a test can read.

#![allow(dead_code)] // each test program uses a part of it

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use telemetry::export::{Exporter, Flush};
use telemetry::{Builder, Ledger, Stream, Telemetry};

#[path = "../stack/mod.rs"]
pub(crate) mod stack;

/// An exporter that keeps everything, as JSON.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<serde_json::Value>>>);

impl Exporter for Written {
    fn name(&self) -> &str {
        "written"
    }

    fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(
            flush
                .records()
                .iter()
                .map(|r| serde_json::to_value(r).unwrap()),
        );
        Ok(0)
    }
}

impl Written {
    /// Forgets everything, to hold no memory.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    }

    /// The records of a type.
    pub(crate) fn of(&self, kind: &str) -> Vec<serde_json::Value> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|r| r["type"] == kind).cloned().collect()
    }
}

/// A builder that writes into what is returned, when it has to and at the end.
pub(crate) fn builder() -> (Builder, Written) {
    let written = Written::default();
    let builder = Telemetry::builder()
        .flush_every(Duration::from_secs(3600))
        .trace_sample(0.0)
        .export(written.clone());
    (builder, written)
}

/// Does `work` under such a telemetry, and returns its records and last ledger.
pub(crate) fn written(
    configure: impl FnOnce(Builder) -> Builder,
    work: impl FnOnce(&Telemetry),
) -> (Written, Ledger) {
    let (builder, written) = builder();
    let (layer, telemetry) = configure(builder).build().unwrap();
    tracing::dispatcher::with_default(&stack::dispatch(layer), || work(&telemetry));
    let ledger = telemetry.shutdown(Duration::from_secs(10)).unwrap();
    for stream in streams(&ledger).values() {
        assert!(adds_up(stream), "{stream:?}");
    }
    (written, ledger)
}

pub(crate) fn streams(ledger: &Ledger) -> BTreeMap<&str, &Stream> {
    BTreeMap::from([
        ("units", &ledger.units),
        ("events", &ledger.events),
        ("exemplars", &ledger.exemplars),
        ("records", &ledger.records),
    ])
}

pub(crate) fn adds_up(stream: &Stream) -> bool {
    stream.seen == stream.kept + stream.sampled_out + stream.rate_limited + stream.dropped_total()
}

/// The sum of a figure over records.
pub(crate) fn sum(records: &[serde_json::Value], figure: &str) -> u64 {
    records.iter().map(|r| r[figure].as_u64().unwrap()).sum()
}
