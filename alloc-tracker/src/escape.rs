//! Texts of strangers (names, paths, what a library says) for a terminal: what would move the cursor,
//! end the line, change colours or turn the reading direction is shown, not obeyed.

use std::borrow::Cow;

/// The text, with its control characters as `char::escape_default` writes them. Everything else is as it
/// was: names are in all languages.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_control(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_control(c: char) -> bool {
    // C0, DEL and C1; line and paragraph separators; what turns the reading direction.
    c.is_control()
        || matches!(
            c,
            // What shows nothing: two names would look alike.
            '\u{200b}' | '\u{2060}'
                ..='\u{2064}'
                    | '\u{feff}'
                    | '\u{2028}'
                    | '\u{2029}'
                    | '\u{61c}'
                    | '\u{200e}'
                    | '\u{200f}'
        )
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_names_are_as_they_were() {
        for name in ["GET /orders/{id}", "größe 大小 🦀", "C:\\dir\\x"] {
            assert_eq!(escaped(name), name);
        }
        assert_eq!(escaped("two\nlines \u{1b}[2J"), "two\\nlines \\u{1b}[2J");
        assert_eq!(
            escaped("\r\t\0\u{7f}\u{9b}2J"),
            "\\r\\t\\u{0}\\u{7f}\\u{9b}2J"
        );
        assert_eq!(
            escaped("a\u{2028}\u{202e}b\u{2066}"),
            "a\\u{2028}\\u{202e}b\\u{2066}"
        );
    }
}
