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
        fields.read(span.metadata().into(), bytes.as_bytes());
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
    // Numbers find room after long texts, and what finds none is said.
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
/// is said.
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
                _ => Value::from(random % 8 == 0),
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
