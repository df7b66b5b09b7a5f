#[facade::budget(allocs = 1)]
fn f() {}

fn main() {}
