#[alloc_tracker::budget(allocs = 1_000, alloc_bytes = "1_000 KiB", live_bytes = -1,)]
pub unsafe extern "C" fn f() {}

trait T {
    #[alloc_tracker::budget(frees = 1 + 1)]
    fn provided(&self) -> Result<(), ()> {
        Err(())?;
        Ok(())
    }
}

#[alloc_tracker::budget(reallocs = 0)]
async fn inferred() -> Result<u8, Box<dyn std::error::Error>> {
    let n: u8 = "1".parse()?;
    Ok(n)
}

#[alloc_tracker::budget(reallocs = 0)]
fn never() -> ! {
    panic!()
}

fn leaves_in_parentheses(n: u8) -> u8 {
    alloc_tracker::assert_budget!(allocs <= 0, { ({ return n }) });
}

fn main() {}
