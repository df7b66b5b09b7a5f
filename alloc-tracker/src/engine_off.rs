//! What the engine is without the feature `track`: nothing, to the instruction.

use crate::{Retained, Usage};

#[inline(always)]
pub(crate) fn on_alloc(_size: usize) -> bool {
    false
}

#[inline(always)]
pub(crate) fn on_dealloc(_size: usize) -> bool {
    false
}

#[inline(always)]
pub(crate) fn on_realloc(_old: usize, _new: usize) -> bool {
    false
}

#[inline(always)]
pub(crate) fn look_at_alloc(block: *mut u8, _size: usize) -> *mut u8 {
    block
}

#[inline(always)]
pub(crate) fn look_at_dealloc(_block: *mut u8) {}

#[inline(always)]
pub(crate) fn is_alert() -> bool {
    false
}

#[inline(always)]
pub(crate) fn realloc_alert(
    _block: *mut u8,
    _old: usize,
    _new: usize,
    resize: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    resize()
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

#[inline(always)]
pub(crate) fn close_for_unit(_segment: UnitSegment) {}

pub(crate) fn is_installed() -> bool {
    false
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
    pub(crate) fn open_unseen(&self) -> UnitSegment {
        UnitSegment
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
    pub(crate) fn id(&self) -> u64 {
        0
    }

    #[inline(always)]
    pub(crate) fn exchange(id: u64) -> (Usage, u64) {
        (Usage::untracked(), id)
    }

    #[inline(always)]
    pub(crate) fn open_id(_id: u64) -> Option<UnitSegment> {
        None
    }

    #[inline(always)]
    pub(crate) fn reclaim(_id: u64) -> Option<Self> {
        Some(UnitHandle)
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

    #[inline(always)]
    pub(crate) fn for_each_stack(&self, _each: impl FnMut(&[usize], u64, u64)) {}
}

impl ActiveSites {
    #[inline(always)]
    pub(crate) fn stop(self) -> Sites {
        Sites
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
