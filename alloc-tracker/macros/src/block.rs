//! `assert_budget!`: its work, inside the budget.

use crate::limits::{Limits, WRONG_BLOCK};
use crate::template::fill;
use crate::tokens::{braces, flat, is_async_block, is_punct, is_word, peel, without_last};
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
    let (work, awaits) = awaits::in_budget(work, &krate)?;
    // Braces of its own are not needed twice. Those of this expansion are: what the last expression
    // borrows is dropped inside, before the budget is checked.
    let work = match peel(work.into_iter().collect()).as_slice() {
        [TokenTree::Group(block)] if block.delimiter() == Delimiter::Brace => block.stream(),
        tokens => tokens.iter().cloned().collect(),
    };
    let is_closure = is_closure(&work);
    let work = braces(braces(work, place), place);
    let guard = if awaits {
        "use #krate::__budget::InBudget as _;
         let guard = #krate::__budget::TaskGuard::enter(#budget, |broken| broken.or_panic());"
    } else {
        "let guard = #krate::__budget::ThreadGuard::enter(#budget, |broken| broken.or_panic());"
    };
    // The guard checks as it is dropped. So the work stands last, and whether it ends at all, and with
    // what, the compiler sees as it does without a budget: code after it would be unreachable if it leaves.
    //
    // The branch that never runs says that the value is no future. It leaves, too, so that the whole leaves
    // if the work does; of what leaves, `as` is all that has a type and that no lint takes for unreachable. Older
    // compilers have a lint that does. They are asked to leave it, which who forbids the lint cannot have there.
    let allow = match cfg!(casts_of_never_are_unreachable) {
        true => "#![allow(unreachable_code)]",
        false => "",
    };
    let code = if is_closure {
        format!("{{ {guard} let _ = &guard; #work }}")
    } else {
        format!(
            "{{ {guard} let _ = &guard;
                if false {{ {{
                    {allow}
                    use #krate::__budget::{{NoFuture, Valued, ends}};
                    ends() as <Valued<_, _> as NoFuture>::Value
                }} }} else #work
            }}"
        )
    };
    Ok(fill(&code, &holes(work)))
}

/// Whether it is a closure and nothing else: no future, and what it takes is known from what is around it,
/// which the compiler does not ask through an `if`.
fn is_closure(work: &TokenStream) -> bool {
    let tokens = flat(work.clone());
    let mut words = tokens.iter().skip_while(|token| is_word(token, "move"));
    words.next().is_some_and(|first| is_punct(first, '|'))
        && !tokens.iter().any(|token| is_punct(token, ';'))
}

fn wrong() -> Error {
    Error::new(Span::call_site(), WRONG_BLOCK)
}
