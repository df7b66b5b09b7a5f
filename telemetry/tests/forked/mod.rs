//! Children of a busy process: each does one thing and must end.

use std::time::{Duration, Instant};

/// Longer than any child may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a child left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
    /// It hung, and was killed.
    Hung,
}

/// Forks, has the child do `work`, and waits for its end. The child ends with what `work` returns.
pub(crate) fn child(work: impl FnOnce() -> i32) -> End {
    // SAFETY: the child calls what telemetry's documentation allows, and leaves by `_exit` or `exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    if pid == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let code = result.unwrap_or(99);
        // SAFETY: ends the process at once; nothing of the parent's runs in the child.
        unsafe { libc::_exit(code) };
    }
    let start = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place; the child is ours.
        match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
            0 if start.elapsed() > PATIENCE => {
                // SAFETY: the child is ours, and not waited for yet.
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, &mut status, 0);
                }
                return End::Hung;
            }
            0 => std::thread::sleep(Duration::from_micros(200)),
            _ if libc::WIFEXITED(status) => return End::Code(libc::WEXITSTATUS(status)),
            _ => return End::Signal(libc::WTERMSIG(status)),
        }
    }
}
