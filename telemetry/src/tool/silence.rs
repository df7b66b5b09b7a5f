//! Threads that are telemetry's own: nothing that happens on them is said.

use std::cell::Cell;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Nothing that this thread does from here on is a unit or belongs to one: it is telemetry's own.
pub(crate) fn be_silent() {
    SILENT.set(true);
}

#[inline]
pub(crate) fn is_silent() -> bool {
    SILENT.get()
}
