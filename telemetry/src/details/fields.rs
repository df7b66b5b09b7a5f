//! The fields of a span or an event, as bytes: written on the application's thread, read by the
//! background thread.
//!
//! Each is the field's number in its call site's list, a tag and the value: numbers and truth values
//! as they are, texts cut at [`STRING_BYTES`]. What is formatted is formatted just as far. A number
//! that no field has, after all others, says that something is missing.

use serde_json::Value;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tracing::Metadata;
use tracing::field::{Field, Visit};

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
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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
    pub(crate) fn of(record: impl FnOnce(&mut dyn Visit)) -> Self {
        // Empty while a value that is being formatted is itself at a span or an event.
        let mut bytes = SPARE.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        if bytes.capacity() < FIELDS_BYTES {
            alloc_tracker::excluded(|| bytes.reserve(FIELDS_BYTES));
        }
        let mut fields = FieldBytes {
            bytes,
            whole: 0,
            misses: false,
        };
        let visit = AssertUnwindSafe(|| record(&mut fields));
        if catch_unwind(visit).is_err() {
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

    fn put(&mut self, field: &Field, tag: u8, value: &[u8]) {
        match number(field) {
            // The last byte is the mark's.
            Some(number) if self.bytes.len() + 2 + value.len() < FIELDS_BYTES => {
                self.bytes.extend_from_slice(&[number, tag]);
                self.bytes.extend_from_slice(value);
                self.whole = self.bytes.len();
            }
            _ => self.misses = true,
        }
    }

    fn put_text(&mut self, field: &Field, write: impl FnOnce(&mut Text<'_>) -> fmt::Result) {
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

impl Drop for FieldBytes {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // PERF: what was there is empty, and nothing is freed. Unless the thread is ending: the bytes
        // are dropped then.
        let _ = SPARE.try_with(|spare| spare.set(bytes));
    }
}

/// The field's number, if it fits.
fn number(field: &Field) -> Option<u8> {
    u8::try_from(field.index()).ok().filter(|n| *n != MISSING)
}

impl Visit for FieldBytes {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, FLOAT, &value.to_le_bytes());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, SIGNED, &value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, UNSIGNED, &value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, BOOL, &[u8::from(value)]);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // What does not fit is cut.
        self.put_text(field, |text| text.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The value's own code: what it allocates is not the unit's, which did not ask for this.
        alloc_tracker::excluded(|| self.put_text(field, |text| write!(text, "{value:?}")));
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
    pub(crate) fn read(&mut self, metadata: &Metadata<'_>, mut bytes: &[u8]) {
        while let Some((number, value)) = next(&mut bytes) {
            let field = metadata.fields().iter().nth(usize::from(number));
            match (field.as_ref().map(Field::name), value) {
                // Of a span it is a field like any other.
                (Some("message"), Value::String(text)) if metadata.is_event() => {
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
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;
    use tracing::span::Attributes;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// Takes the fields of the spans that it sees.
    struct Take<'a>(&'a Mutex<Vec<Fields>>);

    impl<S: tracing::Subscriber> Layer<S> for Take<'static> {
        fn on_new_span(&self, span: &Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
            let bytes = FieldBytes::of(|visit| span.record(visit));
            let mut fields = Fields::default();
            fields.read(span.metadata(), bytes.as_bytes());
            self.0.lock().unwrap().push(fields);
        }
    }

    /// The fields of the spans that `make` makes.
    fn taken(make: impl FnOnce()) -> Vec<serde_json::Value> {
        let taken: &'static Mutex<Vec<Fields>> = Box::leak(Box::default());
        let subscriber = tracing_subscriber::registry().with(Take(taken));
        tracing::subscriber::with_default(subscriber, make);
        let taken = std::mem::take(&mut *taken.lock().unwrap());
        taken
            .into_iter()
            .map(|fields| fields.others.into())
            .collect()
    }

    #[test]
    fn values_come_back_as_they_were() {
        let fields = taken(|| {
            tracing::info_span!(
                "span",
                unsigned = u64::MAX,
                signed = -3,
                float = 1.5,
                none = f64::NAN,
                truth = true,
                text = "twelve",
                formatted = ?Some("x"),
                absent = tracing::field::Empty,
            );
        });
        let expected = json!({
            "unsigned": u64::MAX, "signed": -3, "float": 1.5, "none": "NaN", "truth": true,
            "text": "twelve", "formatted": "Some(\"x\")",
        });
        assert_eq!(fields, [expected]);
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_many_fields_at_a_kibibyte() {
        let long = "ä".repeat(1000);
        let fields = taken(|| {
            tracing::info_span!("span", long, b = long, c = ?long, d = 1, e = long, f = long, g = 2);
        });
        let fields = fields[0].as_object().unwrap();
        assert_eq!(fields["long"].as_str().unwrap(), "ä".repeat(128) + "…");
        assert_eq!(fields["c"].as_str().unwrap().chars().next(), Some('"'));
        // Numbers find room after long texts, and what finds none is told.
        assert_eq!(
            (&fields["d"], &fields["g"], &fields["…"]),
            (&1.into(), &2.into(), &true.into())
        );
        assert!(!fields.contains_key("f"));
        let kept: usize = fields.values().map(|v| v.to_string().len()).sum();
        assert!(kept < FIELDS_BYTES + 64, "{kept}");
    }

    #[test]
    fn a_value_that_panics_when_formatted_ends_the_fields_and_nothing_else() {
        struct Panics;
        impl fmt::Debug for Panics {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("begun")?;
                panic!("a value that cannot be shown");
            }
        }
        let fields = taken(|| {
            tracing::info_span!("span", first = 1, bad = ?Panics, last = 2);
        });
        assert_eq!(fields, [json!({ "first": 1, "…": true })]);
    }

    #[test]
    fn what_is_missing_is_told_whatever_the_last_value_is() {
        let long = "x".repeat(1000);
        let fields = taken(|| {
            // As many as fit, of values whose last byte is 0xFF; then one that does not.
            tracing::info_span!(
                "span",
                a = long,
                b = long,
                c = long,
                d = long,
                n1 = -1,
                n2 = -1,
                n3 = -1,
                n4 = -1,
                n5 = -1,
                n6 = -1,
                n7 = -1,
                n8 = -1,
                n9 = -1,
                n10 = -1,
                n11 = -1,
                n12 = -1,
                n13 = -1,
                n14 = -1
            );
            tracing::info_span!("span", n = -1, m = u64::MAX, f = -f64::NAN);
            tracing::info_span!("span", n = -1, text = ?Fails);
            tracing::info_span!("span", n = -1, text = ?Panics);
        });
        for (n, is_missing) in [true, false, true, true].into_iter().enumerate() {
            let told = fields[n].get("…").is_some();
            assert_eq!(told, is_missing, "{n}: {}", fields[n]);
            let numbers = fields[n].as_object().unwrap().iter();
            let mut numbers = numbers.filter(|(name, _)| name.starts_with('n'));
            assert!(numbers.all(|(_, value)| *value == -1), "{}", fields[n]);
        }
        assert!(fields[0].get("n13").is_none(), "{}", fields[0]);
        assert_eq!(fields[2]["text"], "begun…");

        struct Fails;
        impl fmt::Debug for Fails {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("begun")?;
                Err(fmt::Error)
            }
        }
        struct Panics;
        impl fmt::Debug for Panics {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("a value that cannot be shown");
            }
        }
    }

    /// Random fields of all kinds: those that are there are as they were, and whether any is missing
    /// is told.
    #[test]
    fn random_values_come_back_or_are_told_to_be_missing() {
        let mut random = 7u64;
        for _ in 0..2_000 {
            let mut values = Vec::new();
            for _ in 0..8 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                values.push(match random % 4 {
                    0 => Value::from(-((random >> 8) as i64 & 1)),
                    1 => Value::from(u64::MAX - (random >> 8 & 1)),
                    2 => Value::from("\u{ff}\u{7ff}\u{ffff}".repeat((random >> 8) as usize % 60)),
                    _ => Value::from(random.is_multiple_of(8)),
                });
            }
            let value = |n: usize| -> Box<dyn tracing::Value + '_> {
                match &values[n] {
                    Value::Bool(truth) => Box::new(*truth),
                    Value::String(text) => Box::new(text.as_str()),
                    Value::Number(n) if n.is_u64() => Box::new(n.as_u64()),
                    other => Box::new(other.as_i64()),
                }
            };
            let fields = taken(|| {
                tracing::info_span!(
                    "span",
                    a = value(0),
                    b = value(1),
                    c = value(2),
                    d = value(3),
                    e = value(4),
                    f = value(5),
                    g = value(6),
                    h = value(7)
                );
            });
            let fields = fields[0].as_object().unwrap();
            let mut whole = true;
            for (name, value) in ["a", "b", "c", "d", "e", "f", "g", "h"]
                .into_iter()
                .zip(&values)
            {
                let cut = |text: &str| text.len() > STRING_BYTES;
                match fields.get(name) {
                    Some(found) if found == value => {}
                    Some(_) if value.as_str().is_some_and(cut) => {}
                    _ => whole = false,
                }
            }
            assert!(whole || fields.contains_key("…"), "{values:?}: {fields:?}");
            assert!(!whole || fields.len() <= 9, "{values:?}: {fields:?}");
        }
    }
}
