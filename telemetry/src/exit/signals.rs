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
//! Who listened before us is called by us; who listens after us calls us, as all do who share signals: `signal-hook`, and
//! with it tokio. Who does not, as `ctrlc`, takes our place. So whether the
//! process is to end is known when the signal comes: whether the handler that the system calls is ours, and what there
//! was before it.

#![allow(unsafe_code)] // a signal's handler, and what it may call

use crate::background::Background;
use crate::tool::listening::{Listeners, Listening, Told};
use std::io;
use std::mem::{MaybeUninit, transmute};
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64,
    Ordering::{AcqRel, SeqCst},
};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How long the end of the process may wait for exporters, all instances together.
const WITHIN_SECONDS: libc::time_t = 2;
/// A signal that comes again sooner than so many nanoseconds is the same: who runs a program sends one to it, and one to
/// its group.
const IMPATIENCE: u64 = 300_000_000;

static LISTENERS: Listeners = Listeners::new();
/// The process is ending.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// Since when, by the monotonic clock.
static ENDING_SINCE: AtomicU64 = AtomicU64::new(0);
/// By which signal.
static ENDS_BY: AtomicI32 = AtomicI32::new(libc::SIGTERM);
const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];
/// Of each of them.
static HANDLERS: [OnceLock<Handler>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

struct Handler {
    signal: libc::c_int,
    before: libc::sigaction,
    /// The process that it is for, of a line of forks: a child that has a telemetry of its own is another.
    process: AtomicI32,
    /// A number, though its type is a pointer.
    timer: AtomicPtr<libc::c_void>,
}

/// From here on the signals have this thread write out, which answers to what it is told. The error names the signal.
pub(crate) fn listen(background: &Background) -> Result<(), (i32, io::Error)> {
    let Some(thread) = background.thread() else {
        return Ok(());
    };
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    for (signal, place) in SIGNALS.into_iter().zip(&HANDLERS) {
        let installed = match place.get() {
            None => install(signal, place),
            Some(handler) if handler.process.load(SeqCst) == process() => Ok(()),
            Some(handler) => handler.begin_anew(),
        };
        installed.map_err(|error| (signal, error))?;
    }
    let _ = background.listening.set(LISTENERS.add(thread, process()));
    Ok(())
}

fn process() -> libc::pid_t {
    // SAFETY: it has no conditions.
    unsafe { libc::getpid() }
}

/// The threads of this process that listen.
fn listeners() -> impl Iterator<Item = &'static Listening> {
    let process = process();
    LISTENERS.all().filter(move |one| one.process == process)
}

/// A timer that will send the signal.
fn timer_of(signal: libc::c_int) -> io::Result<libc::timer_t> {
    // SAFETY: zeroes are an event of a kind that is named below.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = signal;
    let mut timer = MaybeUninit::<libc::timer_t>::zeroed();
    // SAFETY: both point to what lives for the call.
    ok(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) })?;
    // SAFETY: it was filled in.
    Ok(unsafe { timer.assume_init() })
}

impl Handler {
    /// In the child of a fork, which has the handler and not the timer.
    fn begin_anew(&self) -> io::Result<()> {
        self.timer.store(timer_of(self.signal)?, SeqCst);
        IS_ENDING.store(false, SeqCst);
        self.process.store(process(), SeqCst);
        Ok(())
    }
}

fn install(signal: libc::c_int, place: &OnceLock<Handler>) -> io::Result<()> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks what there is, and `before` has room for it.
    ok(unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) })?;
    // SAFETY: it was filled in; zeroes are an action, too.
    let before = unsafe { before.assume_init() };
    let handler = Handler {
        signal,
        before,
        process: AtomicI32::new(process()),
        timer: AtomicPtr::new(timer_of(signal)?),
    };
    if place.set(handler).is_err() || before.sa_sigaction == libc::SIG_IGN {
        // Whoever ignores it goes on doing so.
        return Ok(());
    }
    let mut ours = before;
    ours.sa_sigaction = on_signal as *const () as libc::sighandler_t;
    ours.sa_flags |= libc::SA_SIGINFO;
    ours.sa_flags &= !libc::SA_RESETHAND;
    if before.sa_sigaction == libc::SIG_DFL {
        // Nobody waits for a call to be interrupted: the process would be over.
        ours.sa_flags |= libc::SA_RESTART;
    }
    let mut replaced = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the handler has the signature that the flags say, and does what a handler may.
    ok(unsafe { libc::sigaction(signal, &ours, replaced.as_mut_ptr()) })?;
    // SAFETY: it was filled in.
    let replaced = unsafe { replaced.assume_init() };
    if replaced.sa_sigaction != before.sa_sigaction {
        // Somebody began to listen just now: nobody would call him.
        // SAFETY: it is what was there.
        ok(unsafe { libc::sigaction(signal, &replaced, ptr::null_mut()) })?;
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(())
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
    let is_forked = process() != handler.process.load(SeqCst);
    let is_default = handler.before.sa_sigaction == libc::SIG_DFL;
    if is_default && is_ours(handler.signal) {
        if is_forked || listeners().all(Listening::is_over) {
            return end(handler.signal);
        }
        if IS_ENDING.swap(true, AcqRel) {
            // From an impatient user, or the timer.
            if now().saturating_sub(ENDING_SINCE.load(SeqCst)) > IMPATIENCE {
                end(handler.signal);
            }
            return;
        }
        ENDING_SINCE.store(now(), SeqCst);
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
        let timer = handler.timer.load(SeqCst);
        // SAFETY: the timer is there for good, and `within` for the call.
        if unsafe { libc::timer_settime(timer, 0, &within, ptr::null_mut()) } != 0 {
            return end(handler.signal);
        }
        return listeners().for_each(|one| one.tell(Told::End));
    }
    if !is_forked {
        listeners().for_each(|one| one.tell(Told::Flush));
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
        let handler = unsafe { transmute::<*const (), Informed>(before.sa_sigaction as *const ()) };
        handler(signal, info, context);
    } else {
        // SAFETY: without it, so.
        let handler = unsafe { transmute::<*const (), Plain>(before.sa_sigaction as *const ()) };
        handler(signal);
    }
}

/// Nanoseconds of the monotonic clock, never 0.
fn now() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is there for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
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
    if is_told && IS_ENDING.load(SeqCst) && listeners().all(Listening::is_over) {
        end(ENDS_BY.load(SeqCst));
    }
}
