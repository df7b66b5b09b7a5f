//! `#[alloc_tracker::budget(..)]` and the work of `assert_budget!`, which are documented there.
//!
//! Written on bare token trees: both have a small grammar of their own, and of the user's code only
//! a few tokens matter. So a user's build waits for no parser of Rust.
//!
//! * `limits`: the arguments. `manifest`, by `toml`: what the dependency is called here.
//! * `function`: the attribute; `signature`: what it must know of a function.
//! * `block`: the work of `assert_budget!`, by `awaits`.
//! * `template`: code with holes; `tokens`: small questions about tokens.

mod awaits;
mod block;
mod function;
mod limits;
mod manifest;
mod signature;
mod template;
mod tokens;
mod toml;

use proc_macro::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};

/// See `alloc_tracker::budget`.
#[proc_macro_attribute]
pub fn budget(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function::with_budget(arguments, item.clone()).unwrap_or_else(|error| {
        // The function stays, so that the one error is not followed by others about its name.
        let mut tokens = error.into_compile_error();
        tokens.extend(item);
        tokens
    })
}

/// See `alloc_tracker::assert_budget!`, which hands on the path of its crate and what it was given.
#[doc(hidden)]
#[proc_macro]
pub fn __assert_budget(input: TokenStream) -> TokenStream {
    block::with_budget(input).unwrap_or_else(Error::into_compile_error)
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
        let message = TokenTree::from(Literal::string(&self.message));
        let message = Group::new(Delimiter::Brace, message.into());
        let holes = [("message", TokenTree::from(message).into())];
        tokens::at(
            self.span,
            template::fill("::core::compile_error! #message", &holes),
        )
    }
}
