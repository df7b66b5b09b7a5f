#[alloc_tracker::budget(allocs = "3")]
fn f() {}

fn main() {}
