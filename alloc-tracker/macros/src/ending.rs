//! How a block ends: with a value, or without one.

use crate::tokens::{flat, is_group, is_punct, is_word, up_to_comma};
use proc_macro::{Delimiter, TokenStream, TokenTree};

/// Whether the block surely has no value: it ends in `;`, or every branch of its end leaves.
///
/// Where that is not to be seen, as in a call of a function that never returns, `false` is right, too.
pub(crate) fn has_no_value(block: TokenStream) -> bool {
    let tokens = flat(block);
    if tokens.last().is_some_and(|last| is_punct(last, ';')) {
        return true;
    }
    let last = (0..tokens.len()).rfind(|&at| begins_statement(&tokens, at));
    last.is_some_and(|at| leaves(without_label(&tokens[at..])))
}

fn begins_statement(tokens: &[TokenTree], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else {
        return true;
    };
    is_punct(before, ';') || is_group(before, Delimiter::Brace) && begins_anew(&tokens[at])
}

/// What does not go on with an expression that ended in braces.
fn begins_anew(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(word) => !matches!(word.to_string().as_str(), "else" | "as"),
        TokenTree::Punct(punct) => punct.as_char() == '\'',
        TokenTree::Group(_) | TokenTree::Literal(_) => true,
    }
}

fn without_label(statement: &[TokenTree]) -> &[TokenTree] {
    match statement {
        [quote, _, colon, rest @ ..] if is_punct(quote, '\'') && is_punct(colon, ':') => rest,
        _ => statement,
    }
}

/// Of the last expression of a block.
fn leaves(expression: &[TokenTree]) -> bool {
    let [first, rest @ ..] = expression else {
        return false;
    };
    let block = expression.last().and_then(in_braces);
    match (first.to_string().as_str(), block) {
        ("return" | "break" | "continue", _) => true,
        ("panic" | "todo" | "unimplemented" | "unreachable" | "bail", _) => {
            rest.first().is_some_and(|not| is_punct(not, '!'))
        }
        ("match", Some(arms)) => every_arm_leaves(arms),
        ("if", Some(_)) => {
            let is_else = |at: usize| rest.get(at).is_none_or(|token| is_word(token, "else"));
            let branches = (0..rest.len()).filter(|&at| is_else(at + 1));
            let mut branches = branches.filter_map(|at| in_braces(&rest[at]));
            is_else(rest.len() - 2) && branches.all(has_no_value)
        }
        ("loop", Some(block)) => !contains(block, "break"),
        ("unsafe", Some(block)) => has_no_value(block),
        (_, Some(block)) => rest.is_empty() && has_no_value(block),
        _ => false,
    }
}

fn every_arm_leaves(arms: TokenStream) -> bool {
    let mut tokens = flat(arms).into_iter().peekable();
    let mut equals = false;
    while let Some(token) = tokens.next() {
        if !(equals && is_punct(&token, '>')) {
            equals = is_punct(&token, '=');
            continue;
        }
        equals = false;
        let block = tokens.next_if(|token| is_group(token, Delimiter::Brace));
        let ends = tokens
            .peek()
            .is_none_or(|next| !is_punct(next, '.') && !is_punct(next, '?'));
        let body = match block {
            Some(block) if ends => vec![block],
            block => block.into_iter().chain(up_to_comma(&mut tokens)).collect(),
        };
        if !has_no_value(body.into_iter().collect()) {
            return false;
        }
    }
    true
}

fn in_braces(token: &TokenTree) -> Option<TokenStream> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    }
}

fn contains(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => contains(group.stream(), word),
        token => is_word(&token, word),
    })
}
