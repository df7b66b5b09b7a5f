//! What a profile says of its own standard errors follows from the weights of its samples: a block that is a sample with
//! probability p stands for w = 1 / p, and adds (1 - p) / p² = w² - w to the variance of their number.
#![cfg(feature = "profile")]

use alloc_tracker::profiler::{self, Config, Estimated};
use alloc_tracker::{AllocTracker, Unit};
use std::hint::black_box;

#[global_allocator]
static GLOBAL: AllocTracker = AllocTracker::system();

fn is_near(estimated: Estimated, value: f64, variance: f64) -> bool {
    let is_near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b;
    is_near(estimated.value, value) && is_near(estimated.standard_error, variance.sqrt())
}

#[test]
fn of_blocks_in_use_and_of_their_bytes() {
    let config = Config::default().mean_bytes(4096).seed(7);
    let session = profiler::start(config).unwrap();
    let held: Vec<Vec<u8>> = (0..3000).map(|n| black_box(vec![1; 1 + n * 7])).collect();
    Unit::named("gone").run(|| (0..400).for_each(|_| drop(black_box(vec![1u8; 100_000]))));
    session.stop();
    let profile = profiler::snapshot();
    drop(held);

    // So large that each is a sample. They stand together.
    let mut gone = profile
        .samples()
        .filter(|sample| sample.unit() == Some("gone"));
    let sample = gone.next().unwrap();
    assert!(gone.next().is_none());
    assert_eq!(
        (sample.is_live(), sample.thread(), sample.size()),
        (false, None, 100_000)
    );
    assert!((sample.weight() - 400.0).abs() < 0.01, "{sample:?}");

    let live = profile.samples().filter(|sample| sample.is_live());
    let (mut objects, mut bytes) = ((0.0, 0.0), (0.0, 0.0));
    let mut number = 0;
    for sample in live {
        let (weight, size) = (sample.weight(), sample.size() as f64);
        let variance = weight * weight - weight;
        objects = (objects.0 + weight, objects.1 + variance);
        bytes = (bytes.0 + size * weight, bytes.1 + size * size * variance);
        number += 1;
    }
    assert!((1000..3000).contains(&number), "{number}");
    let info = profile.info();
    assert_eq!(info.live, number);
    assert!(info.bytes > 0 && info.samples >= number, "{info:?}");
    let estimate = profile.estimate();
    assert!(
        is_near(estimate.inuse_objects, objects.0, objects.1),
        "{estimate:?} {objects:?}"
    );
    assert!(
        is_near(estimate.inuse_bytes, bytes.0, bytes.1),
        "{estimate:?} {bytes:?}"
    );
}
