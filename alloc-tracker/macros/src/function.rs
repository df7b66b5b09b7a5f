//! The function: its body is replaced by one that keeps the budget.

use crate::Error;
use proc_macro::{Delimiter, Group, Span, TokenStream, TokenTree};

/// The function with its body inside the budget.
pub(crate) fn with_budget(budget: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let Some(TokenTree::Group(body)) = tokens.pop_if(|last| is_body(last)) else {
        let span = tokens.last().map_or(Span::call_site(), TokenTree::span);
        return Err(Error::new(span, "a budget is for a function with a body"));
    };
    let keyword = |word: &str| {
        let is = |token: &TokenTree| matches!(token, TokenTree::Ident(i) if i.to_string() == word);
        tokens.iter().position(is)
    };
    let Some(function) = keyword("fn") else {
        let span = tokens.first().map_or(Span::call_site(), TokenTree::span);
        return Err(Error::new(span, "a budget is for a function"));
    };
    let before = |word: &str| keyword(word).filter(|at| *at < function);
    if let Some(at) = before("const") {
        let message = "a `const fn` cannot have a budget: it may run in the compiler";
        return Err(Error::new(tokens[at].span(), message));
    }
    let inside = if before("async").is_some() {
        future(&budget, &body, return_type(&tokens[function..]))
    } else if let Some(inside) = tokio_test(&budget, &body) {
        inside
    } else {
        block(&budget, &body)
    };
    let mut inside = Group::new(Delimiter::Brace, inside);
    inside.set_span(body.span());
    tokens.push(inside.into());
    // The body's value may be `()` or `!`: not worth a warning in code that nobody wrote.
    let mut function = parse(
        "#[allow(unreachable_code, clippy::diverging_sub_expression, clippy::empty_loop, \
         clippy::let_and_return, clippy::let_unit_value, clippy::needless_return)]",
    );
    function.extend(tokens);
    Ok(function)
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// A synchronous body. The guard is dropped, and checks, after all of the body's own values, also
/// where the body returns early.
fn block(budget: &TokenStream, body: &Group) -> TokenStream {
    let mut tokens = parse("let __budget = ::alloc_tracker::BudgetGuard::enter");
    tokens.extend([parenthesized(budget.clone())]);
    tokens.extend(parse("; let __value ="));
    tokens.extend([TokenTree::from(body.clone())]);
    tokens.extend(parse("; __value"));
    tokens
}

/// An `async` body: a future of its own, in which `return` and `?` mean what they meant.
fn future(budget: &TokenStream, body: &Group, returns: Option<TokenStream>) -> TokenStream {
    let mut inner = TokenStream::new();
    if let Some(returns) = returns {
        // Never run: it tells the compiler the type, which `?` needs to know.
        let mut never = parse("let __never:");
        never.extend(returns);
        never.extend(parse("= loop {}; return __never;"));
        inner.extend(parse("if false"));
        inner.extend([TokenTree::from(Group::new(Delimiter::Brace, never))]);
    }
    inner.extend(body.stream());
    let mut inner = Group::new(Delimiter::Brace, inner);
    inner.set_span(body.span());

    let mut arguments = budget.clone();
    arguments.extend(parse(", async move"));
    arguments.extend([TokenTree::from(inner)]);
    let mut tokens = parse("let (__value, __checked) = ::alloc_tracker::run_future");
    tokens.extend([parenthesized(arguments)]);
    tokens.extend(parse(
        ".await; if let ::core::result::Result::Err(__exceeded) = __checked {
             ::core::panic!(\"{__exceeded}\");
         }
         __value",
    ));
    tokens
}

/// The body that `#[tokio::test]` makes if it stands above: `let body = async { .. }; ..`, and then
/// a runtime, which the budget is not for.
fn tokio_test(budget: &TokenStream, body: &Group) -> Option<TokenStream> {
    let mut tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    let words = ["let", "body", "=", "async"];
    let matches = tokens.len() > words.len()
        && tokens
            .iter()
            .zip(words)
            .all(|(t, word)| t.to_string() == word);
    if !matches {
        return None;
    }
    let at = match &tokens[words.len()] {
        TokenTree::Ident(word) if word.to_string() == "move" => words.len() + 1,
        _ => words.len(),
    };
    let TokenTree::Group(inner) = tokens.get(at)? else {
        return None;
    };
    // A body that was written so is not handed to a runtime by its last statement.
    let rest: TokenStream = tokens[at + 1..].iter().cloned().collect();
    if !rest.to_string().contains("block_on") {
        return None;
    }
    let inside = future(budget, inner, None);
    tokens[at] = Group::new(Delimiter::Brace, inside).into();
    Some(tokens.into_iter().collect())
}

/// What stands between `->` and `where` or the end; `None` without it, and for `impl Trait`, which
/// cannot be the type of a variable.
fn return_type(signature: &[TokenTree]) -> Option<TokenStream> {
    let is = |token: &TokenTree, c: char| matches!(token, TokenTree::Punct(p) if p.as_char() == c);
    let arrows = signature.windows(2).enumerate();
    let arrow = arrows
        .filter(|(_, pair)| is(&pair[0], '-') && is(&pair[1], '>'))
        .map(|(at, _)| at)
        .find(|at| depth(&signature[..*at]) == 0)?;
    let returns: Vec<TokenTree> = signature[arrow + 2..]
        .iter()
        .take_while(|token| !matches!(token, TokenTree::Ident(i) if i.to_string() == "where"))
        .cloned()
        .collect();
    let is_impl = |token: &TokenTree| token.to_string().split_whitespace().any(|w| w == "impl");
    (!returns.iter().any(is_impl)).then(|| returns.into_iter().collect())
}

/// How many angle brackets are open at the end; the `>` of an arrow closes none.
fn depth(tokens: &[TokenTree]) -> i32 {
    let mut depth = 0;
    let mut previous = ' ';
    for token in tokens {
        let c = match token {
            TokenTree::Punct(punct) => punct.as_char(),
            _ => ' ',
        };
        match c {
            '<' => depth += 1,
            '>' if previous != '-' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    depth
}

fn parenthesized(tokens: TokenStream) -> TokenTree {
    Group::new(Delimiter::Parenthesis, tokens).into()
}

/// Code that is known when this is compiled.
fn parse(code: &str) -> TokenStream {
    match code.parse() {
        Ok(tokens) => tokens,
        Err(error) => unreachable!("{code}: {error}"),
    }
}
