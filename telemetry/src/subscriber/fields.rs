//! The values of fields, as bytes.

use crate::details::{FieldBytes, Number};
use std::fmt;
use tracing::field::{Field, Visit};

impl Visit for FieldBytes {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.index(), Number::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.index(), Number::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.index(), Number::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.index(), Number::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // What does not fit is cut.
        self.put_text(field.index(), |text| text.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The value's own code: what it allocates is not the unit's, which did not ask for this.
        alloc_tracker::raw::for_a_tool(|| {
            self.put_text(field.index(), |text| write!(text, "{value:?}"));
        });
    }
}
