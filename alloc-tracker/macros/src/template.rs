//! Code with holes.

use crate::tokens::{is_punct, is_word};
use proc_macro::{Group, Span, TokenStream, TokenTree};

pub(crate) type Hole = (&'static str, TokenStream);

/// The code, with each `#name` in it replaced.
///
/// Its own names are this expansion's: they neither see the user's nor are seen. Its spans are, too,
/// so that lints, the forbidden ones, leave them alone.
pub(crate) fn fill(code: &str, holes: &[Hole]) -> TokenStream {
    fill_at(Span::mixed_site(), code, holes)
}

/// The same, at the place of the user's code that errors are about.
pub(crate) fn fill_at(place: Span, code: &str, holes: &[Hole]) -> TokenStream {
    match code.parse() {
        Ok(tokens) => fill_in(tokens, place.resolved_at(Span::mixed_site()), holes),
        // The code is known when this is compiled, and every piece of it is tested.
        Err(error) => unreachable!("{code}: {error}"),
    }
}

fn fill_in(code: TokenStream, span: Span, holes: &[Hole]) -> TokenStream {
    let mut filled = TokenStream::new();
    let mut code = code.into_iter().peekable();
    while let Some(mut token) = code.next() {
        if is_punct(&token, '#') {
            let hole = holes
                .iter()
                .find(|(hole, _)| code.peek().is_some_and(|name| is_word(name, hole)));
            if let Some((_, content)) = hole {
                code.next();
                filled.extend(content.clone());
                continue;
            }
        }
        if let TokenTree::Group(group) = &token {
            let inside = fill_in(group.stream(), span, holes);
            token = Group::new(group.delimiter(), inside).into();
        }
        token.set_span(span);
        filled.extend([token]);
    }
    filled
}
