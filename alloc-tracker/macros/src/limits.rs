//! The arguments: `allocs = 3, alloc_bytes = "4 KiB", ..`.

use crate::{Error, path};
use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

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

/// Turns the arguments into an expression, `::alloc_tracker::Budget::new().allocs(3)..`.
pub(crate) fn parse(arguments: TokenStream) -> Result<TokenStream, Error> {
    let mut budget = path(&["alloc_tracker", "Budget", "new"], Span::call_site());
    budget.extend([TokenTree::from(Group::new(
        Delimiter::Parenthesis,
        TokenStream::new(),
    ))]);
    let mut seen: Vec<String> = Vec::new();
    let mut tokens = arguments.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let key = key(token)?;
        let name = key.to_string();
        if seen.contains(&name) {
            return Err(Error::new(key.span(), format!("`{name}` is limited twice")));
        }
        match tokens.next() {
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {}
            other => {
                let span = other.map_or(key.span(), |token| token.span());
                return Err(Error::new(span, format!("expected `{name} = ..`")));
            }
        }
        let mut value = Vec::new();
        while tokens.peek().is_some_and(|token| !is_comma(token)) {
            value.extend(tokens.next());
        }
        tokens.next();
        let limit = limit(&key, value)?;
        budget.extend([
            TokenTree::from(Punct::new('.', Spacing::Alone)),
            key.into(),
            Group::new(Delimiter::Parenthesis, limit).into(),
        ]);
        seen.push(name);
    }
    if seen.is_empty() {
        let all = KEYS.join("`, `");
        let message = format!("a budget limits something: one or more of `{all}`");
        return Err(Error::new(Span::call_site(), message));
    }
    Ok(budget)
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')
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
    let literal = match value.as_slice() {
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
