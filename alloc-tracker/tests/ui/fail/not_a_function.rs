#[alloc_tracker::budget(allocs = 1)]
struct S {
    field: u8,
}

#[alloc_tracker::budget(allocs = 1)]
const C: u8 = 1;

trait T {
    #[alloc_tracker::budget(allocs = 1)]
    fn f();
}

fn main() {}
