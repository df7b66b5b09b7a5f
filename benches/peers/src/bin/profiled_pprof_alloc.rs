//! `pprof-alloc` 0.6.

#[global_allocator]
static GLOBAL: pprof_alloc::PprofAlloc = pprof_alloc::PprofAlloc::new().with_pprof();

fn main() {
    peers::profiled();
}
