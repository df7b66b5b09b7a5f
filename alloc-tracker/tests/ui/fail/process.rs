use alloc_tracker::{assert_budget, budget};

#[budget(process)]
fn no_limit() {}

#[budget(process, peak_bytes = 1)]
fn peak() {}

fn main() {
    assert_budget!(process, peak_bytes <= 1, { 1 });
    assert_budget!(process, { 1 });
    assert_budget!(allocs <= 1, wrong <= 2, { 1 });
    assert_budget!(allocs <= 1);
    assert_budget!();
}
