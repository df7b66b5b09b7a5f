#[alloc_tracker::budget(alloc_bytes = "4 KB")]
fn f() {}

fn main() {}
