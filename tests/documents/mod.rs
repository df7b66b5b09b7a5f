//! What the documents have people type, and what they show of it.

use std::path::{Path, PathBuf};

/// A file with commands in it.
pub(crate) struct Document {
    pub(crate) name: String,
    text: String,
}

/// A command as it stands in a document.
#[derive(Debug, PartialEq)]
pub(crate) struct Typed {
    pub(crate) command: String,
    /// What the document shows of its output, if it shows something.
    pub(crate) shown: Option<Shown>,
}

/// Lines of output.
#[derive(Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) lines: String,
    /// Right below the command: all that it prints.
    pub(crate) all: bool,
}

/// With what commands begin.
const PROGRAMS: [&str; 8] = ["cargo", "bash", "grep", "jq", "kill", "go", "curl", "./"];

/// README, everything in `docs`, and the head of each example.
pub(crate) fn documents() -> Vec<Document> {
    let root = root();
    let mut documents = vec![document("README.md", |text| text)];
    let mut files: Vec<_> = root.join("docs").read_dir().unwrap().flatten().collect();
    files.sort_by_key(|file| file.file_name());
    let names = files
        .iter()
        .map(|file| file.file_name().into_string().unwrap());
    let texts = names.filter(|name| name.ends_with(".md"));
    documents.extend(texts.map(|name| document(&format!("docs/{name}"), |text| text)));
    for example in root.join("examples").read_dir().unwrap().flatten() {
        let name = example.file_name().into_string().unwrap();
        let of_its_own = root.join(format!("examples/{name}/Cargo.toml")).exists();
        let main = if of_its_own { "src/main.rs" } else { "main.rs" };
        documents.push(document(&format!("examples/{name}/{main}"), |text| {
            let head = text.lines().map_while(|line| line.strip_prefix("//!"));
            let lines: Vec<_> = head
                .map(|line| line.strip_prefix(' ').unwrap_or(line))
                .collect();
            lines.join("\n")
        }));
    }
    documents
}

fn document(name: &str, read: impl FnOnce(String) -> String) -> Document {
    let text = std::fs::read_to_string(root().join(name)).unwrap();
    Document {
        name: name.to_owned(),
        text: read(text),
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

impl Document {
    /// All commands, in fences and within lines, with what is shown of them: the output is the next fence
    /// of text in the same section.
    pub(crate) fn commands(&self) -> Vec<Typed> {
        let mut commands: Vec<Typed> = Vec::new();
        // The last command of the section, and whether it was typed in a fence right above.
        let mut last = None;
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            let Some(kind) = line.strip_prefix("```") else {
                if line.starts_with('#') {
                    last = None;
                }
                for command in within(line) {
                    if command.starts_with("cargo run") {
                        last = Some((commands.len(), false));
                    }
                    let shown = None;
                    commands.push(Typed { command, shown });
                }
                continue;
            };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let typed: Vec<String> = block.iter().filter_map(|line| typed(line)).collect();
            if kind == "sh" || kind == "text" && !typed.is_empty() {
                for command in typed {
                    last = Some((commands.len(), true));
                    let shown = None;
                    commands.push(Typed { command, shown });
                }
            } else if kind == "text"
                && let Some((at, all)) = last.take()
            {
                let lines = block.join("\n");
                commands[at].shown = Some(Shown { lines, all });
            }
        }
        commands
    }
}

/// The commands that a line has in it, between back quotes.
fn within(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter_map(typed).collect()
}

/// What is typed, without a remark after it.
fn typed(line: &str) -> Option<String> {
    let command = line.split(" #").next().unwrap_or(line).trim();
    let mut words = command.split_whitespace();
    let program = words.next()?;
    // A program's name alone is a word, not a command.
    let is_command = PROGRAMS.contains(&program) && words.next().is_some();
    is_command.then(|| command.to_owned())
}

/// What differs from run to run is taken out: numbers other than 0 and durations, the blanks that put them
/// into columns, and where the files lie.
pub(crate) fn shape(output: &str) -> Vec<String> {
    let output = output.replace(&format!("{}/", root().display()), "");
    // Of an estimate nothing is a figure as any other.
    let output = output.replace(" 0 ns ±", " 1 ns ±");
    let lines = output.lines().map(|line| {
        // One between two strokes, or a rule, is as wide as its table.
        if !line.is_empty() && line.chars().all(|c| c == '-') {
            return "---".to_owned();
        }
        // Where time goes is another place each time.
        let (line, rest) = line.split_at(bar(line).unwrap_or(line.len()));
        let line = format!("{line}{}", if rest.is_empty() { "" } else { "BAR" });
        let words = line.split_whitespace().map(shape_of_word);
        let mut shape: Vec<String> = Vec::new();
        for word in words {
            match (is_unit(&word), shape.last_mut()) {
                // A figure is larger in one run, and smaller in another: 900 B, 1.2 KiB.
                (true, Some(number)) if number.ends_with('N') => {
                    number.extend(word.chars().filter(char::is_ascii_punctuation));
                }
                _ => shape.push(word),
            }
        }
        shape.join(" ")
    });
    let lines: Vec<String> = lines.collect();
    let text = lines.join("\n");
    text.trim().lines().map(str::to_owned).collect()
}

/// Where a bar begins.
fn bar(line: &str) -> Option<usize> {
    let begins = line.find(|c| "█▓░·".contains(c))?;
    let signs = line[begins..].chars().take_while(|c| "█▓░·".contains(*c));
    (signs.count() > 9).then_some(begins)
}

fn is_unit(word: &str) -> bool {
    let word = word.trim_end_matches([',', '.', ':', ')']);
    ["ns", "us", "ms", "s", "B", "KiB", "MiB", "GiB"].contains(&word)
}

fn shape_of_word(word: &str) -> String {
    // A figure that is not known of so few.
    if word == "-" {
        return "N".to_owned();
    }
    if let Some(at) = word.find("/tmp/").or_else(|| word.find("/var/")) {
        return format!("{}FILE", &word[..at]);
    }
    // How much of a function's path is known depends on the debug information.
    let word = word.rsplit("::").next().unwrap_or(word);
    let mut shape = String::new();
    let mut digits = String::new();
    let end = |digits: &mut String, shape: &mut String| {
        if !digits.is_empty() {
            let zero = digits.chars().all(|c| c == '0' || c == '.');
            let letter = shape.chars().next_back().is_some_and(char::is_alphabetic);
            // `p99` is a name.
            shape.push_str(match (letter, zero) {
                (true, _) => digits.as_str(),
                (false, true) => "0",
                (false, false) => "N",
            });
            digits.clear();
        }
    };
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        let joins = matches!(c, '.' | ',') && !digits.is_empty();
        let joins = joins && chars.peek().is_some_and(char::is_ascii_digit);
        match c.is_ascii_digit() || joins {
            true => digits.push(c),
            false => {
                end(&mut digits, &mut shape);
                shape.push(c);
            }
        }
    }
    end(&mut digits, &mut shape);
    shape
}
