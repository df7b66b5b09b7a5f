//! What a stream does across a boundary.

use super::Call;
use crate::cost::{BoundaryId, BoundaryMetric};
use crate::live::for_outer;
use crate::thread::{self, AtWork, WorksFor};
use std::io::{self, ErrorKind};

/// Which way bytes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Sent,
    Received,
}

impl Direction {
    fn metric(self) -> BoundaryMetric {
        match self {
            Direction::Sent => BoundaryMetric::Sent,
            Direction::Received => BoundaryMetric::Received,
        }
    }
}

/// The boundary that a stream is across.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing(BoundaryId);

impl Passing {
    pub(crate) fn of(name: &str) -> Self {
        Passing(BoundaryId::named(name).unwrap_or(BoundaryId::OTHER))
    }

    /// Something was read or written, in no time that anybody knows.
    #[inline(always)]
    pub(crate) fn count(self, direction: Direction, done: &io::Result<usize>) {
        match done {
            Ok(bytes) => self.pass(direction.metric(), *bytes as u64),
            Err(error) => self.count_failure(error),
        }
    }

    /// PERF: one function, for each stream and what is done with it.
    #[inline(never)]
    fn pass(self, metric: BoundaryMetric, n: u64) {
        match thread::at_work() {
            WorksFor::Nothing => {}
            WorksFor::One(at_work) => pass(&at_work, self.0, metric, n),
            WorksFor::Several(()) => self.pass_for_all(metric, n),
        }
    }

    #[cold]
    #[inline(never)]
    fn pass_for_all(self, metric: BoundaryMetric, n: u64) {
        thread::at_work_for_all(|at_work| pass(&at_work, self.0, metric, n));
    }

    #[cold]
    #[inline(never)]
    fn count_failure(self, error: &io::Error) {
        if is_failure(error) {
            self.pass(BoundaryMetric::Failures, 1);
        }
    }

    /// Reads or writes, and waits for as long as that takes.
    #[inline(never)]
    pub(crate) fn timed(
        self,
        direction: Direction,
        work: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let call = self.wait();
        let done = work();
        tell(call, direction, &done);
        done
    }

    /// The stream is not ready.
    pub(crate) fn wait(self) -> Call {
        Call::waiting(self.0)
    }
}

/// What became of a call that waited for its stream.
pub(crate) fn tell(call: Call, direction: Direction, done: &io::Result<usize>) {
    match (done, direction) {
        (Ok(bytes), Direction::Sent) => call.sent(*bytes as u64),
        (Ok(bytes), Direction::Received) => call.received(*bytes as u64),
        (Err(error), _) if is_failure(error) => call.failed(),
        (Err(_), _) => call.was_none(),
    }
}

/// Not where it is only to be tried again.
fn is_failure(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

#[inline(always)]
fn pass(at_work: &AtWork, boundary: BoundaryId, metric: BoundaryMetric, n: u64) {
    let (place, thread) = (at_work.place, at_work.thread);
    place.pass(boundary, metric, n, thread);
    for_outer(place, |unit| unit.pass(boundary, metric, n, thread));
}
