proptest::proptest! {
    #[alloc_tracker::budget(allocs = 1)]
    fn property(n in 0..10u8) {
        drop(n);
    }
}

fn main() {}
