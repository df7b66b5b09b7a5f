//! SIGTERM and SIGINT write out what there is, and then end the process as they would have.
//!
//! ```text
//!   signal ───► handler ──┬─ nobody else listens: END ──► background threads write out and end
//!                         │    timer of 2 s ──► signal ───► the process ends │
//!                         │                                                  ▼
//!                         │                        the last of them: the process ends by the signal
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
    AtomicBool, AtomicI32,
    Ordering::{AcqRel, SeqCst},
};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How long the end of the process may wait for exporters, all instances together.
const WITHIN_SECONDS: libc::time_t = 2;

static LISTENERS: Listeners = Listeners::new();
/// The process is ending.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// By which signal.
static ENDS_BY: AtomicI32 = AtomicI32::new(libc::SIGTERM);
const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];
/// Of each of them.
static HANDLERS: [OnceLock<Handler>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

struct Handler {
    signal: libc::c_int,
    process: libc::pid_t,
    before: libc::sigaction,
    timer: libc::timer_t,
}

// SAFETY: a timer's number may be used by any thread; the rest is data.
unsafe impl Send for Handler {}
// SAFETY: the same.
unsafe impl Sync for Handler {}

/// From here on the signals have this thread write out, which answers to what it is told. The error names the signal.
pub(crate) fn listen(background: &Background) -> Result<(), (i32, io::Error)> {
    let Some(thread) = background.thread() else {
        return Ok(());
    };
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    for (signal, handler) in SIGNALS.into_iter().zip(&HANDLERS) {
        if handler.get().is_none() {
            install(signal, handler).map_err(|error| (signal, error))?;
        }
    }
    let _ = background.listening.set(LISTENERS.add(thread));
    Ok(())
}

fn install(signal: libc::c_int, place: &OnceLock<Handler>) -> io::Result<()> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks what there is, and `before` has room for it.
    ok(unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) })?;
    // SAFETY: it was filled in; zeroes are an action, too.
    let before = unsafe { before.assume_init() };
    // SAFETY: zeroes are an event of a kind that is named below.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = signal;
    let mut timer = MaybeUninit::<libc::timer_t>::zeroed();
    // SAFETY: both point to what lives for the call.
    ok(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) })?;
    let handler = Handler {
        signal,
        // SAFETY: it has no conditions.
        process: unsafe { libc::getpid() },
        before,
        // SAFETY: it was filled in.
        timer: unsafe { timer.assume_init() },
    };
    if place.set(handler).is_err() || before.sa_sigaction == libc::SIG_IGN {
        // Whoever ignores it goes on doing so.
        return Ok(());
    }
    let mut ours = before;
    ours.sa_sigaction = on_signal as *const () as libc::sighandler_t;
    ours.sa_flags |= libc::SA_SIGINFO | libc::SA_RESTART;
    ours.sa_flags &= !libc::SA_RESETHAND;
    // SAFETY: the handler has the signature that the flags say, and does what a handler may.
    ok(unsafe { libc::sigaction(signal, &ours, ptr::null_mut()) })
}

fn ok(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a handler may: atomics, `unpark` (a swap and a futex call), and functions that POSIX lists. `errno` is kept.
extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: it is the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    let mut handlers = HANDLERS.iter().filter_map(OnceLock::get);
    if let Some(handler) = handlers.find(|handler| handler.signal == signal) {
        came(handler, (signal, info, context));
    }
    // SAFETY: the same.
    unsafe { *libc::__errno_location() = errno };
}

fn came(handler: &Handler, call: (libc::c_int, *mut libc::siginfo_t, *mut libc::c_void)) {
    // SAFETY: it has no conditions.
    let is_forked = unsafe { libc::getpid() } != handler.process;
    let is_default = handler.before.sa_sigaction == libc::SIG_DFL;
    if is_default && is_ours(handler.signal) {
        // Again, from an impatient user or the timer, or nobody is left to write.
        if is_forked || IS_ENDING.swap(true, AcqRel) || LISTENERS.all().all(Listening::is_over) {
            return end(handler.signal);
        }
        ENDS_BY.store(handler.signal, SeqCst);
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
            return end(handler.signal);
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
fn is_ours(signal: libc::c_int) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks what there is, and `now` has room for it.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) };
    // SAFETY: zeroes are an action, too.
    let now = unsafe { now.assume_init() };
    asked == 0 && now.sa_sigaction == on_signal as *const () as libc::sighandler_t
}

/// The process ends as if nobody had listened.
fn end(signal: libc::c_int) {
    // SAFETY: zeroes are the default action without flags, which is installed; a signal to the process itself does what
    // that says, as soon as a thread takes it.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &default, ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
}

/// A background thread has ended. The last one to do so ends the process, if that is what the signal is to do.
pub(crate) fn ended(listening: &Listening) {
    listening.set_over();
    let is_told = listening.take() == Told::End;
    if is_told && IS_ENDING.load(SeqCst) && LISTENERS.all().all(Listening::is_over) {
        end(ENDS_BY.load(SeqCst));
    }
}
