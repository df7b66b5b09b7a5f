//! `assert_budget!`: its work, inside the budget.

use crate::limits::{Limits, WRONG_BLOCK};
use crate::template::fill;
use crate::tokens::{braces, flat, is_async_block, peel, without_last};
use crate::{Error, awaits, ending};
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
    let (work, awaits) = awaits::in_budget(work, &krate)?;
    // Braces of its own are not needed twice. Those of this expansion are: what the last expression
    // borrows is dropped inside, before the budget is checked.
    let work = match peel(work.into_iter().collect()).as_slice() {
        [TokenTree::Group(block)] if block.delimiter() == Delimiter::Brace => block.stream(),
        tokens => tokens.iter().cloned().collect(),
    };
    let has_no_value = ending::has_no_value(work.clone());
    let work = braces(braces(work, place), place);
    let guard = if awaits {
        "use #krate::__budget::InBudget as _;
         let guard = #krate::__budget::TaskGuard::enter(#budget, |broken| broken.or_panic());"
    } else {
        "let guard = #krate::__budget::ThreadGuard::enter(#budget, |broken| broken.or_panic());"
    };
    let code = if has_no_value {
        // The guard checks as it is dropped: code after a block that leaves would be unreachable.
        format!("{{ {guard} let _ = &guard; #work }}")
    } else {
        // So, too, where the block may leave unseen: a call whose argument is an `if` is reached by the
        // branch that never runs. (To the borrow checker that branch ends nowhere, so what the work
        // assigns is assigned after it.)
        format!(
            "{{ {guard} guard.value(
                if false {{ #krate::__budget::absurd(#krate::__budget::never()) }} else #work
            ) }}"
        )
    };
    Ok(fill(&code, &holes(work)))
}

fn wrong() -> Error {
    Error::new(Span::call_site(), WRONG_BLOCK)
}
