//! The fields of a span or an event, as bytes: written on the application's thread, read by the
//! background thread.
//!
//! Each is the field's number in its call site's list, a tag and the value: numbers and truth values
//! as they are, texts cut at [`STRING_BYTES`]. What is formatted is formatted just as far. A number
//! that no field has, after all others, says that something is missing.

use crate::subscriber::CallSite;
use crate::tool::panics::caught;
use alloc_tracker::raw::Own;
use serde_json::Value;
use std::cell::Cell;
use std::fmt::{self, Write};

/// The longest text that is kept of a field's value, in bytes. What is longer ends with an ellipsis.
const STRING_BYTES: usize = 256;
/// The most bytes that the fields of one span or event take. Fields past it are left out.
const FIELDS_BYTES: usize = 1024;

const UNSIGNED: u8 = 0;
const SIGNED: u8 = 1;
const FLOAT: u8 = 2;
const BOOL: u8 = 3;
const TEXT: u8 = 4;
const CUT: u8 = 5;
/// In place of a field's number, at the end: fields are missing, or less of one is there than fits.
const MISSING: u8 = u8::MAX;
/// Number, tag, length of a text.
const TEXT_HEAD: usize = 4;
/// What texts leave for numbers that come after them, and for the mark that fields are missing.
const TEXTS_LEAVE: usize = 128;
/// The name of the field that tells that others are missing.
const MISSING_NAME: &str = "…";

thread_local! {
    /// The bytes of the thread's last span or event, for the next one's.
    static SPARE: Own<Cell<Vec<u8>>> = const { Own::new(Cell::new(Vec::new())) };
}

/// Takes in fields.
#[derive(Debug, Default)]
pub(crate) struct FieldBytes {
    bytes: Vec<u8>,
    /// How many of them are fields from end to end.
    whole: usize,
    /// Whether something is missing. A mark of its own: the bytes of a value may be any.
    misses: bool,
}

impl FieldBytes {
    /// What `record` visits. A panic in the formatting of a user's value ends the fields, which then
    /// say so, and nothing else: without us nobody might ever have formatted it.
    pub(crate) fn of(record: impl FnOnce(&mut FieldBytes)) -> Self {
        // Empty while a value that is being formatted is itself at a span or an event.
        let mut bytes = SPARE.try_with(|spare| spare.take()).unwrap_or_default();
        bytes.clear();
        if bytes.capacity() < FIELDS_BYTES {
            alloc_tracker::raw::for_a_tool(|| bytes.reserve(FIELDS_BYTES));
        }
        let mut fields = FieldBytes {
            bytes,
            whole: 0,
            misses: false,
        };
        if caught(|| record(&mut fields)).is_none() {
            fields.bytes.truncate(fields.whole);
            fields.misses = true;
        }
        if fields.misses {
            // There is room: every field leaves a byte.
            fields.bytes.push(MISSING);
        }
        fields
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The field with this number in its call site's list.
    pub(crate) fn put(&mut self, field: usize, value: Number) {
        let (tag, bytes) = match value {
            Number::Unsigned(value) => (UNSIGNED, value.to_le_bytes()),
            Number::Signed(value) => (SIGNED, value.to_le_bytes()),
            Number::Float(value) => (FLOAT, value.to_le_bytes()),
            Number::Bool(value) => (BOOL, u64::from(value).to_le_bytes()),
        };
        let bytes = if tag == BOOL { &bytes[..1] } else { &bytes[..] };
        match number(field) {
            // The last byte is the mark's.
            Some(number) if self.bytes.len() + 2 + bytes.len() < FIELDS_BYTES => {
                self.bytes.extend_from_slice(&[number, tag]);
                self.bytes.extend_from_slice(bytes);
                self.whole = self.bytes.len();
            }
            _ => self.misses = true,
        }
    }

    /// The same for a text, as far as there is room for it.
    pub(crate) fn put_text(
        &mut self,
        field: usize,
        write: impl FnOnce(&mut dyn Write) -> fmt::Result,
    ) {
        let start = self.bytes.len();
        let room = (FIELDS_BYTES - TEXTS_LEAVE).saturating_sub(start + TEXT_HEAD);
        let (Some(number), 1..) = (number(field), room) else {
            self.misses = true;
            return;
        };
        self.bytes.extend_from_slice(&[number, TEXT, 0, 0]);
        let mut text = Text {
            bytes: &mut self.bytes,
            room: room.min(STRING_BYTES),
            cut: false,
        };
        let failed = write(&mut text).is_err();
        let cut = text.cut || failed;
        // A text that ends before its time may look as if it were whole: what is cut at its full length
        // is longer than any that is not.
        self.misses |= cut && room < STRING_BYTES || failed && !text.cut;
        let len = (self.bytes.len() - start - TEXT_HEAD) as u16;
        self.bytes[start + 1] = if cut { CUT } else { TEXT };
        self.bytes[start + 2..start + TEXT_HEAD].copy_from_slice(&len.to_le_bytes());
        self.whole = self.bytes.len();
    }
}

/// A value that is no text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

/// The number as it is written, if it fits.
fn number(field: usize) -> Option<u8> {
    u8::try_from(field).ok().filter(|n| *n != MISSING)
}

impl Drop for FieldBytes {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // PERF: what was there is empty, and nothing is freed. Unless the thread is ending: the bytes
        // are dropped then.
        let _ = SPARE.try_with(|spare| spare.set(bytes));
    }
}

/// A text that ends where there is no more room.
struct Text<'a> {
    bytes: &'a mut Vec<u8>,
    room: usize,
    cut: bool,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.room && !self.cut {
            self.bytes.extend_from_slice(text.as_bytes());
            self.room -= text.len();
            return Ok(());
        }
        if !self.cut {
            let end = (0..=self.room)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            self.bytes
                .extend_from_slice(&text.as_bytes()[..end.unwrap_or(0)]);
            self.cut = true;
        }
        // The rest need not be formatted.
        Err(fmt::Error)
    }
}

/// Fields, read back.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fields {
    /// The field `message`, which is the text of an event.
    pub(crate) message: Option<String>,
    pub(crate) others: serde_json::Map<String, Value>,
}

impl Fields {
    /// Reads what [`FieldBytes`] wrote for this call site. Of what is not whole, as much as there is.
    pub(crate) fn read(&mut self, call_site: CallSite, mut bytes: &[u8]) {
        while let Some((number, value)) = next(&mut bytes) {
            match (call_site.field_name(number), value) {
                // Of a span it is a field like any other.
                (Some("message"), Value::String(text)) if call_site.is_event() => {
                    self.message = Some(text);
                }
                (Some(name), value) => drop(self.others.insert(name.to_owned(), value)),
                (None, value) => drop(self.others.insert(MISSING_NAME.to_owned(), value)),
            }
        }
    }
}

fn next(bytes: &mut &[u8]) -> Option<(u8, Value)> {
    if let [MISSING, rest @ ..] = bytes {
        *bytes = rest;
        return Some((MISSING, true.into()));
    }
    let [number, tag] = take(bytes)?;
    let value = match tag {
        UNSIGNED => u64::from_le_bytes(take(bytes)?).into(),
        SIGNED => i64::from_le_bytes(take(bytes)?).into(),
        FLOAT => match f64::from_le_bytes(take(bytes)?) {
            finite if finite.is_finite() => finite.into(),
            // JSON has no such number.
            other => other.to_string().into(),
        },
        BOOL => (take::<1>(bytes)? != [0]).into(),
        TEXT | CUT => {
            let len = usize::from(u16::from_le_bytes(take(bytes)?));
            let (text, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            let mut text = String::from_utf8_lossy(text).into_owned();
            if tag == CUT {
                text.push('…');
            }
            text.into()
        }
        _ => return None,
    };
    Some((number, value))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (value, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*value)
}

#[cfg(test)]
mod tests;
