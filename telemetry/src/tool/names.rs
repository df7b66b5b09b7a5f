//! Names that a configuration gives to look for.

use alloc_tracker::raw::unshown;

/// Why no span, boundary or field is named so, if that is certain enough to be an oversight.
pub(crate) fn check(name: &str) -> Result<(), String> {
    match name.trim() {
        "" => return Err("it is empty".to_owned()),
        trimmed if trimmed != name => {
            return Err("there is a blank at its beginning or end".to_owned());
        }
        _ => {}
    }
    if let Some(hidden) = hidden(name) {
        return Err(hidden.why());
    }
    // The one of full width is what a blank is among Chinese characters.
    let looks_blank = |c| {
        matches!(
            c,
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}'
        )
    };
    match name.char_indices().find(|(_, c)| looks_blank(*c)) {
        Some((at, c)) => Err(format!(
            "{} only looks like a blank: write one",
            Hidden::new(name, at, c).place()
        )),
        None => Ok(()),
    }
}

/// A character that nobody sees, for which a text is not what it looks like.
pub(crate) struct Hidden {
    pub(crate) character: char,
    /// The number of the character in the text, from 1.
    pub(crate) column: usize,
}

impl Hidden {
    fn new(text: &str, at: usize, character: char) -> Self {
        Hidden {
            character,
            column: 1 + text[..at].chars().count(),
        }
    }

    pub(crate) fn why(&self) -> String {
        format!("{} does not show: leave it out", self.place())
    }

    fn place(&self) -> String {
        let (code, column) = (u32::from(self.character), self.column);
        format!("U+{code:04X} at column {column}")
    }
}

/// The first one of a text. Line ends and control characters are none: they are not overlooked.
pub(crate) fn hidden(text: &str) -> Option<Hidden> {
    let mut hidden = unshown(text).filter(|(_, c)| !c.is_control() && !c.is_whitespace());
    hidden.next().map(|(at, c)| Hidden::new(text, at, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_what_it_looks_like_is_refused_with_the_place() {
        for (name, why) in [
            ("größe\u{200b}", "U+200B at column 6 does not show"),
            ("a\u{3164}b", "U+3164 at column 2 does not show"),
            ("a\u{202e}b", "U+202E at column 2 does not show"),
            ("\u{feff}", "U+FEFF at column 1 does not show"),
            ("GET\u{a0}/", "U+00A0 at column 4 only looks like a blank"),
        ] {
            let error = check(name).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        for name in [
            "GET /orders/{id}",
            "größe",
            "注文\u{3000}処理",
            "❤\u{fe0f} pay",
        ] {
            assert_eq!(check(name), Ok(()));
        }
    }
}
