//! `hotpath` 0.30, with its allocation counting.

#[hotpath::measure]
fn measured(work: &mut dyn FnMut()) {
    work();
}

#[hotpath::main(format = "none")]
fn main() {
    peers::main(Some(measured));
}
