//! A unit of which the owner alone has a handle, and after it the next one.

use super::installed::is_installed;
use super::unit_cell::UnitCell;
use super::unit_pool::{UnitHandle, UnitRef};
use super::work::{self, UnitSegment};
use crate::Usage;
use crate::engine::counter::block;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Release},
};

/// Where one unit's figures are, and after its end the next one's. It owns a handle of the unit.
///
/// PERF: the cell itself: a unit's number would have to be looked up at every entry.
#[derive(Debug)]
pub(crate) struct Account(AtomicPtr<UnitCell>);

impl Account {
    pub(crate) fn new() -> Self {
        Account(AtomicPtr::new(Self::of(UnitHandle::new())))
    }

    /// Takes over a handle.
    fn of(handle: UnitHandle) -> *mut UnitCell {
        std::ptr::from_ref(std::mem::ManuallyDrop::new(handle).unit.cell).cast_mut()
    }

    /// The unit that it is about now.
    #[inline(always)]
    fn unit(&self) -> UnitRef {
        // SAFETY: the address of a cell, which came from a reference to it that lasts as long as the program.
        let cell: &'static UnitCell = unsafe { &*self.0.load(Acquire) };
        UnitRef::now_in(cell)
    }

    /// The thread starts to work for the unit.
    #[inline(always)]
    pub(crate) fn open(&self) -> UnitSegment {
        work::open_for(self.unit())
    }

    /// What every ended segment of the unit cost; `None` if nobody counts.
    pub(crate) fn ended_usage(&self) -> Option<Usage> {
        let unit = self.unit();
        let usage = is_installed().then(|| unit.cell.counts().usage(unit.cell.peak(), true));
        // Afterwards: it may have ended meanwhile, and the cell be cleared, or another unit's.
        usage.filter(|_| unit.is_alive())
    }

    #[inline]
    pub(crate) fn set_name(&self, name: u32) {
        self.unit().cell.set_name(name);
    }

    /// Ends the unit: its figures. From here on this is about a new one.
    #[inline]
    pub(crate) fn exchange(&self) -> Usage {
        let unit = self.unit();
        let cell = unit.cell;
        let tracked = is_installed();
        let (counts, peak) = cell.costs().unwrap_or_default();
        let usage = counts.usage(peak, tracked);
        let thread = block::with(|block| block.thread());
        if !unit.restart(thread) {
            // Somebody else has a handle of the old one, which is given up here.
            let old = self.0.swap(Self::of(UnitHandle::new()), Release);
            // SAFETY: as in `unit`.
            drop(UnitHandle::of(UnitRef::now_in(unsafe { &*old })));
        }
        usage
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        drop(UnitHandle::of(self.unit()));
    }
}
