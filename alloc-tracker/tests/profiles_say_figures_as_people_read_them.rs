//! What is written of a profile: its sums, in units that a person reads.
#![cfg(feature = "profile")]

use alloc_tracker::AllocTracker;
use alloc_tracker::profiler::{self, Config, Figure, Profile};
use alloc_tracker::raw::{Account, UnitName};
use std::hint::black_box;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), profiler::ProfileError>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The blocks and bytes of all samples, live or all.
fn sums(profile: &Profile, live_only: bool) -> (f64, f64) {
    let samples = profile.samples().filter(|s| s.is_live() || !live_only);
    samples.fold((0.0, 0.0), |(blocks, bytes), s| {
        (blocks + s.weight(), bytes + s.weight() * s.size() as f64)
    })
}

#[test]
fn the_sums_of_a_profile_stand_at_its_head() {
    let session = profiler::start(Config::default().mean_bytes(1)).unwrap();
    let account = Account::new();
    account.set_name(UnitName::of("of an account"));
    let segment = account.open();
    let kept: Vec<Vec<u8>> = black_box((0..3).map(|_| vec![7; 5 << 20]).collect());
    segment.close();
    session.stop();
    let profile = profiler::snapshot();

    let of_account = |s: &profiler::Sample| s.unit() == Some("of an account");
    let large = profile.samples().filter(|s| s.size() == 5 << 20);
    assert_eq!(large.filter(of_account).count(), 3);

    let (blocks, bytes) = sums(&profile, true);
    let (_, all_bytes) = sums(&profile, false);
    assert!(bytes >= (15 << 20) as f64 && bytes < (20 << 20) as f64);
    let svg = |figure| written(|to| profile.write_flamegraph(figure, to));
    let title = format!("{}: {:.1} MiB", Figure::InuseSpace, bytes / 1048576.0);
    assert!(svg(Figure::InuseSpace).contains(&title), "{title}");
    let title = format!("{}: {blocks:.0}", Figure::InuseObjects);
    assert!(svg(Figure::InuseObjects).contains(&title), "{title}");

    let gperftools = written(|to| profile.write_gperftools(to));
    let head = gperftools.lines().next().unwrap();
    for sum in [blocks, bytes, all_bytes] {
        assert!(
            head.contains(&format!("{sum:.0}")),
            "{sum} is not in {head}"
        );
    }
    drop(kept);
}
