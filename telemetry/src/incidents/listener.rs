//! Who listens to a signal.

use super::Incident;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};

/// A signal that begins an incident, until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    came: Arc<AtomicBool>,
    incident: Incident,
    id: signal_hook::SigId,
}

impl Listener {
    /// `came`: what the handler of this number sets.
    pub(super) fn new(came: Arc<AtomicBool>, incident: Incident, id: signal_hook::SigId) -> Self {
        Listener { came, incident, id }
    }

    /// The incident, if its signal came since this was last called.
    pub(super) fn take(&self) -> Option<Incident> {
        let came = self.came.swap(false, Acquire);
        came.then(|| self.incident.clone())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}
