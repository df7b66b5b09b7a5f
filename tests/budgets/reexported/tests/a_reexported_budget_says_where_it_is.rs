//! The dependency is another crate's: `crate = path` says where, and where it is missing, the error does.

use facade::{assert_budget, budget};

#[global_allocator]
static GLOBAL: facade::alloc_tracker::AllocTracker = facade::alloc_tracker::AllocTracker::system();

#[budget(crate = facade::alloc_tracker, allocs = 1)]
fn by_path(n: u8) -> Option<Box<dyn std::fmt::Display>> {
    Some(Box::new(n))
}

facade::frugal! {
    fn by_macro(n: u8) -> Box<dyn std::fmt::Display> {
        Box::new(n)
    }
}

facade::frugal! {
    at facade::alloc_tracker, 1 + 1,
    async fn by_path_of_a_macro(n: u8) -> Box<dyn std::fmt::Display> {
        Box::new(n)
    }
}

#[test]
fn a_path_is_enough() {
    assert_eq!(by_path(1).unwrap().to_string(), "1");
    assert_eq!(by_macro(1).to_string(), "1");
    drop(by_path_of_a_macro(1));
    assert_eq!(assert_budget!(allocs <= 0, 1 + 1), 2);
}

#[test]
fn without_it_the_error_names_it() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
