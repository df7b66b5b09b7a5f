//! The sampled heap profiler's side of the hooks.
//!
//! ```text
//!   allocation ─► countdown ends? ─► placed where its free is recognised ─► its stack is walked
//!                                            │                                    │
//!                          table of live samples, by address          sums by stack and unit
//! ```
//!
//! * [`countdown`]: which allocations are samples; [`place`], [`slots`]: where their memory lies.
//! * [`walk`]: the call stack; [`stacks`]: what was allocated at each; [`names`]: those of units.
//!
//! The sums have every sample, live or not; the table has the live ones. Neither locks.

mod countdown;
pub(crate) mod names;
mod place;
mod slots;
pub(crate) mod stacks;
pub(crate) mod walk;

pub(super) use countdown::Countdown;
pub(crate) use countdown::{mean, probability};

use super::block::with;
use super::block_table::{Table, Words};
use super::hooks::Fill;
use super::published::PLACED_ALIGN;
use super::{sites, watch, work};
use countdown::Draw;
use place::Place;
use std::alloc::{GlobalAlloc, Layout};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};
use walk::End;

/// The live samples.
static LIVE: Table = Table::new();
static LIVE_NUMBER: AtomicUsize = AtomicUsize::new(0);
static LIVE_LIMIT: AtomicUsize = AtomicUsize::new(0);

static SAMPLES: AtomicU64 = AtomicU64::new(0);
static NOT_KEPT_LIVE: AtomicU64 = AtomicU64::new(0);
static WITHOUT_STACK: AtomicU64 = AtomicU64::new(0);
static TOO_DEEP: AtomicU64 = AtomicU64::new(0);
static BROKEN: AtomicU64 = AtomicU64::new(0);
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// A sample that is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// The number of its [`stacks::Site`].
    pub(crate) site: u32,
    pub(crate) thread: u32,
    pub(crate) size: u64,
    /// The mean under which it was drawn.
    pub(crate) mean: u64,
    place: Place,
}

/// What happened to samples so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) samples: u64,
    /// Their frees are not seen: there were too many at once, or no memory.
    pub(crate) not_kept_live: u64,
    /// Their stack did not fit.
    pub(crate) without_stack: u64,
    pub(crate) too_deep: u64,
    pub(crate) broken: u64,
    /// Taken by all of them.
    pub(crate) nanoseconds: u64,
    pub(crate) live: u64,
    /// Of the table of live samples.
    pub(crate) table_bytes: u64,
    /// Of the places for small samples.
    pub(crate) slot_bytes: u64,
}

pub(crate) fn tally() -> Tally {
    Tally {
        samples: SAMPLES.load(Relaxed),
        not_kept_live: NOT_KEPT_LIVE.load(Relaxed),
        without_stack: WITHOUT_STACK.load(Relaxed),
        too_deep: TOO_DEEP.load(Relaxed),
        broken: BROKEN.load(Relaxed),
        nanoseconds: NANOSECONDS.load(Relaxed),
        live: LIVE_NUMBER.load(Relaxed) as u64,
        table_bytes: LIVE.bytes() as u64,
        slot_bytes: slots::bytes() as u64,
    }
}

impl Held {
    const SIZE_BITS: u32 = 48;
    /// A mean is at most 2^40.
    const MEAN_BITS: u32 = 41;

    fn of([who, what, mean]: Words) -> Self {
        Held {
            site: who as u32,
            thread: (who >> 32) as u32,
            size: what & ((1 << Self::SIZE_BITS) - 1),
            mean: mean & ((1 << Self::MEAN_BITS) - 1),
            place: Place::of_code((
                (what >> Self::SIZE_BITS) as u16,
                (mean >> Self::MEAN_BITS) as u32,
            )),
        }
    }

    fn words(self) -> Words {
        let (place, number) = self.place.code();
        let (place, number) = (u64::from(place), u64::from(number));
        [
            u64::from(self.thread) << 32 | u64::from(self.site),
            place << Self::SIZE_BITS | self.size,
            number << Self::MEAN_BITS | self.mean,
        ]
    }
}

/// Samples from here on, on all threads. `seed`: where the calling thread, and threads that have not
/// drawn yet, take their random numbers from.
pub(crate) fn start(mean: u64, live_limit: usize, seed: Option<u64>) {
    LIVE_LIMIT.store(live_limit, Relaxed);
    if let Some(seed) = seed {
        countdown::set_seed(seed);
        with(|block| block.countdown.reseed());
    }
    walk::choose();
    watch::start_placing();
    set_mean(mean);
}

/// 0: samples no more.
pub(crate) fn set_mean(mean: u64) {
    countdown::set_mean(mean);
    if mean > 0 {
        watch::have_all_look();
    }
}

/// Samples no more from then on, whether or not anybody says so.
pub(crate) fn stop_after(time: Option<Duration>) {
    countdown::set_deadline(time);
}

/// What this thread allocates while this guard lives is no sample.
#[derive(Debug)]
pub(crate) struct Busy {
    before: bool,
    _not_send: PhantomData<*mut ()>,
}

impl Busy {
    pub(crate) fn start() -> Self {
        Busy {
            before: with(|block| block.countdown.set_busy(true)),
            _not_send: PhantomData,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        with(|block| block.countdown.set_busy(self.before));
    }
}

/// Calls `each` with every live sample.
pub(crate) fn for_each_live(mut each: impl FnMut(Held)) {
    LIVE.for_each(|_, words| each(Held::of(words)));
}

/// The inner allocator has refused what was drawn for.
pub(super) fn refused() {
    with(|block| block.countdown.refused(block));
}

/// # Safety
///
/// As for `inner.alloc` or `inner.alloc_zeroed`.
#[inline]
pub(super) unsafe fn alloc<A: GlobalAlloc>(layout: Layout, inner: &A, fill: Fill) -> *mut u8 {
    let size = layout.size() as u64;
    let draw = with(|block| block.countdown.draw(block, size));
    match draw {
        // SAFETY: the caller's contract.
        None => unsafe { fill.alloc(layout, inner) },
        // SAFETY: the caller's contract.
        Some(draw) => unsafe { alloc_sample(layout, inner, fill, draw) },
    }
}

/// # Safety
///
/// As for [`alloc`].
#[cold]
#[inline(never)]
unsafe fn alloc_sample<A: GlobalAlloc>(
    layout: Layout,
    inner: &A,
    fill: Fill,
    draw: Draw,
) -> *mut u8 {
    let size = layout.size() as u64;
    if reserve() {
        // SAFETY: the caller's contract.
        if let Some((block, place)) = unsafe { place::alloc(layout, inner, fill) } {
            let held = note(draw, size, size, place);
            if LIVE.insert(block.addr(), held.words()) {
                return block;
            }
            // SAFETY: just allocated so.
            unsafe { place::dealloc(block, layout, place, inner) };
            release();
            NOT_KEPT_LIVE.fetch_add(1, Relaxed);
            // SAFETY: the caller's contract.
            return unsafe { fill.alloc(layout, inner) };
        }
        release();
    }
    // SAFETY: the caller's contract.
    let block = unsafe { fill.alloc(layout, inner) };
    if !block.is_null() {
        NOT_KEPT_LIVE.fetch_add(1, Relaxed);
        note(draw, size, size, Place::Natural);
    }
    block
}

/// # Safety
///
/// As for `inner.dealloc`.
#[inline]
pub(super) unsafe fn dealloc<A: GlobalAlloc>(block: *mut u8, layout: Layout, inner: &A) {
    match take(block) {
        // SAFETY: the caller's contract.
        None => unsafe { inner.dealloc(block, layout) },
        Some(held) => {
            release();
            // SAFETY: the table says that the block came from `place` so, with this layout by the
            // caller's contract.
            unsafe { place::dealloc(block, layout, held.place, inner) }
        }
    }
}

/// # Safety
///
/// As for `inner.realloc`.
#[inline]
pub(super) unsafe fn realloc<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
) -> *mut u8 {
    let held = take(block);
    let draw = with(|block| block.countdown.draw(block, new_size as u64));
    if held.is_none() && draw.is_none() {
        // SAFETY: the caller's contract.
        return unsafe { inner.realloc(block, layout, new_size) };
    }
    // SAFETY: the caller's contract; `held` is what the table had of the block.
    unsafe { realloc_sample(block, layout, new_size, inner, held, draw) }
}

/// A block that was a sample, or becomes one.
///
/// # Safety
///
/// As for [`realloc`], and `held` says how the block lies.
#[cold]
#[inline(never)]
unsafe fn realloc_sample<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new_size: usize,
    inner: &A,
    held: Option<Held>,
    draw: Option<Draw>,
) -> *mut u8 {
    let (old, new) = (layout.size() as u64, new_size as u64);
    let grown = new.saturating_sub(old);
    if let (Some(held), Some(draw)) = (held, draw) {
        // SAFETY: the caller's contract.
        let moved = unsafe { place::grow(block, layout, held.place, new_size, inner) };
        if let Some((moved, place)) = moved {
            put(moved, note(draw, new, grown, place));
            return moved;
        }
    }
    let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
        put_back(held, block);
        return ptr::null_mut();
    };
    if let Some(held) = held
        && draw.is_none()
        && mean() == 0
    {
        // SAFETY: the caller's contract.
        let moved = unsafe { resize_while_stopped(block, layout, new_layout, held, inner) };
        if let Some(moved) = moved {
            return moved;
        }
    }
    let mut placed = None;
    if draw.is_some() && reserve() {
        // SAFETY: the new size is not zero by the caller's contract.
        placed = unsafe { place::alloc(new_layout, inner, Fill::None) };
        if placed.is_none() {
            release();
        }
    }
    let (moved, place) = match (placed, held) {
        (Some((moved, place)), _) => (moved, Some(place)),
        // SAFETY: the caller's contract.
        (None, None) => (unsafe { inner.realloc(block, layout, new_size) }, None),
        // SAFETY: as for `place::alloc` above.
        (None, Some(_)) => (unsafe { inner.alloc(new_layout) }, None),
    };
    if moved.is_null() {
        put_back(held, block);
        return moved;
    }
    if let Some(draw) = draw {
        let sample = note(draw, new, grown, place.unwrap_or(Place::Natural));
        match place {
            Some(_) => put(moved, sample),
            None => drop(NOT_KEPT_LIVE.fetch_add(1, Relaxed)),
        }
    }
    if place.is_none() && held.is_none() {
        // `inner.realloc` has done all.
        return moved;
    }
    // SAFETY: both blocks are at least so long, and `moved` is fresh memory. The old one lies as
    // `held` says, or as its layout does.
    unsafe {
        ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
        match held {
            None => inner.dealloc(block, layout),
            Some(held) => {
                release();
                place::dealloc(block, layout, held.place, inner);
            }
        }
    }
    moved
}

/// A sample that is resized while nobody samples stays one, of what it was. `None`: there is no memory, and
/// the block is as it was, but not in the table.
///
/// # Safety
///
/// As for [`realloc_sample`].
unsafe fn resize_while_stopped<A: GlobalAlloc>(
    block: *mut u8,
    layout: Layout,
    new: Layout,
    held: Held,
    inner: &A,
) -> Option<*mut u8> {
    if matches!(held.place, Place::Slot(_)) && new.size() <= PLACED_ALIGN {
        put(block, held);
        return Some(block);
    }
    // SAFETY: the caller's contract.
    let grown = unsafe { place::grow(block, layout, held.place, new.size(), inner) };
    if let Some((moved, place)) = grown {
        put(moved, Held { place, ..held });
        return Some(moved);
    }
    // SAFETY: the new size is not zero by the caller's contract.
    let (moved, place) = unsafe { place::alloc(new, inner, Fill::None) }?;
    // SAFETY: both blocks are at least so long, and one is fresh; the old one lies as `held` says.
    unsafe {
        ptr::copy_nonoverlapping(block, moved, layout.size().min(new.size()));
        place::dealloc(block, layout, held.place, inner);
    }
    put(moved, Held { place, ..held });
    Some(moved)
}

/// What the table has of a block, which it then has no more.
#[inline]
fn take(block: *mut u8) -> Option<Held> {
    if block.addr().is_multiple_of(PLACED_ALIGN) {
        LIVE.remove(block.addr()).map(Held::of)
    } else {
        None
    }
}

/// For a block that cannot be freed without what the table has of it.
fn put(block: *mut u8, held: Held) {
    if !LIVE.insert(block.addr(), held.words()) {
        // Sixteen neighbours in each of a dozen chunks are taken, or no memory is left even for the
        // table. To go on would be to free memory at a wrong address later.
        std::process::abort();
    }
}

fn put_back(held: Option<Held>, block: *mut u8) {
    if let Some(held) = held {
        put(block, held);
    }
}

/// Whether one more sample may be live.
fn reserve() -> bool {
    let limit = LIVE_LIMIT.load(Relaxed);
    // SeqCst costs nothing beyond the locked instruction, and samples are rare.
    let fits = LIVE_NUMBER.fetch_add(1, SeqCst) < limit;
    if !fits {
        release();
    }
    fits
}

fn release() {
    LIVE_NUMBER.fetch_sub(1, SeqCst);
}

/// Adds a sample of `size` bytes, of which `grown` are new, to the sums of its stack and unit.
fn note(draw: Draw, size: u64, grown: u64, place: Place) -> Held {
    let started = Instant::now();
    let mut thread = 0;
    let number = with(|block| {
        thread = block.thread() as u32;
        // Should walking the stack allocate, that is no sample.
        let _busy = Busy::start();
        let stack = walk::walk();
        match stack.end {
            End::Complete => {}
            End::TooDeep => drop(TOO_DEEP.fetch_add(1, Relaxed)),
            End::Broken => drop(BROKEN.fetch_add(1, Relaxed)),
        }
        let unit = match sites::suspended() {
            0 => work::unit_name(),
            _ => names::NONE,
        };
        Some(stacks::number(stack.frames(), unit))
    });
    let site = number.unwrap_or(stacks::OTHERS);
    if site == stacks::OTHERS {
        WITHOUT_STACK.fetch_add(1, Relaxed);
    }
    SAMPLES.fetch_add(1, Relaxed);
    stacks::site(site).add(size, grown, draw.mean);
    NANOSECONDS.fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
    Held {
        site,
        thread,
        size,
        mean: draw.mean,
        place,
    }
}
