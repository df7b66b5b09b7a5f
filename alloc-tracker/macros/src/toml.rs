//! As much of TOML as it takes to read a manifest: every string and word in it, by its place.

use std::iter::Peekable;
use std::str::Chars;

/// The keys that lead to a value, and the value: of a string its content, else as it is written.
pub(crate) type Fact = (Vec<String>, String);

/// All values of a document but those in arrays; `None` where it is no TOML.
pub(crate) fn read(text: &str) -> Option<Vec<Fact>> {
    let mut reader = Reader {
        rest: text.trim_start_matches('\u{feff}').chars().peekable(),
        facts: Vec::new(),
    };
    reader.document()?;
    Some(reader.facts)
}

struct Reader<'text> {
    rest: Peekable<Chars<'text>>,
    facts: Vec<Fact>,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<()> {
        let mut table = Vec::new();
        loop {
            self.skip_to_content();
            match self.rest.peek() {
                None => return Some(()),
                Some('[') => {
                    self.rest.next();
                    let is_one_of_many = self.take('[');
                    table = self.keys()?;
                    self.expect(']')?;
                    if is_one_of_many {
                        self.expect(']')?;
                    }
                }
                Some(_) => self.entry(&table)?,
            }
        }
    }

    /// `keys = value`, in `table`.
    fn entry(&mut self, table: &[String]) -> Option<()> {
        let mut path = table.to_vec();
        path.extend(self.keys()?);
        self.expect('=')?;
        self.value(&path, true)
    }

    fn value(&mut self, path: &[String], note: bool) -> Option<()> {
        self.skip_blanks();
        let value = match *self.rest.peek()? {
            '"' | '\'' => self.string()?,
            '{' => {
                self.rest.next();
                loop {
                    self.skip_to_content();
                    if self.take('}') {
                        return Some(());
                    }
                    self.entry(path)?;
                    self.skip_to_content();
                    self.take(',');
                }
            }
            '[' => {
                self.rest.next();
                loop {
                    self.skip_to_content();
                    if self.take(']') {
                        return Some(());
                    }
                    self.value(path, false)?;
                    self.skip_to_content();
                    self.take(',');
                }
            }
            _ => {
                let mut word = String::new();
                while let Some(c) = self.rest.next_if(|c| !",]}#\r\n".contains(*c)) {
                    word.push(c);
                }
                let word = word.trim_end().to_owned();
                // Otherwise an array that is none would be read for ever.
                if word.is_empty() {
                    return None;
                }
                word
            }
        };
        if note {
            self.facts.push((path.to_vec(), value));
        }
        Some(())
    }

    /// `a."b".c`
    fn keys(&mut self) -> Option<Vec<String>> {
        let mut keys = Vec::new();
        loop {
            self.skip_blanks();
            let is_quoted = self.rest.peek().is_some_and(|c| "\"'".contains(*c));
            let key = if is_quoted {
                self.string()?
            } else {
                let mut key = String::new();
                let is_bare = |c: &char| c.is_alphanumeric() || "-_".contains(*c);
                while let Some(c) = self.rest.next_if(is_bare) {
                    key.push(c);
                }
                (!key.is_empty()).then_some(key)?
            };
            keys.push(key);
            self.skip_blanks();
            if !self.take('.') {
                return Some(keys);
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.next()?;
        let escapes = quote == '"';
        let mut ends = 1;
        if self.take(quote) {
            if !self.take(quote) {
                return Some(String::new());
            }
            ends = 3;
        }
        let mut text = String::new();
        // Up to where quotes are the text's own.
        let mut own = 0;
        loop {
            match self.rest.next()? {
                '\\' if escapes => {
                    match self.rest.next()? {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        // No name of a package or a directory that matters here has another one.
                        other => text.push(other),
                    }
                    // A quote of these ends nothing.
                    own = text.len();
                    continue;
                }
                '\n' if ends == 1 => return None,
                c => text.push(c),
            }
            let tail = text[own..].chars().rev().take(ends);
            if tail.clone().count() == ends && tail.eq(std::iter::repeat_n(quote, ends)) {
                text.truncate(text.len() - ends);
                return Some(text);
            }
        }
    }

    fn skip_blanks(&mut self) {
        while self.rest.next_if(|c| " \t".contains(*c)).is_some() {}
    }

    /// Over blanks, line ends and comments.
    fn skip_to_content(&mut self) {
        while let Some(c) = self.rest.next_if(|c| c.is_whitespace() || *c == '#') {
            if c == '#' {
                while self.rest.next_if(|c| *c != '\n').is_some() {}
            }
        }
    }

    fn take(&mut self, c: char) -> bool {
        self.rest.next_if_eq(&c).is_some()
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.skip_blanks();
        self.take(c).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn flat(text: &str) -> Option<Vec<String>> {
        let facts = read(text)?.into_iter();
        Some(
            facts
                .map(|(path, value)| format!("{}={value}", path.join("/")))
                .collect(),
        )
    }

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let text = r#"
            # [not.a.table]
            [package]
            name = "a" # "b"
            authors = ["x, [y]", 'z#',
                "w", # one more
            ]
            homepage = "a \"quoted\" \\"
            values = ["cfg(x, values(\"y\"))"]
            description = """
            [also.not] "quoted" a table"""
            [dependencies]
            one = "1.0"
            two = { version = "1", package = 'p', features = ["f", "g"] }
            three.package = "q"
            "four" = { path = "..",
                workspace = true, # over lines
            }
            [target.'cfg(unix)'.dev-dependencies.five]
            package = "r"
            [[bin]]
            name = "s"
        "#;
        assert_eq!(
            flat(text).unwrap(),
            [
                "package/name=a",
                "package/homepage=a \"quoted\" \\",
                "package/description=\n            [also.not] \"quoted\" a table",
                "dependencies/one=1.0",
                "dependencies/two/version=1",
                "dependencies/two/package=p",
                "dependencies/three/package=q",
                "dependencies/four/path=..",
                "dependencies/four/workspace=true",
                "target/cfg(unix)/dev-dependencies/five/package=r",
                "bin/name=s",
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_said_and_ends() {
        for wrong in [
            "[a",
            "a",
            "a = ",
            "a = [",
            "a = [,]",
            "a = {b}",
            "a = \"b\n\"",
            "= 1",
            "a = \"\\",
        ] {
            assert_eq!(flat(wrong), None, "{wrong:?}");
        }
        assert_eq!(flat("").unwrap(), [""; 0]);
    }
}
