//! This project's heap profiler: `--profile off|stopped|running`.

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn main() {
    let profile = std::env::args().skip_while(|arg| arg != "--profile").nth(1);
    let session = match profile.as_deref() {
        Some("running") => profiler::start(Config::default()).ok(),
        Some("stopped") => {
            profiler::start(Config::default())
                .expect("it starts")
                .stop();
            None
        }
        _ => None,
    };
    peers::profiled();
    drop(session);
}
