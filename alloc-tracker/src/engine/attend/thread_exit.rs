//! What runs when a thread ends, and in the child of a fork.

#[cfg(unix)]
pub(crate) use unix::register;

#[cfg(not(unix))]
pub(crate) use portable::register;

#[cfg(unix)]
mod unix {
    use crate::engine::counter::{block, registry, slot::Slot};
    use std::ffi::c_void;
    use std::ptr;
    use std::sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire},
    };

    /// No key yet.
    const NO_KEY: u64 = u64::MAX;
    static KEY: AtomicU64 = AtomicU64::new(NO_KEY);

    /// Has the calling thread's block detached from `slot` when the thread ends.
    ///
    /// A pthread key, not a Rust thread-local with a destructor: its destructor runs after those,
    /// so what they allocate and free is still counted in the thread's own block. False if the
    /// system has no key or no memory left for this.
    ///
    /// NOTE: the C library runs such destructors in rounds, at most four, each in the order of the keys. A
    /// thread whose very first use of Rust's allocator came after our key's turn in the last round would stay
    /// attached after its end. Threads made by Rust allocate or free before they run anything, so they cannot.
    /// One made by foreign code can only if a library's key comes after [`last_key`], and its destructor, for the
    /// fourth time and not before, calls into Rust. With glibc such a key is the 33rd of a process or later; with
    /// musl and on macOS, which number keys otherwise, it may be any that is made after ours.
    pub(crate) fn register(slot: &'static Slot) -> bool {
        let Some(key) = key() else { return false };
        // SAFETY: `key` came from `pthread_key_create` and is never deleted. The value is an
        // address that stays valid forever.
        unsafe { libc::pthread_setspecific(key, ptr::from_ref(slot).cast()) == 0 }
    }

    /// The process's key; the first caller creates it. Neither waits nor locks: two that race
    /// both create one, and the slower deletes its own.
    fn key() -> Option<libc::pthread_key_t> {
        let known = KEY.load(Acquire);
        if known != NO_KEY {
            return Some(known as libc::pthread_key_t);
        }
        let fresh = last_key()?;
        match KEY.compare_exchange(NO_KEY, fresh as u64, AcqRel, Acquire) {
            Ok(_) => {
                // Once per process, in its first allocation. If it fails, the child of a fork
                // has stale slots: its totals are then wrong, nothing else.
                // SAFETY: the handler has the right signature and lives as long as the code.
                let _ = unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
                Some(fresh)
            }
            Err(winner) => {
                // SAFETY: created above, and no thread has set a value under it.
                unsafe { libc::pthread_key_delete(fresh) };
                Some(winner as libc::pthread_key_t)
            }
        }
    }

    /// Keys that the C library keeps in the thread itself: setting one of them allocates nothing.
    const OWN_KEYS: usize = 32;

    /// A new key, after which few others come: the last of those that a thread has at hand, where they are free.
    fn last_key() -> Option<libc::pthread_key_t> {
        let mut made: [Option<libc::pthread_key_t>; OWN_KEYS] = [None; OWN_KEYS];
        let mut last = None;
        for place in &mut made {
            let mut key: libc::pthread_key_t = 0;
            // SAFETY: `key` is a valid place for the key, `thread_ends` has the right signature.
            if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } != 0 {
                break;
            }
            *place = Some(key);
            if key as usize >= OWN_KEYS {
                break;
            }
            last = last.max(Some(key));
        }
        let last = last.or(made[0])?;
        for other in made.into_iter().flatten().filter(|key| *key != last) {
            // SAFETY: created above, and no thread has set a value under it.
            unsafe { libc::pthread_key_delete(other) };
        }
        Some(last)
    }

    extern "C" fn thread_ends(slot: *mut c_void) {
        // SAFETY: the key's values are only ever set by `register`, to slots, which live forever.
        if let Some(slot) = unsafe { slot.cast::<Slot>().as_ref() } {
            block::with(|block| block.detach(slot));
        }
    }

    extern "C" fn after_fork_in_child() {
        let known = KEY.load(Acquire);
        // SAFETY: the key is valid if there is one; a thread that set no value gets null.
        let own = unsafe { libc::pthread_getspecific(known as libc::pthread_key_t) };
        // SAFETY: as in `thread_ends`.
        registry::forget_other_threads(unsafe { own.cast::<Slot>().as_ref() });
    }
}

#[cfg(not(unix))]
mod portable {
    use crate::engine::counter::{block, slot::Slot};
    use std::cell::Cell;

    struct AtExit(Cell<Option<&'static Slot>>);

    impl Drop for AtExit {
        fn drop(&mut self) {
            if let Some(slot) = self.0.get() {
                block::with(|block| block.detach(slot));
            }
        }
    }

    thread_local! {
        // NOTE: the one thread-local with a destructor, on targets without pthread keys. It is
        // touched once per thread, and refused, not waited for, while the thread is ending.
        static AT_EXIT: AtExit = const { AtExit(Cell::new(None)) };
    }

    pub(crate) fn register(slot: &'static Slot) -> bool {
        AT_EXIT
            .try_with(|at_exit| at_exit.0.set(Some(slot)))
            .is_ok()
    }
}
