//! Texts of strangers (names, paths, what a library says) for a terminal: what would move the cursor,
//! end the line, change colours, turn the reading direction or show nothing is shown, not obeyed.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// The text, with its [unshown] characters as `char::escape_default` writes them. Everything else is as it
/// was: names are in all languages.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if unshown(text).next().is_none() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    let mut from = 0;
    for (at, c) in unshown(text) {
        shown.push_str(&text[from..at]);
        shown.extend(c.escape_default());
        from = at + c.len_utf8();
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

/// The characters that a terminal would obey, or that show nothing, so that two names look alike; each
/// with where it begins.
pub fn unshown(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut before = '\0';
    text.char_indices().filter(move |&(_, c)| {
        let shows = shows(c, before);
        before = c;
        !shows
    })
}

fn shows(c: char, before: char) -> bool {
    match c {
        // Letters of Arabic and Indian scripts are joined or parted by them, and emoji; none before those.
        '\u{200c}' | '\u{200d}' => before >= '\u{600}',
        // Which of its two looks a symbol has.
        '\u{fe0e}' | '\u{fe0f}' => {
            let is_chosen = matches!(before, '\u{fe0e}' | '\u{fe0f}');
            !(before.is_ascii() || before.is_alphanumeric() || is_blank(before) || is_chosen)
        }
        _ => !c.is_control() && !is_blank(c),
    }
}

/// Unicode's `Default_Ignorable_Code_Point` without the four above, the separators of lines and
/// paragraphs, the marks of annotations, and the pattern of Braille without a dot.
const BLANK: [RangeInclusive<char>; 19] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200b}',
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0d}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

fn is_blank(c: char) -> bool {
    BLANK.iter().any(|range| range.contains(&c))
}

/// A text of at most so many characters: of a longer one the beginning is left out, as paths say most at their end.
pub fn fit(text: &str, most: usize) -> Cow<'_, str> {
    let over = text.chars().count().saturating_sub(most);
    if over == 0 {
        return Cow::Borrowed(text);
    }
    let mut fitted = String::from("…");
    fitted.extend(text.chars().skip(over + 1));
    Cow::Owned(fitted)
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

    #[test]
    fn what_shows_nothing_is_shown_and_what_letters_and_emoji_are_made_of_is_not() {
        for blank in [
            '\u{ad}',
            '\u{115f}',
            '\u{1160}',
            '\u{200b}',
            '\u{200d}',
            '\u{2060}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{e0061}',
            '\u{e0100}',
        ] {
            let name = format!("ä{blank}b");
            let shown = format!("ä{}b", blank.escape_default());
            assert_eq!(escaped(&name), shown);
            assert_eq!(unshown(&name).collect::<Vec<_>>(), [(2, blank)]);
        }
        for name in [
            "می\u{200c}خواهم",
            "क\u{94d}\u{200d}ष",
            "❤\u{fe0f}",
            "👩\u{200d}🔬",
        ] {
            assert_eq!(escaped(name), name);
        }
        assert_eq!(escaped("❤\u{fe0f}\u{fe0f}"), "❤\u{fe0f}\\u{fe0f}");
    }

    #[test]
    fn what_is_too_long_keeps_its_end() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcdefghij", 7), "…efghij");
        assert_eq!(fit("äöüß", 3), "…üß");
    }
}
