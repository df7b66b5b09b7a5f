//! From the text of a filter to the targets and levels that its writer meant.
//!
//! The words are those of `tracing-subscriber`'s `EnvFilter` and `Targets`, and mean the same. What
//! they take and no span or event could ever match is mended where it is plain what was meant, and
//! refused otherwise.

use super::target;
use crate::tool::names;
use alloc_tracker::raw::escaped;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use tracing_subscriber::filter::{LevelFilter, Targets};

pub(super) fn parse(text: &str) -> Result<Targets, ParseFilterError> {
    if let Some(hidden) = names::hidden(text) {
        return Err(ParseFilterError {
            filter: text.to_owned(),
            part: hidden.character.to_string(),
            column: hidden.column,
            why: hidden.why(),
        });
    }
    let mut directives = Vec::new();
    let mut at = 0;
    for raw in text.split(',') {
        let part = raw.trim();
        if part.is_empty() && !text.chars().all(|c| c == ',' || c.is_whitespace()) {
            // As `EnvFilter` does.
            at += raw.len() + 1;
            continue;
        }
        let blanks = raw.len() - raw.trim_start().len();
        let directive = Directive::parse(part).map_err(|why| ParseFilterError {
            filter: text.to_owned(),
            part: part.to_owned(),
            column: 1 + text[..at + blanks].chars().count(),
            why,
        })?;
        directives.push(directive);
        at += raw.len() + 1;
    }
    // Of two that are of one target the last counts, so what is written comes after what is derived.
    let paths = directives.iter().flat_map(Directive::by_module_path);
    let derived: Targets = paths.collect();
    Ok(directives
        .iter()
        .fold(derived, |targets, directive| match &directive.target {
            Some(target) => targets.with_target(target.as_str(), directive.level),
            None => targets.with_default(directive.level),
        }))
}

/// One part of a filter.
struct Directive {
    /// `None`: all targets.
    target: Option<String>,
    level: LevelFilter,
}

impl Directive {
    fn parse(part: &str) -> Result<Self, String> {
        if part.is_empty() {
            return Err("there is nothing".to_owned());
        }
        let Some((target, level)) = part.split_once('=') else {
            return match level(part) {
                Some(level) => Ok(Directive {
                    target: None,
                    level,
                }),
                None => {
                    check_word(part)?;
                    Ok(Directive {
                        target: Some(part.to_owned()),
                        level: LevelFilter::TRACE,
                    })
                }
            };
        };
        let (target, level) = (target.trim(), level.trim());
        check_target(target, level)?;
        Ok(Directive {
            target: Some(target.to_owned()),
            level: level_after(target, level)?,
        })
    }

    /// The same for the modules that were meant, where the target as it is written can be none. A target
    /// that somebody gave to a span himself may well be written so, which is why all count.
    fn by_module_path(&self) -> Vec<(String, LevelFilter)> {
        let paths = self.target.as_deref().map(target::module_paths);
        let paths = paths.unwrap_or_default().into_iter();
        paths.map(|path| (path, self.level)).collect()
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    // The empty word would be a level to the parser.
    (!word.is_empty()).then(|| word.parse().ok()).flatten()
}

/// The level that somebody had in mind who wrote this word, which is none.
fn nearest_level(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "warning" | "warnings" => Some("warn"),
        "err" | "errors" | "critical" | "crit" | "fatal" | "panic" => Some("error"),
        "information" | "notice" | "log" => Some("info"),
        "dbg" => Some("debug"),
        "verbose" | "all" | "any" | "on" | "true" | "*" | "everything" => Some("trace"),
        "none" | "no" | "false" | "disabled" | "disable" | "silent" | "quiet" => Some("off"),
        _ => None,
    }
}

/// A word that stands alone and is no level: whether it is a target.
fn check_word(word: &str) -> Result<(), String> {
    check_for_all(word, "trace")?;
    if let Some(meant) = nearest_level(word) {
        return Err(format!(
            "it is no level: write {meant}, or {word}=trace if a target is named so"
        ));
    }
    if word.chars().all(|c| c.is_ascii_digit()) {
        return Err("levels by number are 0 (off) to 5 (trace)".to_owned());
    }
    check_target(word, "trace")?;
    match word.rsplit_once(':') {
        Some((target, word)) if !target.ends_with(':') && level(word).is_some() => {
            check_for_all(target, word)?;
            Err(format!("a level follows `=`: write {target}={word}"))
        }
        _ => Ok(()),
    }
}

/// Whether what the level is for is a target, and not what stands for all of them elsewhere.
fn check_for_all(target: &str, word: &str) -> Result<(), String> {
    let Some(why) = target::for_all(target) else {
        return Ok(());
    };
    let level = match level(word) {
        Some(_) => word,
        None => nearest_level(word).unwrap_or("info"),
    };
    Err(format!("write {level}: {why}"))
}

fn check_target(target: &str, word: &str) -> Result<(), String> {
    check_for_all(target, word)?;
    if target.is_empty() {
        return Err("there is no target before the `=`; a level alone is for all".to_owned());
    }
    if let Some(name) = target.strip_prefix('+') {
        return Err(format!("a target alone has all of it: write {name}"));
    }
    if let Some(name) = target.strip_prefix(['-', '!']) {
        return Err(format!("to have none of it, write {name}=off"));
    }
    if target == "RUST_LOG" {
        return Err("what is after the `=` is the filter: leave `RUST_LOG=` away".to_owned());
    }
    let word = target.split([':', '.', '/']).next().unwrap_or_default();
    // A crate may be named like a level, and with a path it is one; none begins with a digit.
    let after = target[word.len()..].strip_prefix("::").unwrap_or_default();
    let is_crate = !after.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit());
    if word != target && !is_crate && level(word).is_some() {
        return Err(format!(
            "{word} is a level: write the target first, or {word} alone"
        ));
    }
    target::check(target)
}

fn level_after(target: &str, word: &str) -> Result<LevelFilter, String> {
    const LEVELS: &str = "off, error, warn, info, debug or trace";
    if let Some(level) = level(word) {
        return Ok(level);
    }
    if word.is_empty() {
        return Err(format!("there is no level after the `=`; use {LEVELS}"));
    }
    if let Some(meant) = nearest_level(word) {
        return Err(format!("{word:?} is no level: write {target}={meant}"));
    }
    if level(target).is_some() {
        return Err(format!("the target comes first: write {word}={target}"));
    }
    let first = word.split(|c: char| !c.is_ascii_alphanumeric()).next();
    match first.and_then(level) {
        Some(_) => Err(format!("{word:?} is no level: parts are parted by commas")),
        None => Err(format!("{word:?} is no level; use {LEVELS}")),
    }
}

/// A filter that does not parse, or that nothing could match.
///
/// ```
/// use telemetry::UnitFilter;
///
/// let error = "info,shop=loud".parse::<UnitFilter>().unwrap_err();
/// assert_eq!((error.part(), error.column()), ("shop=loud", 6));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFilterError {
    filter: String,
    part: String,
    column: usize,
    why: String,
}

impl ParseFilterError {
    /// The part of the filter that is wrong, without the blanks around it.
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Where that part begins: the number of its first character in the text, from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for ParseFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseFilterError {
            filter,
            part,
            column,
            why,
        } = self;
        let message = format!(
            "the filter {filter:?} does not parse at {part:?}, column {column}: {why}; \
             write for example \"shop::http=info,shop::jobs=debug\""
        );
        f.write_str(&escaped(&message))
    }
}

impl Error for ParseFilterError {}

impl From<Infallible> for ParseFilterError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
