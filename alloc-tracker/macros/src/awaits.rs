//! The awaits of a budget's work: `x.await` becomes `x.in_budget(&guard).await`.
//!
//! As the end of an expression it needs no look at where the expression begins. Awaits in futures,
//! closures and functions that the work defines are theirs.

use crate::Error;
use crate::template::fill;
use crate::tokens::{is_group, is_punct, is_word};
use proc_macro::{Delimiter, Group, Punct, Spacing, TokenStream, TokenTree};
use std::iter::Peekable;

/// The work, and whether it awaits.
pub(crate) fn in_budget(work: Vec<TokenTree>) -> Result<(TokenStream, bool), Error> {
    let mut rewriting = Rewriting::default();
    let work = rewriting.level(work)?;
    Ok((work.into_iter().collect(), rewriting.awaits))
}

#[derive(Default)]
struct Rewriting {
    awaits: bool,
}

impl Rewriting {
    fn level(&mut self, tokens: Vec<TokenTree>) -> Result<Vec<TokenTree>, Error> {
        let mut done: Vec<TokenTree> = Vec::new();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            if is_word(&token, "async") {
                done.push(token);
                copy_async(&mut tokens, &mut done);
                continue;
            }
            let after_dot = done.last().is_some_and(|last| is_punct(last, '.'));
            if after_dot && is_word(&token, "await") {
                self.awaits = true;
                done.extend(fill("__in_budget(&guard).", &[]));
                done.push(token);
                continue;
            }
            let TokenTree::Group(group) = &token else {
                done.push(token);
                continue;
            };
            if let Some(start) = macro_that_awaits(&done, group) {
                let is_statement = is_group(&token, Delimiter::Brace)
                    && start.checked_sub(1).is_none_or(|at| {
                        is_punct(&done[at], ';') || is_group(&done[at], Delimiter::Brace)
                    })
                    && tokens.peek().is_some_and(|next| {
                        !matches!(next, TokenTree::Punct(next) if ".;?,".contains(next.as_char()))
                    });
                let call: Vec<TokenTree> = done.drain(start..).chain([token]).collect();
                done.extend(self.awaited_by_a_macro(call)?);
                if is_statement {
                    // With braces it needs none, and what it becomes does.
                    done.push(Punct::new(';', Spacing::Alone).into());
                }
                continue;
            }
            let inside = self.level(group.stream().into_iter().collect())?;
            let mut inside = Group::new(group.delimiter(), inside.into_iter().collect());
            inside.set_span(group.span());
            done.push(inside.into());
        }
        Ok(done)
    }

    /// `tokio::join!(a, b)`: it becomes a future of its own, which is awaited in the budget.
    fn awaited_by_a_macro(&mut self, call: Vec<TokenTree>) -> Result<TokenStream, Error> {
        let leaves_work = match call.last() {
            Some(TokenTree::Group(arguments)) => leaves(arguments.stream()),
            _ => false,
        };
        if leaves_work {
            return Err(Error::new(
                call[0].span(),
                "this macro awaits out of sight, and leaves the budget's work by `return`, `?` or \
                 `break`: write the work as a future of its own, \
                 `assert_budget!(.., async { .. })`",
            ));
        }
        self.awaits = true;
        let call = call.into_iter().collect();
        Ok(fill(
            "(async { #call }).__in_budget(&guard).await",
            &[("call", call)],
        ))
    }
}

/// After `async`: a block, a closure or a function, as it is.
fn copy_async(tokens: &mut Peekable<impl Iterator<Item = TokenTree>>, done: &mut Vec<TokenTree>) {
    done.extend(tokens.next_if(|token| is_word(token, "move")));
    let closure = tokens.peek().is_some_and(|token| is_punct(token, '|'));
    if closure {
        // Its parameters, then its body: braces, or an expression up to the end of the argument.
        done.extend(tokens.next());
        for token in tokens.by_ref() {
            let ends = is_punct(&token, '|');
            done.push(token);
            if ends {
                break;
            }
        }
    }
    while let Some(token) =
        tokens.next_if(|token| !(closure && (is_punct(token, ',') || is_punct(token, ';'))))
    {
        let ends = is_group(&token, Delimiter::Brace);
        done.push(token);
        if ends {
            break;
        }
    }
}

/// Macros of the usual libraries that await what they are given.
fn macro_that_awaits(before: &[TokenTree], arguments: &Group) -> Option<usize> {
    let [path @ .., not] = before else {
        return None;
    };
    let name = path.last()?.to_string();
    let awaits = match name.as_str() {
        "join" | "try_join" | "select_biased" => true,
        // Of crossbeam there is one that does not await: `recv(r) -> message => ..`.
        "select" => assigns(arguments.stream()),
        // A budget in the budget, of a future of its own.
        "assert_budget" | "assert_no_alloc" => {
            let mut arguments = arguments.stream().into_iter();
            arguments.any(|token| is_word(&token, "async"))
        }
        _ => false,
    };
    if !is_punct(not, '!') || !awaits {
        return None;
    }
    // `a::b::name`: names and pairs of colons in turn.
    let continues = |before: &[TokenTree]| {
        matches!(before, [.., TokenTree::Ident(_), first, second]
            if is_punct(first, ':') && is_punct(second, ':'))
    };
    let mut len = 1;
    while continues(&path[..path.len() - len]) {
        len += 3;
    }
    let start = path.len() - len;
    match &path[..start] {
        [.., first, second] if is_punct(first, ':') && is_punct(second, ':') => Some(start - 2),
        _ => Some(start),
    }
}

/// Whether there is a `pattern = future =>`.
fn assigns(arguments: TokenStream) -> bool {
    let mut previous = ' ';
    let mut tokens = arguments.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Punct(punct) = &token else {
            previous = ' ';
            continue;
        };
        let next = tokens.peek();
        let compares = next.is_some_and(|next| is_punct(next, '>') || is_punct(next, '='));
        if punct.as_char() == '=' && !compares && !"=<>!".contains(previous) {
            return true;
        }
        previous = punct.as_char();
    }
    false
}

/// Whether the tokens leave what is around them.
fn leaves(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let leaves = match &token {
            TokenTree::Ident(word) => {
                if word.to_string() == "async" {
                    let after = tokens.find(|token| is_group(token, Delimiter::Brace));
                    drop(after);
                }
                ["return", "break", "continue"].contains(&word.to_string().as_str())
            }
            TokenTree::Punct(punct) => punct.as_char() == '?',
            TokenTree::Group(group) => leaves(group.stream()),
            TokenTree::Literal(_) => false,
        };
        if leaves {
            return true;
        }
    }
    false
}
