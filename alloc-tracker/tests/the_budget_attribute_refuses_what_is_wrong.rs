//! Wrong attributes are compile errors, in words and at the place that help.

use alloc_tracker::Metric;

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}

#[test]
fn it_takes_every_figure_that_a_budget_has() {
    // What the test above has seen the compiler say.
    let said = include_str!("ui/fail/empty.stderr").lines().next().unwrap();
    let (_, listed) = said.split_once("one or more of ").unwrap();
    let names: Vec<String> = (Metric::ALL.iter())
        .map(|metric| format!("`{metric}`"))
        .collect();
    assert_eq!(listed, names.join(", "));
}
