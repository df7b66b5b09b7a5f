//! `assert_budget!`: its work, inside the budget.

use crate::limits::{Limits, WRONG_BLOCK};
use crate::template::fill;
use crate::tokens::{braces, flat, is_async_block, is_group, is_punct, peel, without_last};
use crate::{Error, awaits};
use proc_macro::{Delimiter, Span, TokenStream, TokenTree};

/// The expression. The input is the path of the library in parentheses, the limits, and the work.
pub(crate) fn with_budget(input: TokenStream) -> Result<TokenStream, Error> {
    let mut tokens = input.into_iter().peekable();
    let Some(TokenTree::Group(krate)) = tokens.next() else {
        return Err(wrong());
    };
    let krate = krate.stream();
    if tokens.peek().is_none() {
        return Err(wrong());
    }
    let limits = Limits::of_block(&mut tokens)?;
    let work = peel(without_last(tokens.collect(), ','));
    let Some(first) = work.first() else {
        return Err(wrong());
    };
    let place = first.span();
    let budget = limits.budget(&krate);
    let holes = |work| {
        [
            ("krate", krate.clone()),
            ("budget", budget.clone()),
            ("work", work),
        ]
    };
    if is_async_block(&flat(work.clone())) {
        let work = work.into_iter().collect();
        return Ok(fill(
            "{ #krate::__budget::awaited(
                #krate::__budget::settled(#krate::__budget::held::<_, _>(#budget, #work).await)
            ) }",
            &holes(work),
        ));
    }
    let (work, awaits) = awaits::in_budget(work)?;
    // Braces of its own are not needed twice. Those of this expansion are: what the last expression
    // borrows is dropped inside, before the budget is checked.
    let work = match peel(work.into_iter().collect()).as_slice() {
        [TokenTree::Group(block)] if block.delimiter() == Delimiter::Brace => block.stream(),
        tokens => tokens.iter().cloned().collect(),
    };
    let leaves = ends_elsewhere(work.clone());
    let work = braces(braces(work, place), place);
    let guard = if awaits {
        "use #krate::__budget::InBudget as _;
         let guard = #krate::__budget::TaskGuard::enter(#budget);"
    } else {
        "let guard = #krate::__budget::ThreadGuard::enter(#budget);"
    };
    let code = if leaves {
        // Nothing comes after it: the guard checks as it is dropped.
        format!("{{ {guard} let _ = &guard; #work }}")
    } else {
        format!("{{ {guard} guard.value(#work) }}")
    };
    Ok(fill(&code, &holes(work)))
}

fn wrong() -> Error {
    Error::new(Span::call_site(), WRONG_BLOCK)
}

/// Whether the last statement is one after which nothing runs.
fn ends_elsewhere(work: TokenStream) -> bool {
    let work = without_last(flat(work), ';');
    let ends = |token: &TokenTree| is_punct(token, ';') || is_group(token, Delimiter::Brace);
    let leaves = |at: usize| {
        let is_macro = work.get(at + 1).is_some_and(|token| is_punct(token, '!'));
        match work[at].to_string().as_str() {
            "return" | "break" | "continue" => true,
            "panic" | "todo" | "unimplemented" | "unreachable" => is_macro,
            _ => false,
        }
    };
    let last = work.iter().rposition(|token| is_punct(token, ';'));
    (last.map_or(0, |at| at + 1)..work.len())
        .any(|at| leaves(at) && (at == 0 || ends(&work[at - 1])))
}
