//! Streams whose calls and bytes are counted.

#[cfg(feature = "tokio")]
mod asynchronous;

use crate::boundary::{Direction, Passing};
#[cfg(feature = "tokio")]
use asynchronous::Pending;
use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};

/// A stream whose calls and bytes are counted across a [boundary](crate::Boundary), for the unit that each call is made in.
///
/// A call is one of [`Read`] or [`Write`] that the stream does: what is read through a buffer crosses no boundary before the
/// buffer is filled, so the wrapper belongs around the socket or the file, and the buffer around the wrapper. A call that
/// fails is counted as failed, but for [`Interrupted`](io::ErrorKind::Interrupted) and
/// [`WouldBlock`](io::ErrorKind::WouldBlock), which are no calls.
///
/// ```
/// use std::io::{BufRead, BufReader, Cursor};
/// use telemetry::io::Counted;
///
/// let socket = Cursor::new(b"PING\r\n".to_vec());
/// let mut lines = BufReader::new(Counted::new("redis", socket)).lines();
/// assert_eq!(lines.next().unwrap()?, "PING");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With the feature `tokio` it is an `AsyncRead` and `AsyncWrite` where the stream is: what it waits for, from the first
/// time that it is not ready to when it is, is `time` and `waited` of the boundary, and its unit's `wait` where no thread
/// works for that. A read that is given up while it is not ready counts as waited for until the stream is polled again, or
/// dropped. A blocking stream is timed by [`timed`](Counted::timed).
///
/// # Cost
///
/// 130 instructions more than what the stream itself takes, no allocation and no lock. Timed, two readings of the clock more.
#[derive(Debug)]
pub struct Counted<S> {
    passing: Passing,
    is_timed: bool,
    #[cfg(feature = "tokio")]
    pending: Pending,
    stream: S,
}

impl<S> Counted<S> {
    /// Counts what the stream does across the boundary of this name.
    pub fn new(name: &str, stream: S) -> Self {
        Counted {
            passing: Passing::of(name),
            is_timed: false,
            #[cfg(feature = "tokio")]
            pending: Pending::default(),
            stream,
        }
    }

    /// Measures the time of blocking calls, too: each waits for as long as it takes.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use telemetry::io::Counted;
    ///
    /// # let stream = std::io::Cursor::new(Vec::new());
    /// let mut stream = Counted::new("mail", stream).timed();
    /// stream.write_all(b"QUIT\r\n")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn timed(mut self) -> Self {
        self.is_timed = true;
        self
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream. What is done with it is not counted.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, counted no more.
    pub fn into_inner(self) -> S {
        self.stream
    }

    #[inline(always)]
    fn reads(&mut self, read: impl FnOnce(&mut S) -> io::Result<usize>) -> io::Result<usize> {
        if self.is_timed {
            return (self.passing).timed(Direction::Received, || read(&mut self.stream));
        }
        let read = read(&mut self.stream);
        self.passing.count(Direction::Received, &read);
        read
    }

    /// Takes this much out of a buffer of the stream's.
    #[inline(always)]
    fn took(&mut self, bytes: usize) {
        if bytes > 0 {
            self.passing.count(Direction::Received, &Ok(bytes));
        }
    }

    #[inline(always)]
    fn writes(&mut self, write: impl FnOnce(&mut S) -> io::Result<usize>) -> io::Result<usize> {
        if self.is_timed {
            return (self.passing).timed(Direction::Sent, || write(&mut self.stream));
        }
        let written = write(&mut self.stream);
        self.passing.count(Direction::Sent, &written);
        written
    }
}

impl<S: Read> Read for Counted<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads(|stream| stream.read(buffer))
    }

    #[inline]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.reads(|stream| stream.read_vectored(buffers))
    }
}

/// What is read from a stream that has a buffer itself is a call when it is taken out of that.
impl<S: BufRead> BufRead for Counted<S> {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.stream.fill_buf()
    }

    #[inline]
    fn consume(&mut self, bytes: usize) {
        self.stream.consume(bytes);
        self.took(bytes);
    }
}

impl<S: Write> Write for Counted<S> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes(|stream| stream.write(bytes))
    }

    #[inline]
    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes(|stream| stream.write_vectored(bytes))
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Seek> Seek for Counted<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.stream.seek(to)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.stream.rewind()
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        self.stream.stream_position()
    }
}
