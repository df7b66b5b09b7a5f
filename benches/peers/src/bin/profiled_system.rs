//! No profiler, over the system's allocator.

fn main() {
    peers::profiled();
}
