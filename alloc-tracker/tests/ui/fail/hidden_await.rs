use alloc_tracker::assert_budget;

async fn test() -> Option<u8> {
    assert_budget!(allocs <= 0, {
        futures::select! {
            n = async { Some(1) } => return n,
            _ = async {} => None,
        }
    })
}

fn main() {}
