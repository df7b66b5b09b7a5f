//! Whether recorded fields say that a span failed.

use std::fmt::{self, Write};
use tracing::field::{Field, Visit};

/// `error` with anything but `false`, `None`, `0` or nothing, or `otel.status_code` with `ERROR`.
#[derive(Debug, Default)]
pub(crate) struct ErrorField {
    found: bool,
}

impl ErrorField {
    pub(crate) fn in_record(values: &tracing::span::Record<'_>) -> bool {
        let mut visitor = ErrorField::default();
        values.record(&mut visitor);
        visitor.found
    }

    pub(crate) fn in_attributes(attributes: &tracing::span::Attributes<'_>) -> bool {
        let fields = attributes.metadata().fields();
        if fields.field("error").is_none() && fields.field("otel.status_code").is_none() {
            return false;
        }
        let mut visitor = ErrorField::default();
        attributes.record(&mut visitor);
        visitor.found
    }
}

impl Visit for ErrorField {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.found |= value && field.name() == "error";
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.found |= match field.name() {
            "error" => !["", "false", "None", "0"].contains(&value),
            "otel.status_code" => value.eq_ignore_ascii_case("error"),
            _ => false,
        };
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.found |= match field.name() {
            "error" => {
                let word = Word::of(value);
                !["", "false", "none", "0"]
                    .iter()
                    .any(|nothing| word.is(nothing))
            }
            "otel.status_code" => Word::of(value).is("error"),
            _ => false,
        };
    }
}

/// The first bytes of a formatted value, without quotes and without an allocation.
#[derive(Default)]
struct Word {
    bytes: [u8; 8],
    len: usize,
}

impl Word {
    fn of(value: &dyn fmt::Debug) -> Self {
        let mut word = Word::default();
        let _ = write!(word, "{value:?}");
        word
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
