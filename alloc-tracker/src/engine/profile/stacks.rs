//! What was allocated at each call stack, for each unit: sums that only grow.
//!
//! A stack is kept once, for good, in memory from the system's allocator; the hooks find it, or add
//! it, without a lock. Past the limit everything goes to one that stands for all others.

use super::countdown::probability;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// Stacks, each with its unit, that are kept apart.
pub(crate) const STACKS: usize = 1 << 15;
/// Twice as many, so that looking one up is short.
const PLACES: usize = 2 * STACKS;

/// Sites have numbers below this.
pub(crate) const NUMBERS: usize = PLACES + 1;

/// The number of the stack that stands for all that did not fit.
pub(super) const OTHERS: u32 = PLACES as u32;

static TABLE: [AtomicPtr<Site>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];
static KEPT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static REST: Site = Site::new(0, &[], 0);

/// A stack on which something was allocated for a unit; its frames lie behind it in memory.
#[derive(Debug)]
pub(crate) struct Site {
    hash: u64,
    /// The return addresses, the innermost first.
    pub(crate) frames: &'static [usize],
    /// The unit's name.
    pub(crate) unit: u32,
    sums: [AtomicSum; SUMS],
}

/// A number that several threads add to.
#[derive(Debug)]
struct AtomicSum(AtomicU64);

const SUMS: usize = 4;

/// Estimates, and the variances of their errors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) allocs: f64,
    pub(crate) alloc_bytes: f64,
    pub(crate) allocs_variance: f64,
    pub(crate) alloc_bytes_variance: f64,
}

impl AtomicSum {
    fn add(&self, n: f64) {
        let add = |sum| Some((f64::from_bits(sum) + n).to_bits());
        // Cannot fail: there always is a new value.
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl Site {
    const fn new(hash: u64, frames: &'static [usize], unit: u32) -> Self {
        Site {
            hash,
            frames,
            unit,
            sums: [const { AtomicSum(AtomicU64::new(0)) }; SUMS],
        }
    }

    /// Adds a sampled block of `size` bytes, of which `grown` are new.
    pub(super) fn add(&self, size: u64, grown: u64, mean: u64) {
        let p = probability(size, mean);
        let grown = grown as f64;
        let variance = (1.0 - p) / (p * p);
        let [allocs, bytes, allocs_variance, bytes_variance] = &self.sums;
        allocs.add(1.0 / p);
        bytes.add(grown / p);
        allocs_variance.add(variance);
        bytes_variance.add(grown * grown * variance);
    }

    pub(crate) fn sums(&self) -> Sums {
        let [allocs, alloc_bytes, allocs_variance, alloc_bytes_variance] = &self.sums;
        Sums {
            allocs: allocs.get(),
            alloc_bytes: alloc_bytes.get(),
            allocs_variance: allocs_variance.get(),
            alloc_bytes_variance: alloc_bytes_variance.get(),
        }
    }
}

/// The number of the site with these frames and this unit; a new one if need be.
pub(super) fn number(frames: &[usize], unit: u32) -> u32 {
    let hash = frames.iter().fold(u64::from(unit), |hash, &ip| {
        (hash.rotate_left(5) ^ ip as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    let home = (hash >> 32) as usize;
    let mut fresh: *mut Site = ptr::null_mut();
    for step in 0..PLACES {
        let index = (home + step) % PLACES;
        let place = &TABLE[index];
        // Acquire the site, which whoever added it released.
        let mut known = place.load(Acquire);
        if known.is_null() {
            if fresh.is_null() {
                fresh = make(hash, frames, unit);
            }
            if fresh.is_null() {
                return OTHERS;
            }
            match place.compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire) {
                Ok(_) => return index as u32,
                Err(winner) => known = winner,
            }
        }
        // SAFETY: not null, hence a site that is never freed.
        let site = unsafe { &*known };
        if site.hash == hash && site.unit == unit && site.frames == frames {
            discard(fresh);
            return index as u32;
        }
    }
    discard(fresh);
    OTHERS
}

fn layout(frames: usize) -> Option<Layout> {
    let frames = Layout::array::<usize>(frames).ok()?;
    Some(Layout::new::<Site>().extend(frames).ok()?.0.pad_to_align())
}

/// A site that nobody else knows; null if it does not fit.
fn make(hash: u64, frames: &[usize], unit: u32) -> *mut Site {
    if KEPT.fetch_add(1, Relaxed) >= STACKS {
        KEPT.fetch_sub(1, Relaxed);
        return ptr::null_mut();
    }
    // SAFETY: the size of a site is not zero.
    let made = layout(frames.len()).map(|layout| (layout, unsafe { System.alloc(layout) }));
    let Some((layout, fresh)) = made.filter(|(_, fresh)| !fresh.is_null()) else {
        KEPT.fetch_sub(1, Relaxed);
        return ptr::null_mut();
    };
    BYTES.fetch_add(layout.size(), Relaxed);
    let fresh = fresh.cast::<Site>();
    // SAFETY: fresh memory with room for a site and, behind it, the frames, which are written before
    // they are read and not changed afterwards. It is given back only by `discard`, while nobody
    // else knows it.
    unsafe {
        let first = fresh.add(1).cast::<usize>();
        ptr::copy_nonoverlapping(frames.as_ptr(), first, frames.len());
        let frames = std::slice::from_raw_parts(first, frames.len());
        fresh.write(Site::new(hash, frames, unit));
    }
    fresh
}

/// Another thread was faster.
fn discard(fresh: *mut Site) {
    // SAFETY: null, or made by `make` and not shared.
    let Some(site) = (unsafe { fresh.as_ref() }) else {
        return;
    };
    if let Some(layout) = layout(site.frames.len()) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        KEPT.fetch_sub(1, Relaxed);
        // SAFETY: allocated with this layout, and forgotten here.
        unsafe { System.dealloc(fresh.cast(), layout) };
    }
}

pub(crate) fn site(number: u32) -> &'static Site {
    let Some(place) = TABLE.get(number as usize) else {
        return &REST;
    };
    // SAFETY: null, or a site that is never freed.
    unsafe { place.load(Acquire).as_ref() }.unwrap_or(&REST)
}

/// Every site with its number, that of all others the last.
pub(crate) fn for_each(mut each: impl FnMut(u32, &'static Site)) {
    for (index, place) in TABLE.iter().enumerate() {
        // SAFETY: as in `site`.
        if let Some(site) = unsafe { place.load(Acquire).as_ref() } {
            each(index as u32, site);
        }
    }
    each(OTHERS, &REST);
}

/// Stacks kept, and the bytes that they take, the table's aside.
pub(crate) fn kept() -> (usize, usize) {
    (KEPT.load(Relaxed), BYTES.load(Relaxed))
}
