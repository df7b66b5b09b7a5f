//! `io::Counted` against the kernel's own counters of a socket, and against streams that do odd things.

mod counted;

use counted::counted;
use std::io::{self, BufRead, BufReader, Cursor, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use telemetry::io::Counted;
use telemetry::record::BoundarySnapshot;
use telemetry::{BoundaryMetric, Snapshot};
use tracing::info_span;

fn boundary<'a>(snapshot: &'a Snapshot, name: &str) -> &'a BoundarySnapshot {
    &snapshot.unit("unit").expect("the unit was seen").boundaries[name]
}

fn sum(boundary: &BoundarySnapshot, metric: BoundaryMetric) -> u64 {
    boundary.metric(metric).map_or(0, |metric| metric.sum)
}

/// Sends back what comes, until there is no more.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    });
    address
}

/// Bytes that a socket has sent and received, as the kernel has it.
#[cfg(target_os = "linux")]
fn kernel_counts(stream: &impl std::os::fd::AsRawFd) -> (u64, u64) {
    // `struct tcp_info`, of which the C library knows the beginning only.
    const BYTES_RECEIVED: usize = 128;
    const BYTES_SENT: usize = 200;
    let mut info = [0u8; 256];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the buffer is as long as is said.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    assert_eq!(got, 0, "{}", io::Error::last_os_error());
    assert!(len as usize >= BYTES_SENT + 8, "the kernel is too old");
    let at = |at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().unwrap());
    (at(BYTES_SENT), at(BYTES_RECEIVED))
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_blocks() {
    let mut stream = Counted::new("echo", TcpStream::connect(echo()).unwrap()).timed();
    let mut calls = 0;
    let snapshot = counted(|_| {
        info_span!("unit").in_scope(|| {
            for n in 0..100usize {
                let (head, body) = (vec![1u8; n], vec![2u8; 10 * n + 1]);
                let mut left = 11 * n + 1;
                let bytes = [IoSlice::new(&head), IoSlice::new(&body)];
                left -= stream.write_vectored(&bytes).unwrap();
                stream.write_all(&vec![3u8; left]).unwrap();
                calls += 1 + u64::from(left > 0);
                let (mut head, mut body) = (vec![0u8; n + 1], vec![0u8; 10 * n]);
                let mut buffers = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
                let mut got = stream.read_vectored(&mut buffers).unwrap();
                calls += 1;
                while got < 11 * n + 1 {
                    let mut more = vec![0u8; 11 * n + 1 - got];
                    got += stream.read(&mut more).unwrap();
                    calls += 1;
                }
            }
        });
    });
    let echo = boundary(&snapshot, "echo");
    let told = [BoundaryMetric::Sent, BoundaryMetric::Received].map(|metric| sum(echo, metric));
    assert_eq!((told[0], told[1]), kernel_counts(stream.get_ref()));
    assert_eq!(sum(echo, BoundaryMetric::Calls), calls);
    // It waited for as long as its calls took.
    assert!(sum(echo, BoundaryMetric::Time) > 0);
    assert_eq!(
        sum(echo, BoundaryMetric::Time),
        sum(echo, BoundaryMetric::Waited)
    );
}

#[cfg(all(target_os = "linux", feature = "tokio"))]
#[test]
fn a_socket_that_is_polled() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
    use tracing::Instrument;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let address = echo();
    let mut kernel = (0, 0);
    let snapshot = counted(|_| {
        let work = async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let stream = Counted::new("echo", stream);
            let (mut read, mut write) = split(stream);
            const BYTES: usize = 3_000_000;
            // More than the sockets hold: both ways are waited for.
            let total = std::cell::Cell::new(None);
            let send = async {
                let (mut left, mut sent) = (BYTES, 0);
                while left > 0 {
                    let (one, other) = (vec![1u8; 1000], vec![2u8; 100_000]);
                    let bytes = [IoSlice::new(&one), IoSlice::new(&other)];
                    let written = write.write_vectored(&bytes).await.unwrap();
                    (left, sent) = (left - written.min(left), sent + written);
                }
                write.flush().await.unwrap();
                total.set(Some(sent));
            };
            let receive = async {
                let (mut buffer, mut got) = (vec![0u8; 50_000], 0);
                while total.get() != Some(got) {
                    got += read.read(&mut buffer).await.unwrap();
                }
            };
            tokio::join!(send, receive);
            let stream = read.unsplit(write);
            kernel = kernel_counts(stream.get_ref());
        };
        runtime.block_on(work.instrument(info_span!("unit")));
    });
    let echo = boundary(&snapshot, "echo");
    let told = [BoundaryMetric::Sent, BoundaryMetric::Received].map(|metric| sum(echo, metric));
    assert_eq!((told[0], told[1]), kernel);
    assert!(sum(echo, BoundaryMetric::Waited) > 0, "{snapshot}");
    let unit = snapshot.unit("unit").unwrap();
    let (wait, wall) = (unit.metric("wait").unwrap(), unit.metric("wall").unwrap());
    assert!(wait.sum > 0 && wait.sum <= wall.sum);
}

/// Does what it is told to.
struct Odd(Vec<io::Result<usize>>);

impl Read for Odd {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.pop().unwrap_or(Ok(0))
    }
}

impl Write for Odd {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.0.pop().unwrap_or(Ok(0))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_only_to_be_tried_again_is_no_call_and_other_errors_are_failures() {
    let errors = || {
        use io::ErrorKind::{BrokenPipe, Interrupted, WouldBlock};
        [Interrupted, WouldBlock, BrokenPipe].map(|kind| Err(io::Error::from(kind)))
    };
    for is_timed in [false, true] {
        let snapshot = counted(|_| {
            info_span!("unit").in_scope(|| {
                let mut odd = Counted::new("odd", Odd(errors().into()));
                if is_timed {
                    odd = odd.timed();
                }
                for _ in 0..4 {
                    let _ = odd.read(&mut [0; 4]);
                }
                odd.get_mut().0.extend(errors());
                (0..4).for_each(|_| drop(odd.write(&[0; 4])));
            });
        });
        let odd = boundary(&snapshot, "odd");
        assert_eq!(sum(odd, BoundaryMetric::Failures), 2);
        // Both that failed, and the ends of both ways.
        assert_eq!(sum(odd, BoundaryMetric::Calls), 4, "timed: {is_timed}");
    }
}

#[test]
fn around_a_buffer_it_counts_what_is_taken_out_and_inside_of_one_what_fills_it() {
    let text = "one\ntwo\nthree\n".repeat(1000);
    let snapshot = counted(|_| {
        info_span!("unit").in_scope(|| {
            let file = Counted::new("inside", Cursor::new(text.as_bytes()));
            let mut lines = BufReader::with_capacity(1024, file).lines();
            assert!(lines.by_ref().all(|line| line.is_ok()));
            let mut around = Counted::new("around", Cursor::new(text.as_bytes()));
            assert_eq!(around.seek(SeekFrom::Start(4)).unwrap(), 4);
            let mut line = String::new();
            around.read_line(&mut line).unwrap();
            assert_eq!(line, "two\n");
            let mut rest = Vec::new();
            around.read_to_end(&mut rest).unwrap();
            assert_eq!(around.stream_position().unwrap(), text.len() as u64);
            around.rewind().unwrap();
            assert_eq!(around.into_inner().position(), 0);
        });
        // Outside of any unit nothing is counted, and all is done.
        let mut outside = Counted::new("inside", Vec::new());
        outside.write_all(b"abc").unwrap();
        assert_eq!(outside.get_ref().as_slice(), b"abc");
    });
    let inside = boundary(&snapshot, "inside");
    assert_eq!(sum(inside, BoundaryMetric::Received), text.len() as u64);
    assert_eq!(
        sum(inside, BoundaryMetric::Calls),
        (text.len() as u64).div_ceil(1024) + 1
    );
    assert_eq!(sum(inside, BoundaryMetric::Time), 0);
    let around = boundary(&snapshot, "around");
    assert_eq!(sum(around, BoundaryMetric::Received), text.len() as u64 - 4);
}

/// A stream of bytes that are there or not.
#[cfg(feature = "tokio")]
struct Bytes(std::sync::Arc<std::sync::Mutex<Option<usize>>>);

#[cfg(feature = "tokio")]
impl tokio::io::AsyncRead for Bytes {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.0.lock().unwrap().take() {
            None => std::task::Poll::Pending,
            Some(bytes) => {
                buffer.put_slice(&vec![0; bytes]);
                std::task::Poll::Ready(Ok(()))
            }
        }
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_read_is_of_the_unit_that_it_comes_in_whoever_waited_for_it_before() {
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use tokio::io::{AsyncRead, ReadBuf};

    let bytes = std::sync::Arc::default();
    let mut stream = Counted::new("pool", Bytes(std::sync::Arc::clone(&bytes)));
    let mut poll = || {
        let mut buffer = [0; 100];
        let context = &mut Context::from_waker(Waker::noop());
        Pin::new(&mut stream).poll_read(context, &mut ReadBuf::new(&mut buffer))
    };
    let snapshot = counted(|_| {
        // Outside of any unit, then in one that gives up.
        assert!(poll().is_pending());
        info_span!("gives up").in_scope(|| assert!(poll().is_pending()));
        info_span!("unit").in_scope(|| {
            *bytes.lock().unwrap() = Some(7);
            assert!(poll().is_ready());
            assert!(poll().is_pending());
            *bytes.lock().unwrap() = Some(20);
            assert!(poll().is_ready());
        });
    });
    let pool = boundary(&snapshot, "pool");
    assert_eq!(sum(pool, BoundaryMetric::Received), 27);
    assert_eq!(sum(pool, BoundaryMetric::Calls), 2);
    let gave_up = &snapshot.unit("gives up").unwrap().boundaries["pool"];
    assert_eq!(sum(gave_up, BoundaryMetric::Calls), 0);
}
