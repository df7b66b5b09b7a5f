//! The frames of the calling thread, by the unwinder.

/// Calls `each` with the address in every frame, the innermost first, until it says false. On Windows there are
/// none: a part of its unwinder is one for all threads and has a lock, for which a hook must not wait.
///
/// What it may allocate must not lead back to here: the caller sees to that.
#[inline(always)]
pub(super) fn each_frame(each: impl FnMut(usize) -> bool) {
    #[cfg(windows)]
    let _ = each;
    #[cfg(not(windows))]
    {
        let mut each = each;
        // SAFETY: unsynchronized calls are unsound only where the crate has state that all threads share: on
        // Windows, which is excluded here. Elsewhere the unwinder may run on any number of threads.
        unsafe { backtrace::trace_unsynchronized(|frame| each(frame.ip().addr())) }
    }
}
