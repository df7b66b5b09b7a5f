//! The calendar is set back to 1970, is before it from the start, or past the year 9999: records go on,
//! nothing panics, and every time is one that can be written and read.
#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;
use telemetry::Incident;
use tracing::{error, info, info_span};

mod written;

/// What the calendar says, in seconds since 1970; `REAL`: what it is.
static CALENDAR: AtomicI64 = AtomicI64::new(REAL);
const REAL: i64 = i64::MAX;

/// In place of the C library's: the whole program, the standard library with it, has its time from here.
///
/// # Safety
///
/// `time` must be a valid place for the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: the kernel's call has the same conditions as this one.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    let set = CALENDAR.load(Relaxed);
    if clock == libc::CLOCK_REALTIME && set != REAL {
        // SAFETY: as the caller promises.
        unsafe { (*time).tv_sec = set };
    }
    result as libc::c_int
}

/// The times in everything that is written while the calendar goes through these.
fn times(calendars: &[i64]) -> Vec<String> {
    // More than an incident has written of each.
    const UNITS: u64 = 400;
    CALENDAR.store(calendars[0], Relaxed);
    let (written, ledger) = written::written(
        |builder| builder.event_rate(1.0, 5).trace_sample(1.0),
        |telemetry| {
            for &calendar in calendars {
                CALENDAR.store(calendar, Relaxed);
                let incident = telemetry.incident(Incident::for_(Duration::from_secs(60)));
                for _ in 0..UNITS {
                    info_span!("unit").in_scope(|| {
                        info!("an event");
                        error!("another");
                    });
                }
                assert!(telemetry.snapshot().unit("unit").is_some());
                telemetry.end_incident(incident.unwrap());
                telemetry.flush();
            }
        },
    );
    CALENDAR.store(REAL, Relaxed);
    let units = written.of("unit");
    let all = UNITS * calendars.len() as u64;
    assert_eq!(written::sum(&units, "count"), all);
    assert_eq!((ledger.panics, ledger.units.kept), (0, all));
    assert_eq!(ledger.records.dropped_total(), 0);
    for kind in ["exemplar", "event", "suppressed", "incident", "ledger"] {
        assert!(!written.of(kind).is_empty(), "{kind}");
    }
    let mut times = Vec::new();
    for kind in [
        "unit",
        "exemplar",
        "event",
        "suppressed",
        "incident",
        "ledger",
    ] {
        for record in written.of(kind) {
            for key in ["ts", "first", "last"] {
                times.extend(record[key].as_str().map(str::to_owned));
            }
        }
    }
    times
}

/// In one test: the calendar is the process's.
#[test]
fn before_1970_and_after_9999_and_jumping() {
    let (now, day) = (1_700_000_000, 86_400);
    for (calendars, years) in [
        (&[now, 0][..], &["2023", "1969", "1970"][..]),
        (&[0, now], &["2023", "1969", "1970"]),
        (&[-day], &["1969"]),
        (&[-1], &["1969"]),
        (&[253_402_300_800, now], &["9999", "2023"]),
        (
            &[i64::MAX / 4, i64::MIN / 4, 0],
            &["9999", "0000", "1969", "1970"],
        ),
    ] {
        for time in times(calendars) {
            let form = "0000-00-00T00:00:00.000Z";
            let digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(digits(&time), form, "{time}");
            assert!(years.contains(&&time[..4]), "{time} with {calendars:?}");
        }
    }
}
