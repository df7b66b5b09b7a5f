//! Where a unit or an event is in a trace of another tool's.

use std::fmt;

/// The ids of a trace and of a span in it, as OpenTelemetry has them.
///
/// ```
/// use telemetry::record::TraceIds;
///
/// let ids = TraceIds::new(0x4bf9_u128.to_be_bytes(), 7_u64.to_be_bytes());
/// assert_eq!(ids.trace_id(), "00000000000000000000000000004bf9");
/// assert_eq!(ids.span_id(), "0000000000000007");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceIds {
    trace: u128,
    span: u64,
}

impl TraceIds {
    /// By the bytes of both.
    pub fn new(trace: [u8; 16], span: [u8; 8]) -> Self {
        TraceIds {
            trace: u128::from_be_bytes(trace),
            span: u64::from_be_bytes(span),
        }
    }

    pub(crate) fn from_words([high, low, span]: [u64; 3]) -> Self {
        TraceIds {
            trace: u128::from(high) << 64 | u128::from(low),
            span,
        }
    }

    pub(crate) fn as_words(self) -> [u64; 3] {
        [(self.trace >> 64) as u64, self.trace as u64, self.span]
    }

    /// The trace's, as 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's, as 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Debug for TraceIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceIds")
            .field("trace_id", &self.trace_id())
            .field("span_id", &self.span_id())
            .finish()
    }
}
