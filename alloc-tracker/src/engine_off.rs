//! What the engine is without the feature `track`: nothing, to the instruction.

use crate::{Retained, Usage};
use std::alloc::{GlobalAlloc, Layout};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    None,
    Zero,
}

#[inline(always)]
pub(crate) fn is_due(_size: usize) -> bool {
    false
}

#[inline(always)]
pub(crate) fn is_realloc_due(_block: *mut u8, _old: usize, _new: usize) -> bool {
    false
}

#[inline(always)]
pub(crate) fn on_alloc(_size: usize) {}

#[inline(always)]
pub(crate) fn handed_out(_block: *mut u8) {}

#[inline(always)]
pub(crate) fn on_dealloc(_block: *mut u8, _size: usize) -> bool {
    false
}

#[inline(always)]
pub(crate) fn on_realloc(_old: usize, _new: usize) {}

/// # Safety
///
/// As for `inner.alloc` or `inner.alloc_zeroed`.
pub(crate) unsafe fn alloc_and_look<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
) -> *mut u8 {
    match fill {
        // SAFETY: the caller's contract.
        Fill::None => unsafe { inner.alloc(layout) },
        // SAFETY: the caller's contract.
        Fill::Zero => unsafe { inner.alloc_zeroed(layout) },
    }
}

/// # Safety
///
/// As for `inner.dealloc`.
pub(crate) unsafe fn look_and_dealloc<A: GlobalAlloc>(block: *mut u8, layout: Layout, inner: &A) {
    // SAFETY: the caller's contract.
    unsafe { inner.dealloc(block, layout) }
}

/// # Safety
///
/// As for `inner.realloc`.
pub(crate) unsafe fn look_and_realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    // SAFETY: the caller's contract.
    unsafe { inner.realloc(block, layout, new_size) }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment;

#[inline(always)]
pub(crate) fn open() -> Segment {
    Segment
}

#[inline(always)]
pub(crate) fn read(_segment: Segment) -> Usage {
    Usage::untracked()
}

#[inline(always)]
pub(crate) fn close(_segment: Segment) -> Usage {
    Usage::untracked()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitSegment;

impl UnitSegment {
    pub(crate) const NONE: UnitSegment = UnitSegment;
}

#[inline(always)]
pub(crate) fn close_for_unit(_segment: UnitSegment) {}

pub(crate) fn abandon_for_unit(_segment: UnitSegment) {}

pub(crate) fn so_far_for_unit(_segment: UnitSegment) -> Option<Usage> {
    None
}

pub(crate) fn be_a_tools_own() {}

pub(crate) struct Paused;

impl Paused {
    pub(crate) fn start() -> Self {
        Paused
    }
}

pub(crate) fn tools_usage() -> Usage {
    Usage::untracked()
}

pub(crate) fn is_installed() -> bool {
    false
}

pub(crate) fn outside_usage() -> Usage {
    Usage::untracked()
}

pub(crate) fn outside_by_thread() -> Vec<(u32, Usage)> {
    Vec::new()
}

pub(crate) fn process_usage() -> Usage {
    Usage::untracked()
}

pub(crate) struct Excluded;

impl Excluded {
    #[inline(always)]
    pub(crate) fn start() -> Self {
        Excluded
    }

    #[inline(always)]
    pub(crate) fn start_a_tools() -> Self {
        Excluded
    }

    #[inline(always)]
    pub(crate) fn finish(self) -> bool {
        true
    }
}

#[derive(Clone)]
pub(crate) struct UnitHandle;

impl UnitHandle {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        UnitHandle
    }

    #[inline(always)]
    pub(crate) fn following() -> Self {
        UnitHandle
    }

    #[inline(always)]
    pub(crate) fn retained(&self) -> Option<Retained> {
        None
    }

    #[inline(always)]
    pub(crate) fn open_for_budget(&self) -> UnitSegment {
        UnitSegment
    }

    #[inline(always)]
    pub(crate) fn of_budgets<T>(_wrap: impl Fn(Self) -> T) -> Option<Box<[T]>> {
        None
    }

    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        None
    }

    #[inline(always)]
    pub(crate) fn open(&self) -> UnitSegment {
        UnitSegment
    }

    #[inline(always)]
    pub(crate) fn usage(&self) -> Usage {
        Usage::untracked()
    }

    #[inline(always)]
    pub(crate) fn set_name(&self, _name: u32) {}
}

#[derive(Debug)]
pub(crate) struct Account;

impl Account {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Account
    }

    #[inline(always)]
    pub(crate) fn set_name(&self, _name: u32) {}

    #[inline(always)]
    pub(crate) fn ended_usage(&self) -> Option<Usage> {
        None
    }

    #[inline(always)]
    pub(crate) fn exchange(&self) -> Usage {
        Usage::untracked()
    }

    #[inline(always)]
    pub(crate) fn open(&self) -> UnitSegment {
        UnitSegment::NONE
    }
}

#[derive(Debug)]
pub(crate) struct Sites;

#[derive(Debug)]
pub(crate) struct ActiveSites;

impl Sites {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Sites
    }

    #[inline(always)]
    pub(crate) fn activate(self) -> ActiveSites {
        ActiveSites
    }

    #[inline(always)]
    pub(crate) fn are_estimates(&self) -> bool {
        false
    }
}

impl ActiveSites {
    #[inline(always)]
    pub(crate) fn stop(self) -> Sites {
        Sites
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Here;

impl Here {
    #[inline(always)]
    pub(crate) fn now() -> Self {
        Here
    }
}

#[derive(Debug)]
pub(crate) struct Meanwhile;

impl Meanwhile {
    #[inline(always)]
    pub(crate) fn start() -> Self {
        Meanwhile
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, _start: Here) {}

    #[inline(always)]
    pub(crate) fn end(self) -> (u64, u64) {
        (0, 0)
    }
}

#[derive(Debug)]
pub(crate) struct SizeRecorder;

impl SizeRecorder {
    pub(crate) fn start() -> Self {
        SizeRecorder
    }

    pub(crate) fn so_far(&self) -> [[u64; 2]; 0] {
        []
    }
}

pub(crate) fn class_end(_class: usize) -> usize {
    0
}
