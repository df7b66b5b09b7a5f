//! Text of strangers, fit for a terminal.

use std::fmt::{self, Write};

/// Shows `text` so that it can neither end a line, nor move the cursor, nor turn the direction of what
/// stands around it: such characters are written as Rust writes them, all others as they are.
///
/// ```
/// use alloc_tracker::raw::escaped;
///
/// assert_eq!(escaped("caf\u{e9}\n\u{1b}[2J").to_string(), "caf\u{e9}\\n\\u{1b}[2J");
/// ```
pub fn escaped(text: &str) -> impl fmt::Display {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What needs nothing keeps the width that the caller asked for.
        if !self.0.contains(acts) {
            return f.pad(self.0);
        }
        let mut safe = String::with_capacity(self.0.len() + 16);
        for c in self.0.chars() {
            if acts(c) {
                write!(safe, "{}", c.escape_default())?;
            } else {
                safe.push(c);
            }
        }
        f.pad(&safe)
    }
}

/// Whether a terminal may do something on this character other than show it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Line and paragraph separators.
            '\u{2028}' | '\u{2029}'
            // Marks, embeddings, overrides and isolates of the direction of writing.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_acts_is_escaped_and_all_else_is_as_it_was() {
        for (text, shown) in [
            ("", ""),
            ("src/main.rs", "src/main.rs"),
            ("C:\\shop \"é\" 日本 🦀", "C:\\shop \"é\" 日本 🦀"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\u{0}"),
            (
                "\u{1b}[31mred\u{7f}\u{9b}2J",
                "\\u{1b}[31mred\\u{7f}\\u{9b}2J",
            ),
            ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
            ("\u{202e}sr.niam\u{2069}", "\\u{202e}sr.niam\\u{2069}"),
        ] {
            assert_eq!(escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn a_width_counts_what_is_shown() {
        assert_eq!(
            format!("{:>5}|{:<4}|", escaped("ab"), escaped("\n")),
            "   ab|\\n  |"
        );
    }
}
