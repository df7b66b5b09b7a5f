//! `dhat`, which profiles every allocation.

#[global_allocator]
static GLOBAL: dhat::Alloc = dhat::Alloc;

fn main() {
    let profiler = dhat::Profiler::builder().file_name("/dev/null").build();
    peers::profiled();
    // Not dropped: it would print, and what it writes is not what is timed.
    std::mem::forget(profiler);
}
