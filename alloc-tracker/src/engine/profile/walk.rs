//! The call stack of the calling thread.
//!
//! By frame pointers where a test at the profiler's start showed that the program has them: a load
//! or two a frame. Otherwise by the unwinder, which reads the program's unwind tables.

use crate::engine::unwind;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Frames that are kept of a stack, the innermost first.
pub(crate) const DEPTH: usize = 128;

/// A stack as far as it was walked.
pub(super) struct Stack {
    frames: [usize; DEPTH],
    len: usize,
    pub(super) end: End,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the outermost frame.
    Complete,
    /// There were more frames than [`DEPTH`].
    TooDeep,
    /// A frame pointer did not point further up the thread's own stack.
    Broken,
}

impl Stack {
    fn new() -> Self {
        Stack {
            frames: [0; DEPTH],
            len: 0,
            end: End::Complete,
        }
    }

    pub(super) fn frames(&self) -> &[usize] {
        &self.frames[..self.len]
    }

    /// False: no more is wanted.
    fn push(&mut self, ip: usize) -> bool {
        match self.frames.get_mut(self.len) {
            Some(place) => {
                *place = ip;
                self.len += 1;
                true
            }
            None => {
                self.end = End::TooDeep;
                false
            }
        }
    }
}

/// How stacks are walked in this process.
static METHOD: AtomicU8 = AtomicU8::new(UNWINDER);
const UNWINDER: u8 = 0;
const FRAME_POINTERS: u8 = 1;

pub(crate) fn by_frame_pointers() -> bool {
    METHOD.load(Relaxed) == FRAME_POINTERS
}

/// The calling thread's stack, from its caller or nearby on.
#[inline(always)]
pub(super) fn walk() -> Stack {
    let mut stack = Stack::new();
    if by_frame_pointers() {
        frame_pointers::walk(&mut stack);
    } else {
        unwind(&mut stack);
    }
    stack
}

#[inline(never)]
fn unwind(stack: &mut Stack) {
    unwind::each_frame(|ip| match ip {
        // The outermost frame may be the end mark.
        0 => false,
        ip => stack.push(ip),
    });
}

/// Finds out whether frame pointers can be used, from now on, and uses them if so.
pub(crate) fn choose() {
    let works = frame_pointers::SUPPORTED && three_calls_deep(&agrees);
    METHOD.store(if works { FRAME_POINTERS } else { UNWINDER }, Relaxed);
}

/// Whether both ways find the same frames, from three functions of this module on to those of whoever
/// starts the profiler. What is further out may be foreign code.
///
/// NOTE: that some frames are the same does not do. In a program without frame pointers the register
/// may hold that of the last function that had one, of the standard library for example.
fn agrees() -> bool {
    let (mut by_pointers, mut by_tables) = (Stack::new(), Stack::new());
    frame_pointers::walk(&mut by_pointers);
    unwind(&mut by_tables);
    let (found, truth) = (by_pointers.frames(), by_tables.frames());
    const CALLERS: usize = 3;
    let functions = [
        one as *const () as usize,
        two as *const () as usize,
        three_calls_deep as *const () as usize,
    ];
    // A function is a few dozen instructions long.
    let is_in = |ip: usize, function: usize| ip > function && ip < function + 512;
    let ours = |frames: &[usize]| (0..3).all(|n| is_in(frames[n], functions[n]));
    let start = found.windows(3).position(ours);
    let Some(frames) = start.and_then(|start| found.get(start..start + 3 + CALLERS)) else {
        return false;
    };
    truth.windows(frames.len()).any(|truth| truth == frames)
}

#[inline(never)]
fn three_calls_deep(f: &dyn Fn() -> bool) -> bool {
    std::hint::black_box(two(f)) & std::hint::black_box(true)
}

#[inline(never)]
fn two(f: &dyn Fn() -> bool) -> bool {
    std::hint::black_box(one(f)) & std::hint::black_box(true)
}

#[inline(never)]
fn one(f: &dyn Fn() -> bool) -> bool {
    std::hint::black_box(f()) & std::hint::black_box(true)
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod frame_pointers {
    use super::{End, Stack};
    use std::cell::Cell;
    use std::mem::MaybeUninit;
    use std::ops::Range;

    pub(super) const SUPPORTED: bool = true;

    thread_local! {
        // Const-initialised and without a destructor, as everything that a hook touches.
        /// The thread's stack; empty: not yet asked for, or unknown.
        static BOUNDS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    }

    /// A record on the stack: the caller's frame pointer, and the address that is returned to.
    type Record = [usize; 2];

    /// NOTE: a frame is read only if it lies in the part of the thread's own stack that is in use,
    /// above the frame before it. A register that holds something else by chance then ends the walk,
    /// or leads to a wrong address in the result, never to memory that is not there.
    #[inline(always)]
    pub(super) fn walk(stack: &mut Stack) {
        let mut frame: usize;
        // SAFETY: reads a register.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
        }
        // What lies above this variable is in use.
        let here = std::ptr::from_ref(&frame).addr();
        let bounds = bounds();
        if !bounds.contains(&here) {
            stack.end = End::Broken;
            return;
        }
        let mut lowest = here;
        loop {
            if frame == 0 {
                return;
            }
            let fits = frame >= lowest && frame <= bounds.end - size_of::<Record>();
            if !fits || frame % align_of::<Record>() != 0 {
                stack.end = End::Broken;
                return;
            }
            // SAFETY: aligned, and inside the used part of this thread's stack, which is mapped and
            // which nobody else writes. What it holds are integers, whatever they mean.
            let [next, ip] =
                unsafe { std::ptr::with_exposed_provenance::<Record>(frame).read_volatile() };
            if ip == 0 {
                return;
            }
            if !stack.push(ip) {
                return;
            }
            lowest = frame + size_of::<Record>();
            frame = next;
        }
    }

    fn bounds() -> Range<usize> {
        let (start, end) = BOUNDS.try_with(Cell::get).unwrap_or_default();
        if end != 0 {
            return start..end;
        }
        let bounds = ask().unwrap_or(0..1);
        let _ = BOUNDS.try_with(|known| known.set((bounds.start, bounds.end)));
        bounds
    }

    /// Once per thread. The C library may call `malloc` for it, which is not ours.
    #[cold]
    fn ask() -> Option<Range<usize>> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let (mut start, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: `attributes` is initialised by the first call if that succeeds, read by the second
        // and given back by the third; the other places are valid.
        let known = unsafe {
            if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
                return None;
            }
            let got = libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            got == 0
        };
        let start = start.addr();
        known.then(|| start..start.saturating_add(size))
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod frame_pointers {
    use super::{End, Stack};

    pub(super) const SUPPORTED: bool = false;

    pub(super) fn walk(stack: &mut Stack) {
        stack.end = End::Broken;
    }
}
