//! No `#[global_allocator]` here: nothing is counted, and everything says so.

use alloc_tracker::{Budget, Scope, Unit, Usage, assert_budget, measure, process_usage};
use std::panic::catch_unwind;

#[test]
fn measuring_says_not_tracked() {
    assert!(!alloc_tracker::is_installed());
    let (_, usage) = measure(|| vec![1u8; 10]);
    assert!(!usage.is_tracked());
    assert_eq!(usage.to_string(), "not tracked");
    assert_eq!(Scope::enter().usage().to_string(), "not tracked");
    assert_eq!(process_usage().to_string(), "not tracked");
    let unit = Unit::new();
    unit.run(|| ());
    assert_eq!(unit.usage().to_string(), "not tracked");
}

#[test]
fn a_budget_that_cannot_be_checked_panics_and_says_what_to_add() {
    let panic = catch_unwind(|| assert_budget!(allocs <= 1000, { 1 })).unwrap_err();
    let text = panic.downcast::<String>().unwrap();
    assert!(text.contains("cannot be checked"), "{text}");
    let mend = if cfg!(feature = "track") {
        "#[global_allocator]"
    } else {
        "features = [\"track\"]"
    };
    assert!(text.contains(mend), "{text}");
    let (_, usage) = measure(|| ());
    assert!(Budget::new().allocs(1).check(&usage).is_err());
    assert!(Budget::new().allocs(1).check(&Usage::default()).is_err());
    let (_, report) = Budget::new().allocs(1).report(|| ());
    assert!(report.result().is_err(), "{report}");
    let panic = catch_unwind(|| assert_budget!(process, allocs <= 1000, { 1 })).unwrap_err();
    let text = panic.downcast::<String>().unwrap();
    assert!(text.contains(mend), "{text}");
}

#[test]
fn what_nobody_counted_is_all_zeros() {
    let (_, usage) = alloc_tracker::measure(|| vec![1u8; 10]);
    assert_eq!(usage, alloc_tracker::Usage::default());
    assert_eq!(usage.to_string(), "not tracked");
}
