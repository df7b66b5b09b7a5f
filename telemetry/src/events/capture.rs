//! An event on its way from the application's thread to the background thread.

use crate::callsites::SiteId;
use crate::cost::KindId;
use crate::details::FieldBytes;
use crate::record::TraceIds;
use crate::subscriber::CallSite;
use std::time::SystemTime;

/// An event that is to be written.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) at: SystemTime,
    /// The same by the clock of events.
    pub(crate) now: u64,
    pub(crate) site: SiteId,
    pub(crate) call_site: CallSite,
    /// As [`FieldBytes`] writes them.
    pub(crate) fields: Box<[u8]>,
    /// The kind of the unit that it happened in.
    pub(crate) unit: Option<KindId>,
    /// Of how many events that passed their limit it is an example.
    pub(crate) weight: f64,
    /// Where it is in a trace.
    pub(crate) trace: Option<TraceIds>,
}

impl Captured {
    pub(crate) fn new(
        (site, call_site): (SiteId, CallSite),
        (at, now): (SystemTime, u64),
        fields: &FieldBytes,
        unit: Option<KindId>,
        weight: f64,
    ) -> Self {
        Captured {
            at,
            now,
            site,
            call_site,
            fields: fields.as_bytes().into(),
            unit,
            weight,
            trace: None,
        }
    }

    /// Bytes that it takes while it waits.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.fields.len()
    }
}
