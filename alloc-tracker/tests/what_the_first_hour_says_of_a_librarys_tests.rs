//! The program of `docs/start.md` for the tests of a library.
#![cfg(all(feature = "track", feature = "macros"))]

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

#[test]
fn parsing_costs_what_it_did() {
    // At most so much.
    let parsed = alloc_tracker::assert_budget!(allocs <= 2, { parse("a=1") });
    // Exactly so much.
    let (again, usage) = alloc_tracker::measure(|| parse("a=1"));
    assert_eq!(usage.allocs, 2);
    assert_eq!(again, parsed);
}

fn parse(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}
