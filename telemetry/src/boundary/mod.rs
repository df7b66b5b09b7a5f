//! Boundaries: what a unit does outside itself.
//!
//! A [`Boundary`] has a name; a [`Call`] is one use of it, which [`InCall`] ties to a future. What a stream does is
//! [`passing`], and a call if it is timed, or waits.

mod call;
mod in_call;
mod passing;

pub use call::Call;
pub use in_call::{CallFuture, InCall};
pub(crate) use passing::{Direction, Passing};

use crate::cost::BoundaryId;
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
    #[inline]
    pub fn call(&'static self) -> Call {
        Call::begin(self.id())
    }

    /// Starts a call across the boundary of this name, which need not be known at compile time: a host, say, of which there
    /// are a few. What tells one call from another, an id in a path, is no part of a name: past 512 names in a process
    /// further ones are counted together as `other`.
    ///
    /// ```
    /// let host = "mail.example";
    /// let call = telemetry::Boundary::call_named(host); // what `call!(host)` does
    /// call.sent(120);
    /// ```
    ///
    /// # Cost
    ///
    /// A look-up by name more than [`call`](Boundary::call): no allocation and no lock for a name that was there before,
    /// nor past the 512.
    pub fn call_named(name: &str) -> Call {
        Call::begin(BoundaryId::named(name).unwrap_or(BoundaryId::OTHER))
    }

    #[inline]
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

/// Starts a call across the boundary of this name: counted for the unit that the thread works for.
///
/// ```
/// fn load(key: &str) -> Vec<u8> {
///     let call = telemetry::call!("cache.get");
///     call.sent(key.len() as u64);
///     let value = vec![0; 100];
///     call.received(value.len() as u64);
///     value
/// } // the call ends
/// # load("k");
/// ```
///
/// The name may be an expression, of a `&str` or a `String`: see
/// [`Boundary::call_named`](crate::Boundary::call_named).
///
/// ```
/// # struct Shard { name: String }
/// # let shard = Shard { name: "east".to_owned() };
/// let call = telemetry::call!(shard.name);
/// # drop(call);
/// ```
///
/// # Cost
///
/// Two readings of the clock and a few additions; no allocation, no lock, and nothing that threads share but the unit,
/// after the call site's first call: 150 instructions in all. Inside of an inner unit, an allocation that no unit has.
///
/// # Limits
///
/// A process tells 512 boundaries apart, a unit 32; further ones are counted together as `other`.
#[macro_export]
macro_rules! call {
    ($name:literal) => {{
        static BOUNDARY: $crate::Boundary = $crate::Boundary::new($name);
        BOUNDARY.call()
    }};
    ($name:expr) => {
        $crate::Boundary::call_named(::core::convert::AsRef::<str>::as_ref(&$name))
    };
}
