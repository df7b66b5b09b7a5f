//! What figures count.

use crate::tool::words::words;

words! {
    /// What a figure counts.
    Measure {
        /// Nanoseconds.
        Nanoseconds = "ns",
        /// Bytes.
        Bytes = "bytes",
        /// How many, of whatever it is.
        Count = "count",
        /// A share of all units, from 0 to 1.
        Share = "share",
    }
}
