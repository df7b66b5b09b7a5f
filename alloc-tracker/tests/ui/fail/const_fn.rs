#[alloc_tracker::budget(allocs = 1)]
const fn f() -> u8 {
    1
}

fn main() {}
