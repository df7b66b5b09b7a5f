//! A service with this project's allocator.

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

fn main() {
    peers::service::main();
}
