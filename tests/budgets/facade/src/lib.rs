//! What a crate of test helpers hands on.

pub use at as alloc_tracker;
pub use at::{assert_budget, budget};

/// A budget by a macro of one's own.
#[macro_export]
macro_rules! frugal {
    (at $path:path, $limit:expr, $item:item) => {
        #[$crate::budget(crate = $path, allocs = $limit)]
        $item
    };
    ($item:item) => {
        #[$crate::budget(crate = $crate::alloc_tracker, allocs = 1)]
        $item
    };
}
