use alloc_tracker::assert_budget;
use std::pin::Pin;

async fn test(work: Option<Pin<Box<dyn Future<Output = u8>>>>) -> Option<u8> {
    assert_budget!(allocs <= 0, {
        futures::select! {
            n = work? => return Some(n),
            _ = async {} => None,
        }
    })
}

fn main() {}
