//! No wrapper: what the others are compared with.

fn main() {
    peers::main(Some(|work| work()));
}
