//! A service without a tracker.

fn main() {
    peers::service::main();
}
