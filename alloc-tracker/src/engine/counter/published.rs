//! The part of a thread's block that other threads touch.

use super::counts::Counts;
use super::inside::Inside;
use super::sync::{
    AcqRel, Acquire, AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Relaxed, SeqCst, constructor,
    fence, load_own,
};

/// A word that one thread writes and others may read.
///
/// PERF: reads and stores are relaxed, so `add` compiles to one `add` to memory. A `fetch_add` would be a locked
/// instruction, some 5 ns each.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    constructor! {
        pub(crate) fn new(value: u64) -> Self {
            Counter(AtomicU64::new(value))
        }
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The same for the thread that writes it.
    ///
    /// # Safety
    ///
    /// The calling thread is the one that writes.
    #[inline(always)]
    pub(crate) unsafe fn load_own(&self) -> u64 {
        // SAFETY: no other thread stores, says the caller.
        unsafe { load_own(&self.0) }
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.set(self.load().wrapping_add(n));
    }
}

/// The sums of a thread, which it alone writes, and a word by which others may ask it to look
/// up: see [`super::block`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Published {
    pub(crate) allocs: Counter,
    pub(crate) alloc_bytes: Counter,
    pub(crate) frees: Counter,
    pub(crate) freed_bytes: Counter,
    /// Which frees look up: see [`Published::looks_up`].
    alert: AtomicU16,
    pub(crate) reallocs: Counter,
    pub(crate) inside: Inside,
}

// The word `alert` is a limit: a free looks up if where its block begins in a page, times 16, is below.
// So one comparison does for three states: no free looks up (0), those of blocks that may be placed
// ones (`PLACED`), every one (`EVERY` and the bits of who wants it; the owner and others each change
// their own).

/// The thread is not, or not any more, read by others.
pub(crate) const UNPUBLISHED: u16 = 1;
/// This thread wants to see each of its own calls.
pub(crate) const OWN: u16 = 2;
/// The process wants to see each call of every thread: see `engine::watch`.
pub(crate) const PROCESS: u16 = 4;

const BITS: u16 = UNPUBLISHED | OWN | PROCESS;
const EVERY: u16 = !BITS;
const PLACED: u16 = 16 * (LAST_PLACED as u16 + 1);

/// The size of a page, or a part of it.
#[cfg_attr(not(feature = "profile"), allow(dead_code))] // nothing is placed without it
pub(crate) const PLACED_ALIGN: usize = 1 << 12;

/// Placed blocks begin at a page, or up to this many bytes after: where the C library maps a large block, it
/// keeps 16 bytes for itself.
const LAST_PLACED: usize = 16;

/// Whether a block at this address may be one whose free has to look up.
#[cfg_attr(not(feature = "profile"), allow(dead_code))] // nothing is placed without it
pub(crate) fn may_be_placed(address: usize) -> bool {
    address % PLACED_ALIGN <= LAST_PLACED
}

/// Where in its page an address lies, times 16.
#[inline(always)]
fn in_page(address: usize) -> u16 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let product: u32;
        // PERF: one instruction. The compiler makes two of a multiplication by a power of two, a copy
        // and a shift, as the address is wanted afterwards.
        // SAFETY: computes on registers.
        unsafe {
            std::arch::asm!(
                "imul {product:e}, {address:e}, 16",
                address = in(reg) address,
                product = lateout(reg) product,
                options(pure, nomem, nostack)
            );
        }
        product as u16
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        (address as u16).wrapping_mul(16)
    }
}

impl Published {
    constructor! {
        pub(crate) fn new() -> Self {
            Published {
                allocs: Counter::new(0),
                alloc_bytes: Counter::new(0),
                frees: Counter::new(0),
                freed_bytes: Counter::new(0),
                alert: AtomicU16::new(EVERY | UNPUBLISHED),
                reallocs: Counter::new(0),
                inside: Inside::new(),
            }
        }
    }

    /// On the owning thread exact, on others a few operations old.
    #[inline(always)]
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            allocs: self.allocs.load(),
            reallocs: self.reallocs.load(),
            frees: self.frees.load(),
            alloc_bytes: self.alloc_bytes.load(),
            freed_bytes: self.freed_bytes.load(),
        }
    }

    /// The same on the owning thread.
    ///
    /// # Safety
    ///
    /// The calling thread is the owner.
    #[inline(always)]
    pub(crate) unsafe fn own_counts(&self) -> Counts {
        // SAFETY: the caller is the one that writes.
        unsafe {
            Counts {
                allocs: self.allocs.load_own(),
                reallocs: self.reallocs.load_own(),
                frees: self.frees.load_own(),
                alloc_bytes: self.alloc_bytes.load_own(),
                freed_bytes: self.freed_bytes.load_own(),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn alerts(&self) -> u16 {
        self.alert.load(Relaxed) & BITS
    }

    /// Whether every call looks up.
    #[inline(always)]
    pub(crate) fn is_alert(&self) -> bool {
        self.alerts() != 0
    }

    /// Whether the free of the block at `address` does: if every one does, or if the block may be
    /// a placed one.
    #[inline(always)]
    pub(crate) fn looks_up(&self, address: usize) -> bool {
        if cfg!(feature = "profile") {
            in_page(address) < self.alert.load(Relaxed)
        } else {
            self.alert.load(Relaxed) != 0
        }
    }

    /// Any thread may say so, and it stays said until the owner clears it.
    pub(crate) fn raise(&self, bit: u16) {
        self.alert.fetch_or(EVERY | bit, AcqRel);
    }

    /// The owner's alone.
    pub(crate) fn clear(&self, bit: u16, placing: &Placing) {
        let lower = |alert: u16| match alert & BITS & !bit {
            0 => placing.limit(),
            others => EVERY | others,
        };
        // Cannot fail: it always has a new value.
        let _ = self
            .alert
            .fetch_update(AcqRel, Relaxed, |alert| Some(lower(alert)));
        // With `Placing::start`: we write the limit and then look whether anything is placed, it
        // says so and then looks at the limit. With a fence between, one sees the other.
        fence(SeqCst);
        self.heed(placing);
    }

    /// The frees of placed blocks look up, if there are any.
    pub(crate) fn heed(&self, placing: &Placing) {
        if placing.limit() != 0 {
            // An error says that every free looks up, or those do already.
            let _ = self.alert.compare_exchange(0, PLACED, AcqRel, Relaxed);
        }
    }
}

/// Whether some blocks of the process were given a place by which their frees are recognised. Once
/// said it stays: blocks live long.
#[derive(Debug)]
pub(crate) struct Placing(AtomicBool);

impl Placing {
    constructor! {
        pub(crate) fn new() -> Self {
            Placing(AtomicBool::new(false))
        }
    }

    /// Before the first block is placed. The caller now has every published block heed it.
    #[cfg(feature = "profile")]
    pub(crate) fn start(&self) {
        self.0.store(true, Relaxed);
        // See `Published::clear`.
        fence(SeqCst);
    }

    fn limit(&self) -> u16 {
        if self.0.load(Relaxed) { PLACED } else { 0 }
    }
}

/// How many want to see each call of every thread.
///
/// Who starts to watch adds to the number and then raises the alert of every published block. A
/// block that is published later is raised by its owner, which looks at the number. Nobody lowers
/// another's alert: an owner that finds no watcher left lowers its own.
#[derive(Debug)]
pub(crate) struct Watchers {
    number: AtomicUsize,
}

impl Watchers {
    constructor! {
        pub(crate) fn new() -> Self {
            Watchers { number: AtomicUsize::new(0) }
        }
    }

    /// One more. The caller now raises every published block.
    pub(crate) fn add(&self) {
        self.number.fetch_add(1, AcqRel);
        // Handshakes. With `join`: we add and then look for the block, the owner publishes it and
        // then looks at the number. With `stand_down`: we add and then raise, the owner lowers
        // and then looks at the number. Each has a fence between the two, so one sees the other.
        fence(SeqCst);
    }

    pub(crate) fn remove(&self) {
        self.number.fetch_sub(1, AcqRel);
    }

    /// The owner has published its block.
    pub(crate) fn join(&self, block: &Published) {
        fence(SeqCst);
        if self.number.load(Acquire) > 0 {
            block.raise(PROCESS);
        }
    }

    /// The owner has seen a call of its own: no more, if nobody watches any more.
    #[inline]
    pub(crate) fn stand_down(&self, block: &Published, placing: &Placing) {
        if block.alerts() & PROCESS != 0 && self.number.load(Acquire) == 0 {
            block.clear(PROCESS, placing);
            self.join(block);
        }
    }
}
