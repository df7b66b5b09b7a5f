//! Figures as a person reads them, three significant digits and a unit, and names, in a line of a terminal.

use alloc_tracker::raw::escaped;

/// Nanoseconds.
pub(crate) fn duration(ns: u64) -> String {
    scaled(
        ns,
        &[("ns", 1e3), ("us", 1e3), ("ms", 1e3), ("s", f64::INFINITY)],
    )
}

/// Bytes, in powers of 1024.
pub(crate) fn bytes(n: u64) -> String {
    const K: f64 = 1024.0;
    scaled(
        n,
        &[
            ("B", K),
            ("KiB", K),
            ("MiB", K),
            ("GiB", K),
            ("TiB", f64::INFINITY),
        ],
    )
}

fn scaled(n: u64, steps: &[(&str, f64)]) -> String {
    let mut value = n as f64;
    for (index, (unit, factor)) in steps.iter().enumerate() {
        if value < *factor {
            return match index {
                0 => format!("{n} {unit}"),
                _ if value < 10.0 => format!("{value:.2} {unit}"),
                _ if value < 100.0 => format!("{value:.1} {unit}"),
                _ => format!("{value:.0} {unit}"),
            };
        }
        value /= factor;
    }
    n.to_string()
}

/// A count, with a comma at every third digit.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The columns that a text takes on a terminal: near enough to keep a table straight.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    match c as u32 {
        // Marks that are put onto the character before, and joiners.
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff => 0,
        0x200b..=0x200d | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f | 0xfeff => 0,
        // East Asia's wide characters, and pictures.
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 => 2,
        0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The widest name that is not cut.
const MOST_NAME: usize = 32;

/// A stranger's name, fit for a line of a terminal.
pub(crate) fn cut(name: &str) -> String {
    let name = escaped(name);
    if width(&name) <= MOST_NAME {
        return name.into_owned();
    }
    let mut kept = String::new();
    for c in name.chars() {
        kept.push(c);
        if width(&kept) >= MOST_NAME {
            kept.pop();
            break;
        }
    }
    kept.push('~');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_234), "1.23 us");
        assert_eq!(duration(45_600_000), "45.6 ms");
        assert_eq!(duration(7_000_000_000), "7.00 s");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(200 << 20), "200 MiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn wide_characters_take_two_columns_and_marks_none() {
        assert_eq!(width("orders"), 6);
        assert_eq!(width("注文 🦀"), 7);
        assert_eq!(width("gro\u{308}ße"), 5);
    }
}
