//! What telemetry takes for the parent of a span that is being made, where the subscriber hears of another.

use crate::instance::Instance;
use std::cell::Cell;

thread_local! {
    /// What an instance is to take for the parent of the span that is being made.
    static PARENT_OF_NEW: Cell<Option<(usize, u64)>> = const { Cell::new(None) };
}

/// While `make` makes a span in the subscriber, which hears what suits it, telemetry takes this one for
/// its parent. `None`: what the subscriber hears.
pub(crate) fn with_parent<T>(
    instance: &Instance,
    parent: Option<u64>,
    make: impl FnOnce() -> T,
) -> T {
    struct Restore(Option<(usize, u64)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PARENT_OF_NEW.set(self.0);
        }
    }
    let parent = parent.map(|parent| (instance.id, parent));
    let _restore = Restore(PARENT_OF_NEW.replace(parent));
    make()
}

/// What [`with_parent`] says.
#[inline]
pub(crate) fn parent_of_new(instance: &Instance) -> Option<u64> {
    let (of, parent) = PARENT_OF_NEW.get()?;
    (of == instance.id).then_some(parent)
}
