//! Small questions about tokens.

use proc_macro::{Delimiter, Group, Span, TokenStream, TokenTree};

pub(crate) fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}

pub(crate) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}

pub(crate) fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

/// In whatever depth.
pub(crate) fn contains(tokens: &TokenStream, word: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => contains(&group.stream(), word),
        token => is_word(&token, word),
    })
}

/// `async { .. }` or `async move { .. }`, and nothing else.
pub(crate) fn is_async_block(tokens: &[TokenTree]) -> bool {
    let moves = tokens.get(1).is_some_and(|token| is_word(token, "move"));
    match tokens {
        [word, .., block] => {
            is_word(word, "async")
                && is_group(block, Delimiter::Brace)
                && tokens.len() == 2 + usize::from(moves)
        }
        _ => false,
    }
}

/// The tokens, those inside of the invisible groups included in which `macro_rules!` hands on what it
/// matched. To look at, not to write down: the groups keep the order of operations.
pub(crate) fn flat(tokens: impl IntoIterator<Item = TokenTree>) -> Vec<TokenTree> {
    let mut all = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                all.extend(flat(group.stream()));
            }
            token => all.push(token),
        }
    }
    all
}

/// The tokens but for the last one, if it is this.
pub(crate) fn without_last(mut tokens: Vec<TokenTree>, c: char) -> Vec<TokenTree> {
    if tokens.last().is_some_and(|last| is_punct(last, c)) {
        tokens.pop();
    }
    tokens
}

/// What is inside of the invisible groups around all of it.
pub(crate) fn peel(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    match tokens.as_slice() {
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::None => {
            peel(group.stream().into_iter().collect())
        }
        _ => tokens,
    }
}

/// Up to the next comma; the comma is taken, too. That of a turbofish does not count.
pub(crate) fn up_to_comma(tokens: &mut impl Iterator<Item = TokenTree>) -> Vec<TokenTree> {
    let mut taken: Vec<TokenTree> = Vec::new();
    let mut open = 0;
    for token in tokens {
        let after = |c| taken.last().is_some_and(|last| is_punct(last, c));
        match &token {
            TokenTree::Punct(punct) => match punct.as_char() {
                '<' if open > 0 || after(':') => open += 1,
                '>' if open > 0 && !after('-') => open -= 1,
                ',' if open == 0 => break,
                _ => {}
            },
            TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => {}
        }
        taken.push(token);
    }
    taken
}

/// The same tokens at another place.
pub(crate) fn at(span: Span, tokens: TokenStream) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), at(span, group.stream())).into();
        }
        token.set_span(span);
        token
    });
    moved.collect()
}

/// Braces around the tokens.
///
/// They are this expansion's, at the place of the user's: no lint takes them for needless, and what
/// the last expression borrows is dropped inside, in every edition.
pub(crate) fn braces(tokens: TokenStream, place: Span) -> TokenStream {
    let mut group = Group::new(Delimiter::Brace, tokens);
    group.set_span(place.resolved_at(Span::mixed_site()));
    TokenTree::from(group).into()
}
