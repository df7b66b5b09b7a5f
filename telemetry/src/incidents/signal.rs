//! Incidents that a signal starts.

#![allow(unsafe_code)] // a signal's handler has conditions that no type can check

use super::Incident;
use crate::core::Core;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// A signal that begins an incident, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    came: Arc<AtomicBool>,
    incident: Incident,
    id: signal_hook::SigId,
}

/// From here on the signal begins the incident.
pub(crate) fn listen(core: &Core, signal: i32, incident: Incident) -> io::Result<()> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        let why =
            "no program may listen to it, or none can go on after it; take SIGUSR1 or SIGUSR2";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let came = Arc::new(AtomicBool::new(false));
    let (flag, thread) = (Arc::clone(&came), core.background.thread());
    let handler = move || {
        flag.store(true, Release);
        if let Some(thread) = &thread {
            thread.unpark();
        }
    };
    // SAFETY: the handler does what a handler may: a store, and on Linux, which this module is for,
    // `unpark` is a swap and a futex call. It neither allocates, locks, panics nor drops anything.
    let id = unsafe { signal_hook::low_level::register(signal, handler) }?;
    let listener = Listener { came, incident, id };
    core.incidents.listeners().push(listener);
    Ok(())
}

impl Core {
    /// Begins the incidents whose signals came, on the background thread.
    pub(crate) fn answer_signals(&self) {
        let came = |listener: &Listener| {
            let came = listener.came.swap(false, Acquire);
            came.then(|| listener.incident.clone())
        };
        let incidents: Vec<Incident> = self.incidents.listeners().iter().filter_map(came).collect();
        for incident in incidents {
            self.begin_unasked(incident);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}
