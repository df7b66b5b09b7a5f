//! A reference to what lasts as long as the program, which threads may change.

#![allow(unsafe_code)] // reads what the pointer leads to

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// A reference, or none. Who reads it sees what it leads to as it was when it was stored.
pub(crate) struct StaticRef<T: 'static> {
    to: AtomicPtr<T>,
    // As if it owned one: it is shared between threads exactly where `&'static T` is.
    of: PhantomData<&'static T>,
}

impl<T> StaticRef<T> {
    pub(crate) const fn none() -> Self {
        StaticRef {
            to: AtomicPtr::new(ptr::null_mut()),
            of: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn set(&self, to: Option<&'static T>) {
        let to = to.map_or(ptr::null(), ptr::from_ref);
        self.to.store(to.cast_mut(), Release);
    }

    /// The reference that is there; this one, if there is none.
    pub(crate) fn get_or_set(&self, to: &'static T) -> &'static T {
        let new = ptr::from_ref(to).cast_mut();
        let found = (self.to).compare_exchange(ptr::null_mut(), new, AcqRel, Acquire);
        match found {
            Ok(_) => to,
            // SAFETY: as in `get`.
            Err(found) => unsafe { found.as_ref() }.unwrap_or(to),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: it is null, or was made in `set` of a reference that lasts as long as the program. So it is aligned, and
        // leads to a `T` that nobody has alone. Acquire what was done to that before it was stored.
        unsafe { self.to.load(Acquire).as_ref() }
    }
}

impl<T> Default for StaticRef<T> {
    fn default() -> Self {
        StaticRef::none()
    }
}

impl<T> fmt::Debug for StaticRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StaticRef")
            .field(&self.to.load(Relaxed))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leads_to_what_was_set_last() {
        static ONE: u32 = 1;
        let to = StaticRef::none();
        assert_eq!(to.get(), None);
        to.set(Some(&ONE));
        assert_eq!(to.get(), Some(&1));
        static TWO: u32 = 2;
        assert_eq!(*to.get_or_set(&TWO), 1);
        to.set(None);
        assert_eq!(to.get(), None);
        assert_eq!((*to.get_or_set(&TWO), to.get()), (2, Some(&2)));
    }
}
