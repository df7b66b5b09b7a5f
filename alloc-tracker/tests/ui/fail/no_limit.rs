#[alloc_tracker::budget(allocs)]
fn f() {}

#[alloc_tracker::budget(allocs = )]
fn g() {}

#[alloc_tracker::budget(allocs <= 3)]
fn h() {}

fn main() {}
