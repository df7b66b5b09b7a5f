//! The tracker over `std::alloc::System`.

mod over;

over::over!(std::alloc::System, std::alloc::System);
