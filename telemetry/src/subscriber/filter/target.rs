//! Targets as people write them.

use crate::tool::names;
use std::ops::RangeInclusive;

/// Whether a target is a module or inside it.
pub(crate) fn is_inside(target: &str, module: &str) -> bool {
    let rest = target.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Why nothing can have this target, nor a module be meant by it.
pub(crate) fn check(target: &str) -> Result<(), String> {
    if let Some(hidden) = names::hidden(target) {
        return Err(hidden.why());
    }
    if let Some(why) = for_all(target) {
        return Err(why);
    }
    let modules = modules(target);
    for c in modules.iter().flat_map(|name| name.chars()) {
        let why = match c {
            '[' | ']' | '{' | '}' => {
                "a target has no brackets: spans and fields are no part of it".to_owned()
            }
            '*' | '?' => {
                let module = target.trim_end_matches(['*', ':', '?', '.']);
                match module {
                    "" => NO_WILDCARDS.to_owned(),
                    _ => {
                        format!("a target has what is inside it, without wildcards: write {module}")
                    }
                }
            }
            '"' | '\'' | '`' => "leave the quotes away".to_owned(),
            '_' | '-' | '@' => continue,
            c if may_be_in_name(c) => continue,
            c => format!("{c:?} is in no target; parts of a list are parted by commas"),
        };
        return Err(why);
    }
    if let Some((letter, mark)) = decomposed(target) {
        return Err(format!(
            "the compiler makes one character of {letter}{mark} in a name (NFC): write that one"
        ));
    }
    if let Some(rest) = target.strip_prefix(':') {
        let name = rest.trim_start_matches(':');
        return Err(format!("a target begins with its crate: write {name}"));
    }
    let (first, inner) = modules.split_first().unwrap_or((&"", &[]));
    // The last one is without a name in `shop::`, which is a beginning, too.
    if inner.iter().rev().skip(1).any(|name| name.is_empty()) {
        return Err("a module without a name is in it; write `::` between two".to_owned());
    }
    match *first {
        "" => Err("it is empty".to_owned()),
        word if is_path_word(word) => Err(format!(
            "a target begins with the name of its crate, not with `{word}`"
        )),
        _ if !modules.iter().any(|m| m.contains(may_be_in_name)) => {
            Err("there is no name in it".to_owned())
        }
        _ => match inner.iter().find(|name| is_path_word(name)) {
            Some(word) => Err(format!(
                "no module is named `{word}`: write the name that it has"
            )),
            None => Ok(()),
        },
    }
}

/// Whether a name of the language may have the character, as far as that is certain. Which are letters to it is
/// a table that grows with Unicode: one of another language's signs too many does no harm, a legal name that
/// is refused does.
fn may_be_in_name(c: char) -> bool {
    match c.is_ascii() {
        true => c.is_ascii_alphanumeric(),
        false => {
            let is_none = NO_LETTERS.iter().any(|range| range.contains(&c));
            !(c.is_control() || c.is_whitespace() || is_none)
        }
    }
}

/// Unicode's `Pattern_Syntax`, which no version will let into names; the joiners, which Rust does not take;
/// punctuation of full width, which input methods write; and emoji.
const NO_LETTERS: [RangeInclusive<char>; 29] = [
    '\u{a1}'..='\u{a7}',
    '\u{a9}'..='\u{a9}',
    '\u{ab}'..='\u{ac}',
    '\u{ae}'..='\u{ae}',
    '\u{b0}'..='\u{b1}',
    '\u{b6}'..='\u{b6}',
    '\u{bb}'..='\u{bb}',
    '\u{bf}'..='\u{bf}',
    '\u{d7}'..='\u{d7}',
    '\u{f7}'..='\u{f7}',
    '\u{200c}'..='\u{200d}',
    '\u{2010}'..='\u{203e}',
    '\u{2041}'..='\u{2053}',
    '\u{2055}'..='\u{205e}',
    '\u{2190}'..='\u{245f}',
    '\u{2500}'..='\u{2775}',
    '\u{2794}'..='\u{2bff}',
    '\u{2e00}'..='\u{2e7f}',
    '\u{3001}'..='\u{3003}',
    '\u{3008}'..='\u{3020}',
    '\u{3030}'..='\u{3030}',
    '\u{fd3e}'..='\u{fd3f}',
    '\u{fe45}'..='\u{fe46}',
    '\u{ff01}'..='\u{ff0f}',
    '\u{ff1a}'..='\u{ff20}',
    '\u{ff3b}'..='\u{ff3e}',
    '\u{ff40}'..='\u{ff40}',
    '\u{ff5b}'..='\u{ff64}',
    '\u{1f000}'..='\u{1faff}',
];

/// Two characters of which the compiler, which composes names (NFC), makes one: no name has them. These are those
/// that keyboards and file systems part; what is missing here is taken, and matches nothing.
fn decomposed(target: &str) -> Option<(char, char)> {
    let is_parted = |&(letter, mark): &(char, char)| match (letter, mark) {
        // A syllable of Hangul with the vowel, or what ends it, apart.
        ('\u{1100}'..='\u{1112}', '\u{1161}'..='\u{1175}') => true,
        ('\u{ac00}'..='\u{d7a3}', '\u{11a8}'..='\u{11c2}') => {
            (u32::from(letter) - 0xac00) % 28 == 0
        }
        _ => COMPOSED
            .iter()
            .any(|(of, letters)| *of == mark && letters.contains(letter)),
    };
    target.chars().zip(target.chars().skip(1)).find(is_parted)
}

/// Marks, and letters that they are one character with.
const COMPOSED: [(char, &str); 10] = [
    ('\u{300}', "AEINOUWYaeinouwy"),
    ('\u{301}', "ACEGIKLMNOPRSUWYZacegiklmnoprsuwyz"),
    ('\u{302}', "ACEGHIJOSUWYZaceghijosuwyz"),
    ('\u{303}', "AEINOUVYaeinouvy"),
    ('\u{308}', "AEHIOUWXYaehiotuwxy"),
    ('\u{30a}', "AUauwy"),
    ('\u{30c}', "ACDEGHIKLNORSTUZacdeghijklnorstuz"),
    ('\u{327}', "CDEGHKLNRSTcdeghklnrst"),
    (
        '\u{3099}',
        "うかきくけこさしすせそたちつてとはひふへほウカキクケコサシスセソタチツテトハヒフヘホワヰヱヲ",
    ),
    ('\u{309a}', "はひふへほハヒフヘホ"),
];

const NO_WILDCARDS: &str = "there are no wildcards: leave it away for all targets";

/// What to write instead of that which stands for all targets elsewhere. A crate may be named like some of
/// it: then `r#`, as the language has it, says that it is a name.
pub(super) fn for_all(target: &str) -> Option<String> {
    match target.to_ascii_lowercase().as_str() {
        "*" => Some(NO_WILDCARDS.to_owned()),
        "all" | "any" | "default" | "everything" | "global" | "level" | "root" | "rootlogger" => {
            Some(format!(
                "leave it away for all targets; if a crate is named so, write r#{target}"
            ))
        }
        _ => None,
    }
}

/// The words of a path that no module can be named like, not even with `r#`.
fn is_path_word(name: &str) -> bool {
    matches!(name, "crate" | "self" | "super" | "Self")
}

/// The modules that are meant by a target and are written differently: the crate of the package `my-shop` is
/// `my_shop`, `shop.http` is `shop::http`, and `shop::type` can only be `shop::r#type`.
///
/// What is a word of the language, which `module_path!` writes with `r#`, depends on the module's edition.
pub(crate) fn module_paths(target: &str) -> Vec<String> {
    let modules = modules(target);
    let mut paths: Vec<String> = Vec::new();
    for edition in 1..=WORDS.len() {
        let is_word = |name: &str| WORDS[..edition].iter().any(|words| words.contains(&name));
        let name = |name: &&str| match is_word(name) {
            true => format!("r#{name}"),
            false => name.replace('-', "_"),
        };
        let path = modules.iter().map(name).collect::<Vec<_>>().join("::");
        if path != target && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// The words that editions began to reserve: 2015, 2018 and 2024.
const WORDS: [&[&str]; 3] = [
    &[
        "abstract", "as", "become", "box", "break", "const", "continue", "do", "else", "enum",
        "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro",
        "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static",
        "struct", "trait", "true", "type", "typeof", "unsafe", "unsized", "use", "virtual",
        "where", "while", "yield",
    ],
    &["async", "await", "dyn", "try"],
    &["gen"],
];

/// The names in a target, whatever parts them.
fn modules(target: &str) -> Vec<&str> {
    let mut modules = Vec::new();
    let mut rest = target;
    loop {
        let (name, after) = match rest.find([':', '.', '/']) {
            Some(end) => (&rest[..end], Some(&rest[end..])),
            None => (rest, None),
        };
        modules.push(name.strip_prefix("r#").unwrap_or(name));
        let Some(after) = after else {
            return modules;
        };
        rest = after.strip_prefix("::").unwrap_or(&after[1..]);
    }
}
