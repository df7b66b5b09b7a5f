//! In a program of its own: the names of boundaries are the process's.

mod counted;

use counted::counted;
use telemetry::call;
use tracing::info_span;

#[test]
fn a_hundred_thousand_names_are_512_and_other_ones() {
    const NAMES: u64 = 100_000;
    const UNITS: u64 = NAMES / 20;
    let snapshot = counted(|_| {
        for unit in 0..UNITS {
            info_span!("unit").in_scope(|| {
                for n in 0..NAMES / UNITS {
                    drop(call!(format!("host {}", unit * (NAMES / UNITS) + n)));
                }
            });
        }
        // What was told apart, is.
        info_span!("later").in_scope(|| {
            drop(call!("host 0"));
            drop(call!("host 511"));
            drop(call!("host 512"));
        });
    });
    let later = &snapshot.unit("later").unwrap().boundaries;
    assert_eq!(later["host 0"].calls.sum, 1);
    assert_eq!(later["host 511"].calls.sum, 1);
    assert_eq!(later["other"].calls.sum, 1);
    // A kind of units tells fewer apart, and loses none.
    let unit = &snapshot.unit("unit").unwrap().boundaries;
    let calls: u64 = unit.values().map(|boundary| boundary.calls.sum).sum();
    assert_eq!(calls, NAMES);
    assert_eq!(unit.len(), 65);
    assert!(unit.values().all(|b| b.calls.count == UNITS));
}
