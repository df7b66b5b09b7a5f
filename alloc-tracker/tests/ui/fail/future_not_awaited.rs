use alloc_tracker::{assert_budget, assert_no_alloc};

async fn work() -> Vec<u8> {
    vec![1]
}

async fn test() {
    drop(assert_budget!(allocs <= 0, { work() }));
    drop(assert_no_alloc!(work()));
    drop(assert_no_alloc!({ Some(work()) }));
    drop(assert_budget!(allocs <= 0, async { work() }));
    drop(assert_budget!(allocs <= 0, { (work().await, work()).1 }));
}

fn run() {
    drop(alloc_tracker::Budget::new().allocs(0).run(|| work()));
}

fn main() {}
