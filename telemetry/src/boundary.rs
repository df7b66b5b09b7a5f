//! Boundaries: what a unit does outside itself.

use crate::cost::BoundaryId;
use crate::instance::Instance;
use crate::ledger::Untold;
use crate::live::{LiveUnit, UnitRef};
use crate::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A kind of outside call, such as a query or a request to another service. A `static`, made by
/// [`call!`](crate::call!); two of the same name are the same boundary.
///
/// ```
/// use telemetry::Boundary;
///
/// static DATABASE: Boundary = Boundary::new("db");
///
/// let call = DATABASE.call(); // what `call!("db")` does
/// call.sent(120);
/// call.received(4096);
/// ```
#[derive(Debug)]
pub struct Boundary {
    name: &'static str,
    /// The number plus one; 0 until the first call.
    id: AtomicU32,
}

impl Boundary {
    /// A boundary of this name.
    pub const fn new(name: &'static str) -> Self {
        Boundary {
            name,
            id: AtomicU32::new(0),
        }
    }

    /// Starts a call across the boundary, on behalf of the unit that this thread works for.
    pub fn call(&'static self) -> Call {
        let mut call = Call {
            boundary: self.id(),
            target: None,
            others: Vec::new(),
        };
        thread::current_units(|instance, unit| call.add_target(instance, unit));
        call.add(1, 0, 0);
        call
    }

    fn id(&self) -> BoundaryId {
        match self.id.load(Relaxed) {
            0 => self.register(),
            id => BoundaryId(id - 1),
        }
    }

    #[cold]
    fn register(&self) -> BoundaryId {
        let id = BoundaryId::of(self.name).unwrap_or(BoundaryId::OTHER);
        // Relaxed: whoever registers the same boundary at the same time finds the same number.
        self.id.store(id.0 + 1, Relaxed);
        id
    }
}

#[derive(Debug)]
struct Target {
    instance: Arc<Instance>,
    unit: UnitRef,
}

impl Target {
    /// What is done in a unit is done in those around it.
    #[inline(always)]
    fn tell_outer(&self, unit: &LiveUnit, each: impl Fn(&LiveUnit)) {
        let mut outer = unit.outer();
        while let Some(live) = outer.and_then(|outer| self.instance.live_units.get(outer.unit)) {
            each(live);
            outer = live.outer();
        }
    }

    #[inline(always)]
    fn tell(&self, each: impl Fn(&LiveUnit)) {
        match self.instance.live_units.get(self.unit) {
            Some(unit) => {
                each(unit);
                self.tell_outer(unit, &each);
                // The unit may be in progress for long: what it does is to be written.
                self.instance.background.something_happened();
            }
            None => (self.instance.counters).could_not_tell(Untold::CallAfterEnd),
        }
    }
}

/// One call across a [`Boundary`], made by [`call!`](crate::call!).
///
/// It is counted when it is made. It may be moved to other threads, and what is added after its
/// unit has ended is not counted. Outside of any unit it does nothing.
///
/// ```
/// let call = telemetry::call!("payments");
/// call.sent(512);
/// for attempt in 0..3 {
///     if attempt > 0 {
///         call.retried(); // one more call, and one retry
///     }
///     # break;
/// }
/// call.received(64);
/// ```
#[derive(Debug)]
#[must_use = "bind the call to a variable, and add to it what is sent and received"]
pub struct Call {
    boundary: BoundaryId,
    target: Option<Target>,
    /// Of further telemetries, if there are any: the same unit of work in their eyes.
    others: Vec<Target>,
}

impl Call {
    /// Adds bytes that went out.
    pub fn sent(&self, bytes: u64) {
        self.add(0, bytes, 0);
    }

    /// Adds bytes that came in.
    pub fn received(&self, bytes: u64) {
        self.add(0, 0, bytes);
    }

    /// The call is tried again: one more call, and one retry.
    pub fn retried(&self) {
        self.for_units(|unit| {
            unit.cross(self.boundary, 1, 0, 0);
            unit.retried();
        });
    }

    #[inline]
    fn add(&self, calls: u64, sent: u64, received: u64) {
        self.for_units(|unit| unit.cross(self.boundary, calls, sent, received));
    }

    #[inline]
    fn for_units(&self, each: impl Fn(&LiveUnit)) {
        if let Some(target) = &self.target {
            target.tell(&each);
        }
        if !self.others.is_empty() {
            self.tell_others(each);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_other(&mut self, target: Target) {
        alloc_tracker::raw::for_a_tool(|| self.others.push(target));
    }

    /// PERF: apart from the first one, so that only that is inlined.
    #[cold]
    #[inline(never)]
    fn tell_others(&self, each: impl Fn(&LiveUnit)) {
        self.others.iter().for_each(|target| target.tell(&each));
    }

    fn add_target(&mut self, instance: Arc<Instance>, unit: UnitRef) {
        let target = Target { instance, unit };
        match self.target {
            None => self.target = Some(target),
            Some(_) => self.add_other(target),
        }
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        if !self.others.is_empty() {
            alloc_tracker::raw::for_a_tool(|| self.others = Vec::new());
        }
    }
}

/// Starts a call across the boundary of this name: counted for the unit that the thread works for.
///
/// ```
/// fn load(key: &str) -> Vec<u8> {
///     let call = telemetry::call!("cache.get");
///     call.sent(key.len() as u64);
///     let value = vec![0; 100];
///     call.received(value.len() as u64);
///     value
/// }
/// # load("k");
/// ```
///
/// # Cost
///
/// Some atomic additions; no allocation, no lock after the call site's first call.
///
/// # Limits
///
/// A process tells 64 boundaries apart, a unit 7; further ones are counted together as `other`.
#[macro_export]
macro_rules! call {
    ($name:literal) => {{
        static BOUNDARY: $crate::Boundary = $crate::Boundary::new($name);
        BOUNDARY.call()
    }};
}
