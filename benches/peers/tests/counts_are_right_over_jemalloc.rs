//! The tracker over `tikv_jemallocator::Jemalloc`.

mod over;

over::over!(tikv_jemallocator::Jemalloc, tikv_jemallocator::Jemalloc);
