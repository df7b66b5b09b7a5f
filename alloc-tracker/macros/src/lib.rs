//! `#[alloc_tracker::budget(..)]`, which is documented there.
//!
//! Written on bare token trees: the attribute has a small grammar of its own, and of the function
//! only its body and whether it is `async` matter. So a user's build waits for no parser of Rust.

mod function;
mod limits;

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// See `alloc_tracker::budget`.
#[proc_macro_attribute]
pub fn budget(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let rewritten =
        limits::parse(arguments).and_then(|budget| function::with_budget(budget, item.clone()));
    match rewritten {
        Ok(tokens) => tokens,
        Err(error) => {
            // The function stays, so that the one error is not followed by others about its name.
            let mut tokens = error.into_compile_error();
            tokens.extend(item);
            tokens
        }
    }
}

/// What is wrong, and where.
struct Error {
    span: Span,
    message: String,
}

impl Error {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Error {
            span,
            message: message.into(),
        }
    }

    /// `::core::compile_error! { "message" }`, all of it at the span.
    fn into_compile_error(self) -> TokenStream {
        let at = |mut token: TokenTree| {
            token.set_span(self.span);
            token
        };
        let message = TokenTree::from(Literal::string(&self.message));
        let message = TokenStream::from(at(message));
        let mut tokens = path(&["core", "compile_error"], self.span);
        tokens.extend([
            at(Punct::new('!', Spacing::Alone).into()),
            at(Group::new(Delimiter::Brace, message).into()),
        ]);
        tokens
    }
}

/// `::a::b`, at the span.
fn path(segments: &[&str], span: Span) -> TokenStream {
    let mut tokens: Vec<TokenTree> = Vec::new();
    for segment in segments {
        for spacing in [Spacing::Joint, Spacing::Alone] {
            let mut colon = Punct::new(':', spacing);
            colon.set_span(span);
            tokens.push(colon.into());
        }
        tokens.push(Ident::new(segment, span).into());
    }
    tokens.into_iter().collect()
}
