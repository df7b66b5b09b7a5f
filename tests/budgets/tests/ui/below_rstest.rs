use rstest::{fixture, rstest};

#[fixture]
fn thousand() -> Vec<Vec<u8>> {
    (0..1000).map(|_| vec![1]).collect()
}

#[rstest]
#[at::budget(allocs = 1)]
fn single(thousand: Vec<Vec<u8>>) {
    drop(thousand);
}

fn main() {}
