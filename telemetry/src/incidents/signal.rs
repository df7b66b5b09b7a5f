//! Incidents that a signal starts.

#![allow(unsafe_code)] // a signal's handler has conditions that no type can check

use super::Incident;
use super::listener::Listener;
use crate::instance::Instance;
use crate::tool::listening::Told;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Release};

/// From here on the signal begins the incident.
pub(crate) fn listen(instance: &Instance, signal: i32, incident: Incident) -> io::Result<()> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        let why =
            "no program may listen to it, or none can go on after it; take SIGUSR1 or SIGUSR2";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let came = Arc::new(AtomicBool::new(false));
    let (flag, thread) = (Arc::clone(&came), instance.background.thread());
    let handler = move || {
        flag.store(true, Release);
        if let Some(thread) = &thread {
            thread.unpark();
        }
    };
    // SAFETY: the handler does what a handler may: a store, and on Linux, which this module is for,
    // `unpark` is a swap and a futex call. It neither allocates, locks, panics nor drops anything.
    let id = unsafe { signal_hook::low_level::register(signal, handler) }?;
    let listener = Listener::new(came, incident, id);
    instance.incidents.listeners().push(listener);
    Ok(())
}

impl Instance {
    /// Does what the signals want that came, on the background thread.
    pub(crate) fn answer_signals(&self) {
        match self
            .background
            .listening
            .get()
            .map(|listening| listening.take())
        {
            Some(Told::End) => self.background.stop_soon(),
            Some(Told::Flush) => self.background.flush_soon(),
            Some(Told::Nothing) | None => {}
        }
        let listeners = self.incidents.listeners();
        let incidents: Vec<Incident> = listeners.iter().filter_map(Listener::take).collect();
        drop(listeners);
        for incident in incidents {
            self.begin_unasked(incident);
        }
    }
}
