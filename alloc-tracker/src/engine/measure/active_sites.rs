//! A budget's table of call sites, while it is open on a thread.

use super::work;
use crate::engine::watch::sites::Sites;
use std::marker::PhantomData;

/// A table that notes the thread's allocations. If it is forgotten, it is never freed and goes on
/// noting.
#[derive(Debug)]
pub(crate) struct ActiveSites {
    sites: Sites,
    /// It is in the chain of its thread.
    _not_send: PhantomData<*mut ()>,
}

impl Sites {
    /// Notes the calling thread's allocations until the guard is dropped.
    pub(crate) fn activate(self) -> ActiveSites {
        // SAFETY: it is this guard's alone from here on, which cannot leave the thread, and unlinks it when it is
        // stopped or dropped. A guard that is forgotten drops nothing.
        unsafe { self.link() };
        ActiveSites {
            sites: self,
            _not_send: PhantomData,
        }
    }
}

impl ActiveSites {
    /// Ends the noting and returns what was noted.
    pub(crate) fn stop(mut self) -> Sites {
        self.unlink();
        // Ours no more: there is nothing left to unlink or free when we are dropped.
        self.sites.take()
    }

    fn unlink(&self) {
        self.sites.unlink();
        work::see_own_calls_or_not();
    }
}

impl Drop for ActiveSites {
    fn drop(&mut self) {
        // Before the field is dropped, which frees the table.
        self.unlink();
    }
}
