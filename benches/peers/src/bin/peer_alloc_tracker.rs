//! `alloc_tracker` 0.7.

use peer_alloc_tracker::{Allocator, Operation, Session};
use std::alloc::System;
use std::sync::OnceLock;

#[global_allocator]
static GLOBAL: Allocator<System> = Allocator::system();

fn operation() -> &'static Operation {
    static OPERATION: OnceLock<(Session, Operation)> = OnceLock::new();
    let (_, operation) = OPERATION.get_or_init(|| {
        let session = Session::new().no_stdout().no_file();
        let operation = session.operation("work");
        (session, operation)
    });
    operation
}

fn main() {
    peers::main(Some(|work| {
        let _span = operation().measure_thread().iterations(1);
        work();
    }));
}
