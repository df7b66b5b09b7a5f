//! The limits: `allocs = 3, alloc_bytes = "4 KiB", ..`, with `<=` in `assert_budget!`.

use crate::Error;
use crate::template::fill;
use crate::tokens::{flat, is_punct, is_word, up_to_comma};
use proc_macro::{Ident, Literal, Span, TokenStream, TokenTree};
use std::iter::Peekable;

const KEYS: [&str; 8] = [
    "allocs",
    "reallocs",
    "frees",
    "alloc_bytes",
    "freed_bytes",
    "peak_bytes",
    "live_bytes",
    "live_blocks",
];

pub(crate) const WRONG_BLOCK: &str =
    "write limits with `<=`, then the work: assert_budget!(allocs <= 3, { work() })";

/// What a budget says before its work.
pub(crate) struct Limits {
    /// Of all threads.
    process: bool,
    /// The path that was given for the crate.
    krate: Option<TokenStream>,
    limits: Vec<(Ident, TokenStream)>,
}

impl Limits {
    fn new() -> Self {
        Limits {
            process: false,
            krate: None,
            limits: Vec::new(),
        }
    }

    /// The arguments of the attribute.
    pub(crate) fn of_attribute(arguments: TokenStream) -> Result<Self, Error> {
        let mut limits = Limits::new();
        let mut tokens = arguments.into_iter().peekable();
        while let Some(token) = tokens.peek().cloned() {
            if limits.take_process(&mut tokens) {
                continue;
            }
            tokens.next();
            let equals = |token: &TokenTree| is_punct(token, '=');
            if is_word(&token, "crate") {
                let given = tokens.next_if(equals).is_some();
                // Flat: more is written after it.
                let path: TokenStream = flat(up_to_comma(&mut tokens)).into_iter().collect();
                if !given || path.is_empty() {
                    return Err(Error::new(token.span(), "expected `crate = path`"));
                }
                limits.krate = Some(path);
                continue;
            }
            let key = key(token)?;
            if tokens.next_if(equals).is_none() {
                let span = tokens.peek().map_or(key.span(), TokenTree::span);
                return Err(Error::new(span, format!("expected `{key} = ..`")));
            }
            limits.add(key, up_to_comma(&mut tokens))?;
        }
        limits.check()?;
        limits.check_for_repetition()?;
        Ok(limits)
    }

    /// What stands before the work in `assert_budget!`.
    pub(crate) fn of_block(
        tokens: &mut Peekable<impl Iterator<Item = TokenTree> + Clone>,
    ) -> Result<Self, Error> {
        let mut limits = Limits::new();
        loop {
            if limits.take_process(tokens) {
                continue;
            }
            let mut ahead = tokens.clone();
            let (Some(TokenTree::Ident(word)), Some(less), Some(equal)) =
                (ahead.next(), ahead.next(), ahead.next())
            else {
                break;
            };
            if !is_punct(&less, '<') || !is_punct(&equal, '=') {
                break;
            }
            let value = up_to_comma(&mut ahead);
            // What is compared last is the work.
            if ahead.peek().is_none() && !KEYS.contains(&word.to_string().as_str()) {
                break;
            }
            limits.add(key(word.into())?, value)?;
            *tokens = ahead;
        }
        if limits.limits.is_empty() {
            return Err(Error::new(Span::call_site(), WRONG_BLOCK));
        }
        limits.check()?;
        Ok(limits)
    }

    fn take_process(
        &mut self,
        tokens: &mut Peekable<impl Iterator<Item = TokenTree> + Clone>,
    ) -> bool {
        let mut ahead = tokens.clone();
        let is = ahead.next().is_some_and(|word| is_word(&word, "process"))
            && ahead.next().is_none_or(|comma| is_punct(&comma, ','));
        if is {
            self.process = true;
            *tokens = ahead;
        }
        is
    }

    fn add(&mut self, key: Ident, value: Vec<TokenTree>) -> Result<(), Error> {
        let limit = limit(&key, value)?;
        self.limits.push((key, limit));
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.limits.is_empty() {
            let all = KEYS.join("`, `");
            let message = format!("a budget limits something: one or more of `{all}`");
            return Err(Error::new(Span::call_site(), message));
        }
        let peak = self
            .limits
            .iter()
            .find(|(key, _)| key.to_string() == "peak_bytes");
        match peak {
            Some((key, _)) if self.process => Err(Error::new(
                key.span(),
                "no counter follows the peak of a process: limit `live_bytes`, or leave out `process`",
            )),
            _ => Ok(()),
        }
    }

    /// Of the attribute: a macro may be given a second limit on a figure by another one, and both hold.
    fn check_for_repetition(&self) -> Result<(), Error> {
        for (at, (key, _)) in self.limits.iter().enumerate() {
            let name = key.to_string();
            if self.limits[..at].iter().any(|(k, _)| k.to_string() == name) {
                return Err(Error::new(key.span(), format!("`{name}` is limited twice")));
            }
        }
        Ok(())
    }

    pub(crate) fn krate(&self) -> Option<&TokenStream> {
        self.krate.as_ref()
    }

    /// Arguments: `::alloc_tracker::Budget::new().allocs(3).., false`.
    pub(crate) fn budget(&self, krate: &TokenStream) -> TokenStream {
        let mut budget = fill("#krate::Budget::new()", &[("krate", krate.clone())]);
        for (key, limit) in &self.limits {
            let key = TokenStream::from(TokenTree::from(key.clone()));
            let holes = [("key", key), ("limit", limit.clone())];
            budget.extend(fill(".#key(#limit)", &holes));
        }
        budget.extend(fill(if self.process { ", true" } else { ", false" }, &[]));
        budget
    }
}

fn key(token: TokenTree) -> Result<Ident, Error> {
    match token {
        TokenTree::Ident(ident) if KEYS.contains(&ident.to_string().as_str()) => Ok(ident),
        other => {
            let all = KEYS.join("`, `");
            let message = format!("`{other}` is no figure of a budget; there are `{all}`");
            Err(Error::new(other.span(), message))
        }
    }
}

/// A size in a text is a number of bytes; everything else is an expression of the user's.
fn limit(key: &Ident, value: Vec<TokenTree>) -> Result<TokenStream, Error> {
    // Not as it was given: of a macro's `$limit:expr` this looks inside.
    let looked_at = flat(value.iter().cloned());
    let literal = match looked_at.as_slice() {
        [] => return Err(Error::new(key.span(), format!("`{key}` has no limit"))),
        [TokenTree::Literal(literal)] => literal,
        _ => return Ok(value.into_iter().collect()),
    };
    let text = literal.to_string();
    let Some(text) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains('.') {
            return Ok(value.into_iter().collect());
        }
        let message = format!("`{text}` is no limit: write a whole number, or \"4 KiB\" for bytes");
        return Err(Error::new(literal.span(), message));
    };
    if !key.to_string().ends_with("_bytes") {
        let message = format!("`{key}` is a count: write a whole number without quotes");
        return Err(Error::new(literal.span(), message));
    }
    let bytes = size(text).ok_or_else(|| {
        let message = format!(
            "\"{text}\" is no size: write a whole number and B, KiB, MiB or GiB, as \"4 KiB\""
        );
        Error::new(literal.span(), message)
    })?;
    let mut number = Literal::u64_unsuffixed(bytes);
    number.set_span(literal.span());
    Ok(TokenTree::from(number).into())
}

/// Bytes; `None` if it is no size, or more than an `i64` holds.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let number: u64 = text[..digits].replace('_', "").parse().ok()?;
    let factor = match text[digits..].trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|&n| n <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size("0 B"), Some(0));
        assert_eq!(size("4 KiB"), Some(4096));
        assert_eq!(size(" 1_000KiB "), Some(1_024_000));
        assert_eq!(size("2 GiB"), Some(2 << 30));
        for wrong in [
            "",
            "4",
            "KiB",
            "4 KB",
            "4.5 MiB",
            "-1 B",
            "4 KiB more",
            "99999999999 GiB",
        ] {
            assert_eq!(size(wrong), None, "{wrong:?}");
        }
    }
}
