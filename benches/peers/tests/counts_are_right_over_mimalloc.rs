//! The tracker over `mimalloc::MiMalloc`.

mod over;

over::over!(mimalloc::MiMalloc, mimalloc::MiMalloc);
