#[alloc_tracker::budget(allocs = 1, alocs = 2)]
fn f() {}

fn main() {}
