//! SIGTERM writes out what there is, and then ends the process as it would have.
//!
//! ```text
//!   SIGTERM ──► handler ──┬─ nobody else listens: END ──► background threads write out and end
//!                         │    timer of 2 s ──► SIGTERM ──► the process ends │
//!                         │                                                  ▼
//!                         │                        the last of them: the process ends by SIGTERM
//!                         └─ the program listens: FLUSH ──► they write out and go on; its handler does what it does
//! ```
//!
//! Who listened before us is called by us; who listens after us calls us, as all do who share signals. So whether the
//! process is to end is known when the signal comes: whether the handler that the system calls is ours, and what there
//! was before it.

#![allow(unsafe_code)] // a signal's handler, and what it may call

use crate::background::Background;
use crate::tool::listening::{Listeners, Listening, Told};
use std::io;
use std::mem::{MaybeUninit, transmute};
use std::ptr;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, SeqCst},
};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How long the end of the process may wait for exporters, all instances together.
const WITHIN_SECONDS: libc::time_t = 2;

static LISTENERS: Listeners = Listeners::new();
/// The process is ending.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
static HANDLER: OnceLock<Handler> = OnceLock::new();

struct Handler {
    process: libc::pid_t,
    before: libc::sigaction,
    timer: libc::timer_t,
}

// SAFETY: a timer's number may be used by any thread; the rest is data.
unsafe impl Send for Handler {}
// SAFETY: the same.
unsafe impl Sync for Handler {}

/// From here on the signal has this thread write out, which answers to what it is told.
pub(crate) fn listen(background: &Background) -> io::Result<()> {
    let Some(thread) = background.thread() else {
        return Ok(());
    };
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if HANDLER.get().is_none() {
        install()?;
    }
    let _ = background.listening.set(LISTENERS.add(thread));
    Ok(())
}

fn install() -> io::Result<()> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks what there is, and `before` has room for it.
    ok(unsafe { libc::sigaction(libc::SIGTERM, ptr::null(), before.as_mut_ptr()) })?;
    // SAFETY: it was filled in; zeroes are an action, too.
    let before = unsafe { before.assume_init() };
    // SAFETY: zeroes are an event of a kind that is named below.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGTERM;
    let mut timer = MaybeUninit::<libc::timer_t>::zeroed();
    // SAFETY: both point to what lives for the call.
    ok(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) })?;
    let handler = Handler {
        // SAFETY: it has no conditions.
        process: unsafe { libc::getpid() },
        before,
        // SAFETY: it was filled in.
        timer: unsafe { timer.assume_init() },
    };
    if HANDLER.set(handler).is_err() || before.sa_sigaction == libc::SIG_IGN {
        // Whoever ignores it goes on doing so.
        return Ok(());
    }
    let mut ours = before;
    ours.sa_sigaction = on_sigterm as *const () as libc::sighandler_t;
    ours.sa_flags |= libc::SA_SIGINFO | libc::SA_RESTART;
    ours.sa_flags &= !libc::SA_RESETHAND;
    // SAFETY: the handler has the signature that the flags say, and does what a handler may.
    ok(unsafe { libc::sigaction(libc::SIGTERM, &ours, ptr::null_mut()) })
}

fn ok(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a handler may: atomics, `unpark` (a swap and a futex call), and functions that POSIX lists. `errno` is kept.
extern "C" fn on_sigterm(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: it is the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    if let Some(handler) = HANDLER.get() {
        came(handler, (signal, info, context));
    }
    // SAFETY: the same.
    unsafe { *libc::__errno_location() = errno };
}

fn came(handler: &Handler, call: (libc::c_int, *mut libc::siginfo_t, *mut libc::c_void)) {
    // SAFETY: it has no conditions.
    let is_forked = unsafe { libc::getpid() } != handler.process;
    let is_default = handler.before.sa_sigaction == libc::SIG_DFL;
    if is_default && is_ours() {
        // Again, from an impatient user or the timer, or nobody is left to write.
        if is_forked || IS_ENDING.swap(true, AcqRel) || LISTENERS.all().all(Listening::is_over) {
            return end();
        }
        let within = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: WITHIN_SECONDS,
                tv_nsec: 0,
            },
        };
        // SAFETY: the timer is there for good, and `within` for the call.
        if unsafe { libc::timer_settime(handler.timer, 0, &within, ptr::null_mut()) } != 0 {
            return end();
        }
        return LISTENERS.all().for_each(|one| one.tell(Told::End));
    }
    if !is_forked {
        LISTENERS.all().for_each(|one| one.tell(Told::Flush));
    }
    if !is_default {
        call_before(&handler.before, call);
    }
}

/// Calls who listened before.
fn call_before(
    before: &libc::sigaction,
    (signal, info, context): (libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
) {
    type Plain = extern "C" fn(libc::c_int);
    type Informed = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with this flag the system would call it so.
        let handler = unsafe { transmute::<libc::sighandler_t, Informed>(before.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: without it, so.
        let handler = unsafe { transmute::<libc::sighandler_t, Plain>(before.sa_sigaction) };
        handler(signal);
    }
}

/// Whether the system calls us, and not somebody who listens since and calls us in turn.
fn is_ours() -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks what there is, and `now` has room for it.
    let asked = unsafe { libc::sigaction(libc::SIGTERM, ptr::null(), now.as_mut_ptr()) };
    // SAFETY: zeroes are an action, too.
    let now = unsafe { now.assume_init() };
    asked == 0 && now.sa_sigaction == on_sigterm as *const () as libc::sighandler_t
}

/// The process ends as if nobody had listened.
fn end() {
    // SAFETY: zeroes are the default action without flags, which is installed; a signal to the process itself does what
    // that says, as soon as a thread takes it.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(libc::SIGTERM, &default, ptr::null_mut());
        libc::kill(libc::getpid(), libc::SIGTERM);
    }
}

/// A background thread has ended. The last one to do so ends the process, if that is what the signal is to do.
pub(crate) fn ended(listening: &Listening) {
    listening.set_over();
    let is_told = listening.take() == Told::End;
    if is_told && IS_ENDING.load(SeqCst) && LISTENERS.all().all(Listening::is_over) {
        end();
    }
}
