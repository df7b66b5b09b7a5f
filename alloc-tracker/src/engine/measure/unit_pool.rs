//! The shared sums of units.
//!
//! Cells lie in chunks that are never freed and are only ever reused as cells. So a reference to
//! a cell stays valid memory for good, whatever became of the unit, and a generation number tells
//! whether it is still the same unit. Neither a new unit nor its end allocates, once the pool
//! has grown to the number of units alive at once.

use super::installed::is_installed;
use super::unit_cell::{NO_UNIT, UnitCell};
use crate::Retained;
use crate::engine::counter::block;
use crate::engine::counter::counts::Counts;
use crate::engine::free_stack::FreeStack;
use crate::engine::watch::followers;
use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};
use std::ptr;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// A unit, without keeping it alive.
#[derive(Clone, Copy)]
pub(crate) struct UnitRef {
    pub(crate) cell: &'static UnitCell,
    generation: u32,
}

impl PartialEq for UnitRef {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.cell, other.cell) && self.generation == other.generation
    }
}

impl UnitRef {
    /// The unit with this number, or a later one's cell.
    pub(crate) fn of(id: u64) -> Option<Self> {
        if id == NO_UNIT {
            return None;
        }
        Some(UnitRef {
            cell: cells::get(id as u32)?,
            generation: (id >> 32) as u32,
        })
    }

    /// The unit that a cell is about now.
    #[inline]
    pub(crate) fn now_in(cell: &'static UnitCell) -> Self {
        UnitRef {
            cell,
            generation: cell.generation(),
        }
    }

    /// Ends the unit, of which the caller has the only handle, and begins another, which has the handle then. False:
    /// others have some, and nothing was done.
    #[inline]
    pub(crate) fn restart(self, owner: u64) -> bool {
        self.cell.restart(self.generation, owner).is_some()
    }

    pub(crate) fn id(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.cell.index.load(Relaxed))
    }

    #[inline]
    pub(crate) fn live(self) -> i64 {
        self.cell.live()
    }

    #[inline]
    pub(crate) fn follows(self) -> bool {
        self.cell.follows() && self.cell.is(self.generation)
    }

    /// The number of its name; 0: it has none.
    #[cfg(feature = "profile")]
    pub(crate) fn name(self) -> u32 {
        match self.cell.is(self.generation) {
            true => self.cell.name.load(Relaxed),
            false => 0,
        }
    }

    pub(crate) fn is_alive(self) -> bool {
        self.cell.is_alive(self.generation)
    }

    /// Whether this is `other`, or its books are part of that one's.
    pub(crate) fn is_inside(self, other: UnitRef) -> bool {
        let mut unit = Some(self);
        while let Some(inner) = unit {
            if inner == other {
                return true;
            }
            // Where the unit has a handle, its parent has.
            unit = UnitRef::of(inner.cell.parent()).filter(|_| inner.is_alive());
        }
        false
    }

    /// Adds an ended segment of the calling thread; see [`UnitCell::add`]. False: the unit is over.
    #[inline]
    pub(crate) fn add(self, counts: Counts, base: i64, peak: i64) -> bool {
        // A guard keeps its unit alive. Whoever works without one (see `raw`) may come too late:
        // the cell may be another unit's.
        let is_there = self.cell.is(self.generation);
        if is_there {
            let thread = block::with(|block| block.thread());
            self.cell.add(counts, base, peak, thread);
        }
        is_there
    }

    /// A handle, if the unit still exists.
    pub(crate) fn upgrade(self) -> Option<UnitHandle> {
        let upgraded = self.cell.upgrade(self.generation);
        // Not `then_some`: a handle that is made is dropped, and dropping gives up a reference.
        upgraded.then(|| UnitHandle { unit: self })
    }

    /// Puts blocks into the unit's books, and into those of the units around it.
    pub(crate) fn retain(self, blocks: i64, bytes: i64) {
        let mut unit = Some(self);
        // A handle, so that the books cannot become another unit's meanwhile.
        while let Some(handle) = unit.and_then(UnitRef::upgrade) {
            unit = UnitRef::of(handle.unit.cell.retain(blocks, bytes));
        }
    }

    /// Admits that a block was not noted, here and in the units around this one.
    pub(crate) fn lose_track(self) {
        let mut unit = Some(self);
        while let Some(handle) = unit.and_then(UnitRef::upgrade) {
            handle.unit.cell.lose_track();
            unit = UnitRef::of(handle.unit.cell.parent());
        }
    }

    /// Admits it of this unit, whose parents did note the block.
    pub(crate) fn lose_track_alone(self) {
        if let Some(handle) = self.upgrade() {
            handle.unit.cell.lose_track();
        }
    }
}

/// A counted reference to a unit.
pub(crate) struct UnitHandle {
    pub(crate) unit: UnitRef,
}

impl UnitHandle {
    pub(crate) fn new() -> Self {
        Self::begin(None)
    }

    pub(crate) fn begin(follow: Option<u64>) -> Self {
        let cell = free_list::pop().unwrap_or_else(cells::grow);
        let generation = cell.begin(follow, 0);
        UnitHandle {
            unit: UnitRef { cell, generation },
        }
    }

    pub(crate) fn retained(&self) -> Option<Retained> {
        if !is_installed() {
            return None;
        }
        let (blocks, bytes) = self.unit.cell.retained()?;
        Some(Retained {
            blocks: blocks.max(0) as u64,
            bytes: bytes.max(0) as u64,
        })
    }

    /// The unit as one word.
    pub(crate) fn id(&self) -> u64 {
        self.unit.id()
    }

    pub(crate) fn set_name(&self, name: u32) {
        self.unit.cell.set_name(name);
    }

    /// Takes over a handle, of which nobody makes another use.
    pub(crate) fn of(unit: UnitRef) -> Self {
        UnitHandle { unit }
    }
}

impl Clone for UnitHandle {
    fn clone(&self) -> Self {
        self.unit.cell.duplicate();
        UnitHandle { unit: self.unit }
    }
}

impl Drop for UnitHandle {
    fn drop(&mut self) {
        let mut last = self.unit;
        // Not by recursion: a chain of parents may be long, and this may run inside a hook.
        while last.cell.release() {
            // What is not given back by now cannot be given back to the parents any more.
            let holds = last.cell.holds_blocks();
            let parent = last.cell.end(last.generation);
            free_list::push(last.cell);
            let Some(parent) = parent else { return };
            followers::end();
            // The child's handle on it, which was leaked.
            let Some(parent) = UnitRef::of(parent) else {
                return;
            };
            if holds {
                parent.lose_track();
            }
            last = parent;
        }
    }
}

/// Where cells lie: chunk `k` has 64 · 2^k of them, so an index finds its chunk by its bits.
mod cells {
    use super::*;

    const FIRST: usize = 64;
    const CHUNKS: usize = 24;

    static CHUNK: [AtomicPtr<UnitCell>; CHUNKS] =
        [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

    pub(crate) fn get(index: u32) -> Option<&'static UnitCell> {
        let (chunk, offset) = locate(index);
        let cells = CHUNK.get(chunk)?.load(Acquire);
        if cells.is_null() {
            return None;
        }
        // SAFETY: chunk `k` has `FIRST << k` initialised cells (see `grow`), `offset` is below
        // that (see `locate`), and chunks are never freed.
        Some(unsafe { &*cells.add(offset) })
    }

    fn locate(index: u32) -> (usize, usize) {
        let n = index as usize / FIRST + 1;
        let chunk = n.ilog2() as usize;
        (chunk, index as usize - FIRST * ((1 << chunk) - 1))
    }

    /// Adds a chunk, keeps one of its cells for the caller and frees the others.
    ///
    /// Two threads may add one each at the same time; both are used.
    #[cold]
    pub(crate) fn grow() -> &'static UnitCell {
        loop {
            // Another thread may have grown the pool just now.
            if let Some(cell) = free_list::pop() {
                return cell;
            }
            let Some(chunk) = CHUNK.iter().position(|c| c.load(Relaxed).is_null()) else {
                // 2^30 units are alive.
                handle_alloc_error(Layout::new::<UnitCell>());
            };
            let count = FIRST << chunk;
            let first_index = FIRST * ((1 << chunk) - 1);
            let Ok(layout) = Layout::array::<UnitCell>(count) else {
                handle_alloc_error(Layout::new::<UnitCell>());
            };
            // SAFETY: the size is not zero.
            let fresh = unsafe { System.alloc(layout) }.cast::<UnitCell>();
            if fresh.is_null() {
                handle_alloc_error(layout);
            }
            for offset in 0..count {
                // SAFETY: `offset < count`, and the memory is fresh and nobody else's.
                unsafe {
                    fresh
                        .add(offset)
                        .write(UnitCell::new((first_index + offset) as u32))
                };
            }
            // Release the cells to `get`.
            let won = CHUNK[chunk].compare_exchange(ptr::null_mut(), fresh, AcqRel, Relaxed);
            if won.is_err() {
                // SAFETY: allocated above with this layout and never shared.
                unsafe { System.dealloc(fresh.cast(), layout) };
                continue;
            }
            for offset in 1..count {
                // SAFETY: initialised above; linked chunks are never freed.
                free_list::push(unsafe { &*fresh.add(offset) });
            }
            // SAFETY: as above.
            return unsafe { &*fresh };
        }
    }
}

/// The free cells.
mod free_list {
    use super::*;

    static FREE: FreeStack = FreeStack::new();

    pub(crate) fn push(cell: &'static UnitCell) {
        FREE.push(cell.index.load(Relaxed), &cell.next_free);
    }

    pub(crate) fn pop() -> Option<&'static UnitCell> {
        cells::get(FREE.pop(|index| Some(&cells::get(index)?.next_free))?)
    }
}
