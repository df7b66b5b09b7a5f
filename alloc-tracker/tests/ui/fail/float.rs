#[alloc_tracker::budget(allocs = 1.5)]
fn f() {}

fn main() {}
