//! Whether recorded fields say that a span failed.

use crate::tool::panics::caught;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};

/// `error` with anything but `false`, `None`, `0`, `Ok(())` or nothing, or `otel.status_code` with `ERROR`.
#[derive(Debug, Default)]
pub(crate) struct ErrorField {
    found: bool,
}

impl ErrorField {
    pub(crate) fn in_record(values: &tracing::span::Record<'_>) -> bool {
        Self::visit(|visitor| values.record(visitor))
    }

    pub(crate) fn in_attributes(attributes: &tracing::span::Attributes<'_>) -> bool {
        Self::visit(|visitor| attributes.record(visitor))
    }

    /// Whether a call site has such a field at all.
    pub(crate) fn is_in(metadata: &tracing::Metadata<'_>) -> bool {
        let fields = metadata.fields();
        fields.field("error").is_some() || fields.field("otel.status_code").is_some()
    }

    /// A value whose formatting panics says that something is wrong.
    fn visit(record: impl FnOnce(&mut ErrorField)) -> bool {
        let mut visitor = ErrorField::default();
        let visited = caught(|| record(&mut visitor));
        visitor.found || visited.is_none()
    }

    fn see(&mut self, field: &Field, text: impl FnOnce() -> Word) {
        self.found |= match field.name() {
            "error" => !text().says_nothing(),
            "otel.status_code" => text().is("error"),
            _ => false,
        };
    }
}

impl Visit for ErrorField {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.found |= value && field.name() == "error";
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.found |= value != 0.0 && field.name() == "error";
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.see(field, || Word::of(format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The value's own code: what it allocates is not the unit's, which did not ask for this.
        self.see(field, || {
            alloc_tracker::raw::for_a_tool(|| Word::of(format_args!("{value:?}")))
        });
    }
}

/// The first bytes of a formatted value, without quotes and without an allocation.
#[derive(Default)]
struct Word {
    bytes: [u8; 8],
    len: usize,
}

impl Word {
    fn of(value: fmt::Arguments<'_>) -> Self {
        let mut word = Word::default();
        let _ = word.write_fmt(value);
        word
    }

    fn says_nothing(&self) -> bool {
        let nothing = ["", "false", "none", "0", "ok(())"];
        nothing.iter().any(|word| self.is(word))
    }

    fn is(&self, word: &str) -> bool {
        self.len == word.len() && self.bytes[..self.len].eq_ignore_ascii_case(word.as_bytes())
    }
}

impl Write for Word {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(|byte| *byte != b'"') {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
            }
            self.len += 1;
        }
        Ok(())
    }
}
