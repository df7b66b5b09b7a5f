//! What a stream does across a boundary.

use super::Call;
use crate::cost::{BoundaryId, BoundaryMetric};
use crate::live::for_outer;
use crate::thread::{self, AtWork, IfOver, WorksFor};
use std::io::{self, ErrorKind};
#[cfg(feature = "tokio")]
use std::task::Poll;

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
        thread::at_work_for_all(IfOver::Untold, |at_work| pass(&at_work, self.0, metric, n));
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
        tell(&call, direction, &done);
        done
    }

    /// The stream is not ready.
    pub(crate) fn wait(self) -> Call {
        Call::waiting(self.0)
    }

    /// A stream that is polled is ready, or not, after having waited for it with this call, if it had to.
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(crate) fn poll(
        self,
        waits: &mut Option<Call>,
        direction: Direction,
        done: &Poll<io::Result<usize>>,
    ) {
        match (done, &waits) {
            (Poll::Ready(done), None) => self.count(direction, done),
            _ => self.poll_again(waits, direction, done),
        }
    }

    #[cfg(feature = "tokio")]
    #[inline(never)]
    fn poll_again(
        self,
        waits: &mut Option<Call>,
        direction: Direction,
        done: &Poll<io::Result<usize>>,
    ) {
        // Whoever waited for it before may have given up, and another unit has the stream now.
        if !waits
            .as_ref()
            .is_some_and(Call::is_of_whom_the_thread_works_for)
        {
            *waits = None;
        }
        match (done, waits.take()) {
            (Poll::Ready(done), None) => self.count(direction, done),
            (Poll::Ready(done), Some(call)) => tell(&call, direction, done),
            (Poll::Pending, call) => *waits = Some(call.unwrap_or_else(|| self.wait())),
        }
    }
}

/// What came of a call that waited for its stream.
fn tell(call: &Call, direction: Direction, done: &io::Result<usize>) {
    match done {
        Ok(bytes) => call.came(direction.metric(), *bytes as u64),
        Err(error) if is_failure(error) => call.came(BoundaryMetric::Failures, 1),
        Err(_) => {}
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
    at_work.lasting.bell.something_happened();
}
