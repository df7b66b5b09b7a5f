#[alloc_tracker::budget(allocs = 1, allocs = 2)]
fn f() {}

fn main() {}
