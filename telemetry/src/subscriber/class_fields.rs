//! The values of fields that name a class.

use crate::kinds::class::Parts;
use crate::tool::panics::caught;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Record};

/// What a span that begins says of its class. A value whose formatting panics says nothing.
pub(super) fn of_attributes(attributes: &Attributes<'_>) -> impl FnOnce(&mut Parts<'_>) {
    |parts| visit(|| attributes.record(parts))
}

/// The same of what is recorded later.
pub(super) fn of_record(values: &Record<'_>) -> impl FnOnce(&mut Parts<'_>) {
    |parts| visit(|| values.record(parts))
}

/// The values' own code: what it allocates is not the unit's, which did not ask for this.
fn visit(record: impl FnOnce()) {
    alloc_tracker::raw::for_a_tool(|| {
        caught(record);
    });
}

impl Visit for Parts<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(role) = self.role_of(field.index()) {
            self.take(role, |text| text.write_str(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(role) = self.role_of(field.index()) {
            self.take(role, |text| write!(text, "{value:?}"));
        }
    }
}
