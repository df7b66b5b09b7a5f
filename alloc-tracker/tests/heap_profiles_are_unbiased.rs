//! The four figures of heap profiles against the exact ones, over many seeded runs.
#![cfg(feature = "profile")]

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config, Estimate};

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

#[test]
fn smoke() {
    let session = profiler::start(Config::default().mean_bytes(4096).seed(1)).unwrap();
    let unit = alloc_tracker::Unit::named("keeps");
    let held: Vec<Vec<u8>> = unit.run(|| (0..10000).map(|_| vec![7; 1000]).collect());
    let mut big: Vec<u8> = Vec::new();
    for i in 0..3_000_000u32 {
        big.push(i as u8);
    }
    for (i, b) in big.iter().enumerate() {
        assert_eq!(*b, i as u8);
    }
    session.stop();
    let profile = profiler::snapshot();
    let _: Estimate = profile.estimate();
    println!("{:#?} {:#?}", profile.estimate(), profile.info());
    let diff = profile.since(&profiler::snapshot());
    println!("{diff}");
    profile
        .write_pprof(std::fs::File::create("/tmp/heap.pb.gz").unwrap())
        .unwrap();
    profile
        .write_flamegraph(
            profiler::Figure::InuseSpace,
            std::fs::File::create("/tmp/heap.svg").unwrap(),
        )
        .unwrap();
    profile
        .write_json(std::fs::File::create("/tmp/heap.json").unwrap())
        .unwrap();
    profile
        .write_collapsed(profiler::Figure::InuseSpace, std::io::stdout())
        .unwrap();
    drop(held);
    drop(big);
    println!("{:#?}", profiler::snapshot().estimate());
}
