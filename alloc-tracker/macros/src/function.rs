//! `#[budget]`: the function's body is replaced by one that keeps the budget.

use crate::limits::Limits;
use crate::signature::{Function, Returns};
use crate::template::{Hole, fill_at};
use crate::tokens::{braces, contains, flat, is_async_block, is_punct, is_word, without_last};
use crate::{Error, manifest};
use proc_macro::{Delimiter, Group, Span, TokenStream, TokenTree};

/// The function with its body inside the budget.
pub(crate) fn with_budget(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let limits = Limits::of_attribute(arguments)?;
    let function = Function::parse(item)?;
    let krate = match limits.krate() {
        Some(path) => path.clone(),
        None => manifest::path()?,
    };
    let rewriting = Rewriting {
        budget: limits.budget(&krate),
        krate,
        function: &function,
    };
    let (head, inside) = rewriting.head_and_body()?;
    let mut body = function.inner_attributes.clone();
    body.extend(inside);
    let mut body = Group::new(Delimiter::Brace, body);
    body.set_span(function.body_span);
    let mut rewritten = head;
    rewritten.extend([TokenTree::from(body)]);
    Ok(rewritten)
}

struct Rewriting<'function> {
    krate: TokenStream,
    /// The limits, and whether they are the process's.
    budget: TokenStream,
    function: &'function Function,
}

impl Rewriting<'_> {
    fn head_and_body(&self) -> Result<(TokenStream, TokenStream), Error> {
        let body: Vec<TokenTree> = flat(self.function.body.clone());
        if self.function.is_async {
            let (head, moves) = self.function.moving_arguments();
            let inside = self.of_async(moves, self.function.body.clone())?;
            return Ok((head, inside));
        }
        if let Some(inside) = self.under_a_runtime(&body)? {
            return Ok((self.function.head(), inside));
        }
        let inside = match (&self.function.returns, future_alone(&body)) {
            // As an `async fn`: only the polls count, not the box.
            (Returns::BoxedFuture(_), Some((Some(pin), future))) => {
                let holes = [("pin", pin), ("future", future)];
                self.code("#pin(#krate::__budget::future(#budget, #future))", holes)
            }
            (Returns::ImplFuture, Some((None, future))) => self.code(
                "#krate::__budget::future(#budget, #future)",
                [("future", future)],
            ),
            (Returns::BoxedFuture(boxed), _) => return Ok(self.of_making("boxed", boxed)),
            (Returns::ImplFuture, _) => {
                return Ok(self.of_making("made", &self.type_of_value()));
            }
            // The body stays where it is, and the type of its value is what the compiler expects.
            (Returns::Unnamed(_), _) => self.code(
                "#refusal #guard #body",
                [
                    ("refusal", self.refusal()),
                    ("guard", self.guard()),
                    ("body", self.braced()),
                ],
            ),
            // An `if` drops what the last expression borrows before the guard, in every edition. (In
            // a body that returns `impl Fn(..)` the compiler would not see through it.)
            (Returns::Nothing | Returns::Never | Returns::Named(_), _) => self.code(
                "#refusal #guard
                 if false { #krate::__budget::never() } else #body",
                [
                    ("refusal", self.refusal()),
                    ("guard", self.guard()),
                    ("body", self.braced()),
                ],
            ),
        };
        Ok((self.function.head(), inside))
    }

    /// A body that makes a future of this type, which is not an `async` block and nothing else.
    fn of_making(&self, made: &'static str, returns: &TokenStream) -> (TokenStream, TokenStream) {
        let holes = [
            ("made", self.code(made, [])),
            ("returns", returns.clone()),
            ("body", self.braced()),
        ];
        // A closure has no `#[track_caller]`, so the body stays where it is if it can.
        if self.function.is_marked("track_caller") && !contains(&self.function.body, "return") {
            let code = "let making = #krate::__budget::Making::enter(#budget);
                 let future: #returns = if false { #krate::__budget::never() } else #body;
                 making.#made(future)";
            return (self.function.head(), self.code(code, holes));
        }
        // In a closure, lest a `return` hands out a future that nobody measures.
        let (head, moves) = self.function.moving_arguments();
        let [made, returns, body] = holes;
        let code = "#krate::__budget::#made(#budget, move || -> #returns { #moves #body })";
        let holes = [made, returns, body, ("moves", moves)];
        (head, self.code(code, holes))
    }

    /// A future of its own, in which `return` and `?` mean what they meant.
    ///
    /// First come the statements that move the arguments into it.
    fn of_async(&self, moves: TokenStream, body: TokenStream) -> Result<TokenStream, Error> {
        if let Returns::ImplFuture = self.function.returns {
            let message = "a budget cannot follow the future that this future makes: await it in \
                           the body";
            return Err(Error::new(self.function.returns_span, message));
        }
        let returns = ("returns", self.type_of_value());
        let inner = match self.function.returns {
            Returns::Never => self.code("#moves #body", [("moves", moves), ("body", body)]),
            // Never run: it tells the compiler the type, which coercions and `?` need to know.
            _ => self.code(
                "#moves if false { return #krate::__budget::never::<#returns>(); } #body",
                [returns.clone(), ("moves", moves), ("body", body)],
            ),
        };
        let inner = braces(inner, self.function.body_span);
        Ok(self.code(
            "#refusal
             #krate::__budget::settled(
                 #krate::__budget::held::<#returns, _>(#budget, async move #inner).await
             )",
            [("refusal", self.refusal()), returns, ("inner", inner)],
        ))
    }

    fn type_of_value(&self) -> TokenStream {
        match &self.function.returns {
            Returns::Nothing => self.code("()", []),
            // So the type that has no name has one.
            Returns::Never => self.code("<fn() -> ! as #krate::__budget::Returning>::Value", []),
            Returns::Named(returns) | Returns::BoxedFuture(returns) | Returns::Unnamed(returns) => {
                returns.clone()
            }
            Returns::ImplFuture => self.code("_", []),
        }
    }

    /// The body that `#[tokio::test]` makes if it stands above: `let body = async { .. }; ..`, and then
    /// a runtime, which the budget is not for.
    fn under_a_runtime(&self, body: &[TokenTree]) -> Result<Option<TokenStream>, Error> {
        let [word, name, equals, keyword, rest @ ..] = body else {
            return Ok(None);
        };
        let begins = is_word(word, "let")
            && is_word(name, "body")
            && is_punct(equals, '=')
            && is_word(keyword, "async");
        // What somebody wrote himself reads as it is written; a runtime's attribute made the other.
        if name.span().source_text().is_some_and(|text| text == "body") {
            return Ok(None);
        }
        let moves = usize::from(rest.first().is_some_and(|token| is_word(token, "move")));
        let (Some(TokenTree::Group(inner)), true) = (rest.get(moves), begins) else {
            return Ok(None);
        };
        let after = &rest[moves + 1..];
        // A body that was written so is not handed to a runtime by its last statement.
        let after_text: TokenStream = after.iter().cloned().collect();
        if !after_text.to_string().contains("block_on") {
            return Ok(None);
        }
        let inside = braces(
            self.of_async(TokenStream::new(), inner.stream())?,
            inner.span(),
        );
        let before = &body[..4 + moves];
        let mut tokens: TokenStream = before.iter().cloned().collect();
        tokens.extend(inside);
        tokens.extend(after_text);
        Ok(Some(tokens))
    }

    fn guard(&self) -> TokenStream {
        self.code(
            "let _guard = #krate::__budget::ThreadGuard::enter(#budget, |broken| broken.or_panic());",
            [],
        )
    }

    /// Refuses a value that is a future, by its type.
    fn refusal(&self) -> TokenStream {
        let code = match &self.function.returns {
            Returns::Named(_) | Returns::BoxedFuture(_) => {
                "{
                    use #krate::__budget::{IsFuture as _, IsLent as _, IsValue as _};
                    #krate::__budget::measured((&&&#krate::__budget::Returned::<#returns>::NEW).kind());
                }"
            }
            // The compiler finds it out from what else is returned.
            Returns::Unnamed(_) => "if false { return #krate::__budget::nothing(); }",
            Returns::Nothing | Returns::Never | Returns::ImplFuture => "",
        };
        self.code_at(
            self.function.returns_span,
            code,
            [("returns", self.type_of_value())],
        )
    }

    fn braced(&self) -> TokenStream {
        braces(self.function.body.clone(), self.function.body_span)
    }

    fn code<const N: usize>(&self, code: &str, holes: [Hole; N]) -> TokenStream {
        self.code_at(Span::call_site(), code, holes)
    }

    fn code_at<const N: usize>(&self, at: Span, code: &str, holes: [Hole; N]) -> TokenStream {
        let mut all = vec![
            ("krate", self.krate.clone()),
            ("budget", self.budget.clone()),
        ];
        all.extend(holes);
        fill_at(at, code, &all)
    }
}

/// A body that is a future and nothing else: `async { .. }`, or `Box::pin(async { .. })`, of which the
/// first part is what pins it.
fn future_alone(body: &[TokenTree]) -> Option<(Option<TokenStream>, TokenStream)> {
    if is_async_block(body) {
        return Some((None, body.iter().cloned().collect()));
    }
    let [pin @ .., TokenTree::Group(argument)] = body else {
        return None;
    };
    let is_path = |token: &TokenTree| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':');
    let is_pin = matches!(pin, [.., b, _, _, p] if is_word(b, "Box") && is_word(p, "pin"))
        && pin.iter().all(is_path)
        && argument.delimiter() == Delimiter::Parenthesis;
    let argument = without_last(flat(argument.stream()), ',');
    (is_pin && is_async_block(&argument)).then(|| {
        let pin = pin.iter().cloned().collect();
        (Some(pin), argument.into_iter().collect())
    })
}
