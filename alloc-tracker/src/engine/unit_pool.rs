//! The shared sums of units.
//!
//! Cells lie in chunks that are never freed and are only ever reused as cells. So a reference to
//! a cell stays valid memory for good, whatever became of the unit, and a generation number tells
//! whether it is still the same unit. Neither a new unit nor its end allocates, once the pool
//! has grown to the number of units alive at once.

use super::counts::{Counts, SharedCounts};
use super::segments::{self, UnitSegment};
use crate::Usage;
use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};
use std::ptr;
use std::sync::atomic::{
    AtomicI64, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};

/// One unit's figures. On cache lines of its own: units on different threads do not disturb
/// each other.
#[repr(align(128))]
pub(super) struct UnitCell {
    /// The generation in the upper half, the number of handles in the lower.
    life: AtomicU64,
    counts: SharedCounts,
    peak: AtomicI64,
    /// In the free list: the next free cell's index plus one.
    next_free: AtomicU32,
    index: AtomicU32,
}

const ONE_GENERATION: u64 = 1 << 32;
const HANDLES: u64 = ONE_GENERATION - 1;

/// A unit, without keeping it alive.
#[derive(Clone, Copy)]
pub(super) struct UnitRef {
    cell: &'static UnitCell,
    generation: u32,
}

impl PartialEq for UnitRef {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.cell, other.cell) && self.generation == other.generation
    }
}

impl UnitRef {
    #[inline]
    pub(super) fn live(self) -> i64 {
        self.cell.counts.load().live()
    }

    /// Adds an ended segment that was opened when the unit had `base` live bytes and rose
    /// `peak` above its own start.
    #[inline]
    pub(super) fn add(self, counts: Counts, base: i64, peak: i64) {
        // A guard keeps its unit alive. Whoever works without one (see `raw`) may come too late:
        // the cell may be another unit's.
        if self.cell.life.load(Relaxed) >> 32 != u64::from(self.generation) {
            return;
        }
        // The two differ only if segments overlapped; which one held at the moment of the peak is
        // then unknown, and a budget is better served by the higher.
        let base = base.max(self.live());
        if peak > 0 {
            self.cell.peak.fetch_max(base.saturating_add(peak), Relaxed);
        }
        self.cell.counts.add(counts);
    }

    /// A handle, if the unit still exists.
    fn upgrade(self) -> Option<UnitHandle> {
        let life = &self.cell.life;
        let mut seen = life.load(Relaxed);
        loop {
            if seen >> 32 != u64::from(self.generation) || seen & HANDLES == 0 {
                return None;
            }
            // Relaxed, as for a clone: the count alone keeps the cell in use.
            match life.compare_exchange_weak(seen, seen + 1, Relaxed, Relaxed) {
                Ok(_) => return Some(UnitHandle { unit: self }),
                Err(now) => seen = now,
            }
        }
    }
}

/// A counted reference to a unit.
pub(crate) struct UnitHandle {
    unit: UnitRef,
}

impl UnitHandle {
    pub(crate) fn new() -> Self {
        let cell = free_list::pop().unwrap_or_else(cells::grow);
        let generation = (cell.life.load(Relaxed) >> 32) as u32;
        // Nobody else has a handle, so nobody else writes here.
        cell.counts.store(Counts::default());
        cell.peak.store(0, Relaxed);
        cell.life.store(u64::from(generation) << 32 | 1, Release);
        UnitHandle {
            unit: UnitRef { cell, generation },
        }
    }

    pub(crate) fn current() -> Option<Self> {
        segments::current(UnitRef::upgrade)
    }

    #[inline]
    pub(crate) fn open(&self) -> UnitSegment {
        segments::open_for(self.unit)
    }

    pub(crate) fn usage(&self) -> Usage {
        if !super::is_installed() {
            return Usage::untracked();
        }
        let cell = self.unit.cell;
        let counts = cell.counts.load();
        let ended = counts.usage(cell.peak.load(Relaxed));
        match segments::open_usage(self.unit) {
            None => ended,
            Some((open, base)) => {
                let mut usage = ended + open;
                let top = base
                    .max(counts.live())
                    .saturating_add(open.peak_bytes as i64);
                if open.peak_bytes > 0 {
                    usage.peak_bytes = ended.peak_bytes.max(top.max(0) as u64);
                } else {
                    usage.peak_bytes = ended.peak_bytes;
                }
                usage
            }
        }
    }

    /// The unit as one word; see [`UnitHandle::reclaim`].
    pub(crate) fn id(&self) -> u64 {
        u64::from(self.unit.generation) << 32 | u64::from(self.unit.cell.index.load(Relaxed))
    }

    /// Takes over the reference that was leaked with this id.
    pub(crate) fn reclaim(id: u64) -> Option<Self> {
        let unit = unit_of(id)?;
        let life = unit.cell.life.load(Relaxed);
        (life >> 32 == u64::from(unit.generation) && life & HANDLES > 0)
            .then_some(UnitHandle { unit })
    }

    #[inline]
    pub(crate) fn open_id(id: u64) -> Option<UnitSegment> {
        unit_of(id).map(segments::open_for)
    }
}

fn unit_of(id: u64) -> Option<UnitRef> {
    Some(UnitRef {
        cell: cells::get(id as u32)?,
        generation: (id >> 32) as u32,
    })
}

impl Clone for UnitHandle {
    fn clone(&self) -> Self {
        // Relaxed: whoever clones has a handle, and passes the new one on by something that
        // orders memory, if at all.
        let before = self.unit.cell.life.fetch_add(1, Relaxed);
        if before & HANDLES > HANDLES / 2 {
            // 2^31 handles exist: they were leaked, and the count is about to run over.
            std::process::abort();
        }
        UnitHandle { unit: self.unit }
    }
}

impl Drop for UnitHandle {
    fn drop(&mut self) {
        let cell = self.unit.cell;
        // Release what this handle's owner did to the unit; the last one acquires it all.
        if cell.life.fetch_sub(1, Release) & HANDLES != 1 {
            return;
        }
        fence(Acquire);
        let next = self.unit.generation.wrapping_add(1);
        cell.life.store(u64::from(next) << 32, Relaxed);
        free_list::push(cell);
    }
}

/// Where cells lie: chunk `k` has 64 · 2^k of them, so an index finds its chunk by its bits.
mod cells {
    use super::*;

    const FIRST: usize = 64;
    const CHUNKS: usize = 24;

    static CHUNK: [AtomicPtr<UnitCell>; CHUNKS] =
        [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

    pub(super) fn get(index: u32) -> Option<&'static UnitCell> {
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
    pub(super) fn grow() -> &'static UnitCell {
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

    impl UnitCell {
        const fn new(index: u32) -> Self {
            UnitCell {
                life: AtomicU64::new(0),
                counts: SharedCounts::new(),
                peak: AtomicI64::new(0),
                next_free: AtomicU32::new(0),
                index: AtomicU32::new(index),
            }
        }
    }
}

/// The free cells: a stack whose head carries a tag that changes with every push and pop, so
/// that a cell which left and came back is not mistaken for one that stayed.
mod free_list {
    use super::*;

    /// The tag in the upper half; the index of the first free cell plus one in the lower.
    static HEAD: AtomicU64 = AtomicU64::new(0);

    const ONE_TAG: u64 = 1 << 32;
    const INDEX: u64 = ONE_TAG - 1;

    pub(super) fn push(cell: &'static UnitCell) {
        let index = u64::from(cell.index.load(Relaxed)) + 1;
        let mut head = HEAD.load(Relaxed);
        loop {
            cell.next_free.store((head & INDEX) as u32, Relaxed);
            let new = (head & !INDEX).wrapping_add(ONE_TAG) | index;
            // Release the cell's contents, `next_free` among them, to whoever pops it.
            match HEAD.compare_exchange_weak(head, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    pub(super) fn pop() -> Option<&'static UnitCell> {
        let mut head = HEAD.load(Acquire);
        loop {
            let index = (head & INDEX).checked_sub(1)?;
            let cell = cells::get(index as u32)?;
            // May be stale if another thread pops the cell now; the tag then fails the exchange.
            let next = u64::from(cell.next_free.load(Relaxed));
            let new = (head & !INDEX).wrapping_add(ONE_TAG) | next;
            // Acquire what the pusher released. A later push or pop keeps the release sequence.
            match HEAD.compare_exchange_weak(head, new, Acquire, Acquire) {
                Ok(_) => return Some(cell),
                Err(now) => head = now,
            }
        }
    }
}
