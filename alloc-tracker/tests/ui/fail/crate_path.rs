#[alloc_tracker::budget(crate = , allocs = 1)]
fn nothing() {}

#[alloc_tracker::budget(crate, allocs = 1)]
fn no_path() {}

#[alloc_tracker::budget(crate = elsewhere, allocs = 1)]
fn elsewhere() {}

fn main() {}
