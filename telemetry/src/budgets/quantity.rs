//! Figures as people write them: `"64 KiB"`, `"2 ms"`.

use crate::cost::Measure;

/// No unit makes this many calls, no process holds this many bytes (8 EiB), and nothing takes so long (292
/// years): who gives this or more means that there is no limit.
pub(crate) const BEYOND_ALL: u64 = i64::MAX as u64;

const BYTES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

const NANOSECONDS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
];

impl Measure {
    /// How a value of this kind is written.
    pub(crate) fn form(self) -> &'static str {
        match self {
            Measure::Count => "a whole number, like 120",
            Measure::Bytes => "bytes, like 4096 or \"64 KiB\" (B, KiB, MiB, GiB, TiB, kB, MB, GB)",
            Measure::Nanoseconds => "a duration, like \"2 ms\" (ns, us, ms, s, min)",
            Measure::Share => "a share from 0 to below 1, like 0.01",
            Measure::Unknown => "a number",
        }
    }

    /// A number with a unit; `None` if it is something else, or more than fits.
    pub(crate) fn parse(self, text: &str) -> Option<u64> {
        let units: &[(&str, u64)] = match self {
            Measure::Count | Measure::Share | Measure::Unknown => return None,
            Measure::Bytes => &BYTES,
            Measure::Nanoseconds => &NANOSECONDS,
        };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
        let number = number.replace('_', "");
        match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(*factor),
            Err(_) => {
                let value = (number.parse::<f64>().ok()? * *factor as f64).round();
                (value < u64::MAX as f64).then_some(value as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_and_nonsense_is_not() {
        for (text, bytes) in [
            ("64 KiB", Some(65_536)),
            ("1.5MiB", Some(1_572_864)),
            (" 10 B ", Some(10)),
            ("2 ms", None),
            ("64", None),
            ("KiB", None),
            ("-1 KiB", None),
            ("1.2.3 KiB", None),
            ("99999999999999 TiB", None),
        ] {
            assert_eq!(Measure::Bytes.parse(text), bytes, "{text:?}");
        }
        assert_eq!(Measure::Nanoseconds.parse("2 ms"), Some(2_000_000));
        assert_eq!(Measure::Nanoseconds.parse("0.5us"), Some(500));
        assert_eq!(Measure::Nanoseconds.parse("64 KiB"), None);
        assert_eq!(Measure::Count.parse("64"), None);
    }
}
