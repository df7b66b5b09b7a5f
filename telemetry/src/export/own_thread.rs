//! An exporter that delays no other.

use super::{Exporter, Flush};
use std::io;

/// Gives an exporter a thread of its own, and a queue of four flushes: while it is slow, the others are not.
///
/// ```
/// use telemetry::{Telemetry, export};
///
/// let (_layer, telemetry) = Telemetry::builder()
///     .export(export::on_its_own_thread(export::json_lines(std::io::sink())))
///     .build()?;
/// # drop(telemetry);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A thread that sleeps without a timer, and the records of up to five flushes, each with its snapshot if another
/// exporter asks for that.
pub fn on_its_own_thread<E: Exporter>(exporter: E) -> OnItsOwnThread<E> {
    OnItsOwnThread(exporter)
}

/// Made by [`on_its_own_thread`].
#[derive(Debug)]
pub struct OnItsOwnThread<E>(E);

impl<E: Exporter> Exporter for OnItsOwnThread<E> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
        self.0.export(flush)
    }

    fn wants_its_own_thread(&self) -> bool {
        true
    }
}
