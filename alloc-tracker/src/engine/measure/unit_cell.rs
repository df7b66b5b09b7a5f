//! One unit's figures, which any number of threads add to.

use super::counts::{Counts, SharedCounts};
use super::sync::{
    AcqRel, Acquire, AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Relaxed, Release,
    constructor, fence,
};

/// On cache lines of its own: units on different threads do not disturb each other.
///
/// A cell is only ever reused as a cell. A generation number tells whether it is still the same
/// unit's; who works with a stale one does nothing.
#[repr(C, align(128))]
pub(crate) struct UnitCell {
    /// The generation in the upper half, the number of handles in the lower.
    life: AtomicU64,
    /// The thread whose segments go to `owned`: the first that ended one. 0: none yet.
    owner: AtomicU64,
    /// PERF: most units work on one thread, or on one most of the time. What that one adds takes
    /// no locked instruction; what others add goes to `shared`.
    owned: SharedCounts,
    peak: AtomicI64,
    /// In the free list: the next free cell's index plus one.
    pub(crate) next_free: AtomicU32,
    pub(crate) index: AtomicU32,
    following: AtomicU8,
    /// A segment that counted something was added.
    has_costs: AtomicBool,
    /// The number of its name, if it has one; else 0.
    pub(crate) name: AtomicU32,
    /// What only some units need is on the second pair of cache lines.
    shared: SharedCounts,
    retained_blocks: AtomicI64,
    retained_bytes: AtomicI64,
    /// The unit around this one that follows its blocks, too; [`NO_UNIT`] if there is none.
    parent: AtomicU64,
}

/// No unit has this number.
pub(crate) const NO_UNIT: u64 = u64::MAX;

const ONE_GENERATION: u64 = 1 << 32;
const HANDLES: u64 = ONE_GENERATION - 1;

const NOT: u8 = 0;
const FOLLOWS: u8 = 1;
/// There was no memory to note a block.
const LOST_TRACK: u8 = 2;

impl UnitCell {
    constructor! {
        pub(crate) fn new(index: u32) -> Self {
            UnitCell {
                life: AtomicU64::new(0),
                owner: AtomicU64::new(0),
                owned: SharedCounts::new(),
                peak: AtomicI64::new(0),
                next_free: AtomicU32::new(0),
                index: AtomicU32::new(index),
                shared: SharedCounts::new(),
                retained_blocks: AtomicI64::new(0),
                retained_bytes: AtomicI64::new(0),
                parent: AtomicU64::new(NO_UNIT),
                following: AtomicU8::new(NOT),
                has_costs: AtomicBool::new(false),
                name: AtomicU32::new(0),
            }
        }
    }

    /// Makes a free cell a new unit's with one handle, and returns the generation. The caller has
    /// the cell to itself. `owner`: the thread that is expected to work for it; 0 if none is.
    #[inline]
    pub(crate) fn begin(&self, follow: Option<u64>, owner: u64) -> u32 {
        let generation = self.life.load(Relaxed) >> 32;
        self.owner.store(owner, Relaxed);
        // PERF: many units allocate nothing, and leave nothing to clear.
        if self.has_costs.load(Relaxed) {
            self.has_costs.store(false, Relaxed);
            self.owned.store(Counts::ZERO);
            self.shared.store(Counts::ZERO);
            self.peak.store(0, Relaxed);
        }
        self.parent.store(follow.unwrap_or(NO_UNIT), Relaxed);
        if follow.is_some() {
            self.retained_blocks.store(0, Relaxed);
            self.retained_bytes.store(0, Relaxed);
        }
        let following = if follow.is_some() { FOLLOWS } else { NOT };
        self.following.store(following, Relaxed);
        self.name.store(0, Relaxed);
        self.life.store(generation << 32 | 1, Release);
        generation as u32
    }

    /// Ends the unit of the caller, who has its only handle, and begins a plain one. `None` if there
    /// are other handles, or it follows its blocks.
    ///
    /// PERF: the thread that ends a unit mostly begins the next one, and then need not ask whether
    /// another one owns it.
    #[inline]
    pub(crate) fn restart(&self, generation: u32, owner: u64) -> Option<u32> {
        if self.follows() {
            return None;
        }
        let next = generation.wrapping_add(1);
        let only = u64::from(generation) << 32 | 1;
        // To no handles at first, so that nobody upgrades while the figures are cleared. Acquire
        // what the owners of the other handles did before they gave them up.
        let ended = u64::from(next) << 32;
        self.life
            .compare_exchange(only, ended, Acquire, Relaxed)
            .ok()?;
        Some(self.begin(None, owner))
    }

    /// Adds a handle, if the unit has one.
    pub(crate) fn upgrade(&self, generation: u32) -> bool {
        let mut seen = self.life.load(Relaxed);
        loop {
            if seen >> 32 != u64::from(generation) || seen & HANDLES == 0 {
                return false;
            }
            // Acquire, as whoever upgrades may have heard of the unit without being handed it.
            match self
                .life
                .compare_exchange_weak(seen, seen + 1, Acquire, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Adds a handle to one that the caller has.
    pub(crate) fn duplicate(&self) {
        // Relaxed: whoever clones has a handle, and passes the new one on by something that
        // orders memory, if at all.
        let before = self.life.fetch_add(1, Relaxed);
        if before & HANDLES > HANDLES / 2 {
            // 2^31 handles exist: they were leaked, and the count is about to run over.
            std::process::abort();
        }
    }

    /// Gives a handle up. After the last one the cell is the caller's alone, for `end`.
    pub(crate) fn release(&self) -> bool {
        // Release what this handle's owner did to the unit; the last one acquires it all.
        if self.life.fetch_sub(1, Release) & HANDLES != 1 {
            return false;
        }
        fence(Acquire);
        true
    }

    /// Ends the unit: its generation is over. Returns whether it followed its blocks, and with
    /// which parent.
    pub(crate) fn end(&self, generation: u32) -> Option<u64> {
        let next = generation.wrapping_add(1);
        self.life.store(u64::from(next) << 32, Relaxed);
        self.follows().then(|| self.parent.load(Relaxed))
    }

    #[inline]
    pub(crate) fn is(&self, generation: u32) -> bool {
        self.generation() == generation
    }

    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        (self.life.load(Relaxed) >> 32) as u32
    }

    /// Whether the unit is `generation`'s and still has a handle.
    pub(crate) fn is_alive(&self, generation: u32) -> bool {
        self.is(generation) && self.life.load(Relaxed) & HANDLES > 0
    }

    /// The sums, and the peak. `None`: nothing was added so far.
    #[inline]
    pub(crate) fn costs(&self) -> Option<(Counts, i64)> {
        let has_costs = self.has_costs.load(Relaxed);
        has_costs.then(|| (self.counts(), self.peak()))
    }

    pub(crate) fn counts(&self) -> Counts {
        self.owned.load().plus(self.shared.load())
    }

    #[inline]
    pub(crate) fn live(&self) -> i64 {
        self.owned.live().wrapping_add(self.shared.live())
    }

    pub(crate) fn peak(&self) -> i64 {
        self.peak.load(Relaxed)
    }

    /// Adds an ended segment of the thread with the number `thread`. It was opened when the unit
    /// had `base` live bytes, and rose `peak` above its own start.
    #[inline]
    pub(crate) fn add(&self, counts: Counts, base: i64, peak: i64, thread: u64) {
        // PERF: most segments reach no new peak, and a load is not a locked instruction.
        if peak > 0 {
            // The two differ only if segments overlapped; which one held at the moment of the
            // peak is then unknown, and a budget is better served by the higher.
            let top = base.max(self.live()).wrapping_add(peak);
            if top > self.peak.load(Relaxed) {
                self.peak.fetch_max(top, Relaxed);
            }
        }
        if self.is_owned_by(thread) {
            self.owned.add_alone(counts);
        } else {
            self.shared.add(counts);
        }
        // Afterwards, and Release: who comes too late for the unit leaves sums that the next restart clears.
        self.has_costs.store(true, Release);
    }

    #[inline]
    fn is_owned_by(&self, thread: u64) -> bool {
        match self.owner.load(Relaxed) {
            // Relaxed: the owner publishes nothing by this, it only keeps others off `owned`.
            0 => self
                .owner
                .compare_exchange(0, thread, Relaxed, Relaxed)
                .is_ok(),
            owner => owner == thread,
        }
    }

    #[inline]
    pub(crate) fn follows(&self) -> bool {
        self.following.load(Relaxed) != NOT
    }

    /// Only of a unit that follows its blocks.
    pub(crate) fn lose_track(&self) {
        let (from, to) = (FOLLOWS, LOST_TRACK);
        // Not of one that does not: whether it follows says what its end has to undo.
        let _ = self.following.compare_exchange(from, to, Relaxed, Relaxed);
    }

    /// Names the unit in heap profiles.
    #[inline]
    pub(crate) fn set_name(&self, name: u32) {
        // PERF: mostly it is the name of the unit before.
        if cfg!(feature = "profile") && self.name.load(Relaxed) != name {
            self.name.store(name, Relaxed);
        }
    }

    pub(crate) fn parent(&self) -> u64 {
        self.parent.load(Relaxed)
    }

    /// Whether blocks are in the books that nobody has freed.
    pub(crate) fn holds_blocks(&self) -> bool {
        let blocks = self.retained_blocks.load(Relaxed);
        self.follows() && (blocks != 0 || self.retained_bytes.load(Relaxed) != 0)
    }

    /// The caller holds a handle. Returns the parent, whose books have it too.
    pub(crate) fn retain(&self, blocks: i64, bytes: i64) -> u64 {
        // AcqRel: who sees a block given back sees what led to it.
        self.retained_blocks.fetch_add(blocks, AcqRel);
        self.retained_bytes.fetch_add(bytes, AcqRel);
        self.parent.load(Relaxed)
    }

    /// Blocks and bytes, if all of them were followed.
    pub(crate) fn retained(&self) -> Option<(i64, i64)> {
        let figures = (
            self.retained_blocks.load(Acquire),
            self.retained_bytes.load(Acquire),
        );
        (self.following.load(Relaxed) == FOLLOWS).then_some(figures)
    }
}
