//! The tracker over `snmalloc_rs::SnMalloc`.

mod over;

over::over!(snmalloc_rs::SnMalloc::new(), snmalloc_rs::SnMalloc);
