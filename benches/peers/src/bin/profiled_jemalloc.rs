//! jemalloc; with `_RJEM_MALLOC_CONF=prof:true` its own profiler runs, at 512 KiB.

#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    peers::profiled();
}
