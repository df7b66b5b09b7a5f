#[alloc_tracker::budget]
fn f() {}

#[alloc_tracker::budget()]
fn g() {}

fn main() {}
