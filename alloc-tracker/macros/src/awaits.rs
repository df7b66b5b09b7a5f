//! The awaits of a budget's work: `x.await` becomes `x.__in_budget(&guard).await`.
//!
//! As the end of an expression it needs no look at where the expression begins. Awaits in futures,
//! closures and functions that the work defines are theirs.

use crate::Error;
use crate::template::{Hole, fill};
use crate::tokens::{is_group, is_punct, is_word, up_to_comma};
use proc_macro::{Delimiter, Group, Punct, Spacing, TokenStream, TokenTree};
use std::iter::Peekable;

/// The work, and whether it awaits.
pub(crate) fn in_budget(
    work: Vec<TokenTree>,
    krate: &TokenStream,
) -> Result<(TokenStream, bool), Error> {
    let mut rewriting = Rewriting {
        krate,
        awaits: false,
        in_macro: false,
    };
    let work = rewriting.level(work)?;
    Ok((work.into_iter().collect(), rewriting.awaits))
}

struct Rewriting<'work> {
    /// The path of the library.
    krate: &'work TokenStream,
    awaits: bool,
    /// The tokens are a macro's, which may make a future of its own of them.
    in_macro: bool,
}

impl Rewriting<'_> {
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
                done.extend(fill(self.in_budget(), &[]));
                done.push(token);
                continue;
            }
            let TokenTree::Group(group) = &token else {
                done.push(token);
                continue;
            };
            if let Some((start, awaiting)) = macro_that_awaits(&done, group) {
                let is_statement = is_group(&token, Delimiter::Brace)
                    && start.checked_sub(1).is_none_or(|at| {
                        is_punct(&done[at], ';') || is_group(&done[at], Delimiter::Brace)
                    })
                    && tokens.peek().is_some_and(|next| {
                        !matches!(next, TokenTree::Punct(next) if ".;?,".contains(next.as_char()))
                    });
                let name: Vec<TokenTree> = done.drain(start..).collect();
                done.extend(self.awaited_by_a_macro(name, group, awaiting)?);
                if is_statement {
                    // With braces it needs none, and what it becomes does.
                    done.push(Punct::new(';', Spacing::Alone).into());
                }
                continue;
            }
            let was_in_macro = self.in_macro;
            self.in_macro |= is_macro_of_others(&done);
            let inside = self.level(group.stream().into_iter().collect())?;
            self.in_macro = was_in_macro;
            let mut inside = Group::new(group.delimiter(), inside.into_iter().collect());
            inside.set_span(group.span());
            done.push(inside.into());
        }
        Ok(done)
    }

    fn in_budget(&self) -> &'static str {
        if self.in_macro {
            "__in_budget_at_work()."
        } else {
            "__in_budget(&guard)."
        }
    }

    /// The call of a macro that awaits out of sight.
    fn awaited_by_a_macro(
        &mut self,
        name: Vec<TokenTree>,
        arguments: &Group,
        awaiting: Awaiting,
    ) -> Result<TokenStream, Error> {
        self.awaits = true;
        let name = ("name", name.into_iter().collect());
        let arguments_span = arguments.span();
        let with = |arguments: TokenStream, delimiter| {
            let mut group = Group::new(delimiter, arguments);
            group.set_span(arguments_span);
            ("arguments", TokenStream::from(TokenTree::from(group)))
        };
        let krate = ("krate", self.krate.clone());
        if let Awaiting::Futures(split) = awaiting {
            let parts = self.level(arguments.stream().into_iter().collect())?;
            let parts = with(split(self.krate, parts), arguments.delimiter());
            return Ok(fill(
                "(match #krate::__budget::Together::default() { together => #name #arguments })",
                &[krate, name, parts],
            ));
        }
        if let Awaiting::Selected = awaiting {
            return self.selected(name, arguments);
        }
        let arguments = with(arguments.stream(), arguments.delimiter());
        let code = format!("(async {{ #name #arguments }}).{}await", self.in_budget());
        Ok(fill(&code, &[name, arguments]))
    }

    /// A `select!` that asks its futures whether they have ended, so that they must stay as they are: it
    /// chooses in a future of its own, and what is done with the value is done outside of that, where it
    /// may assign and leave.
    fn selected(&mut self, name: Hole, arguments: &Group) -> Result<TokenStream, Error> {
        let mut choices = TokenStream::new();
        let mut handlers = TokenStream::new();
        let mut types = TokenStream::new();
        let mut variants = TokenStream::new();
        for (number, arm) in arms(arguments.stream()).into_iter().enumerate() {
            let handler = self.level(arm.handler)?.into_iter().collect();
            let [choice, handled] = match arm.pattern {
                Some(_) => [
                    "value = #awaited => Chosen::V(value),",
                    "Chosen::V(#pattern) => #handler,",
                ],
                None => ["#awaited => Chosen::V(()),", "Chosen::V(()) => #handler,"],
            };
            let numbered = |code: &str| code.replace("Chosen::V", &format!("{CHOSEN}::V{number}"));
            if let Some(place) = arm.awaited.first().filter(|_| leaves_in(&arm.awaited)) {
                return Err(Error::new(
                    place.span(),
                    "this macro awaits out of sight, and its future leaves the budget's work by \
                     `return`, `?` or `break`: write the work as a future of its own, \
                     `assert_budget!(.., async { .. })`",
                ));
            }
            let holes = [
                ("awaited", arm.awaited.into_iter().collect()),
                (
                    "pattern",
                    arm.pattern.unwrap_or_default().into_iter().collect(),
                ),
                ("handler", handler),
            ];
            choices.extend(fill(&numbered(choice), &holes));
            handlers.extend(fill(&numbered(handled), &holes));
            types.extend(fill(&format!("T{number},"), &[]));
            variants.extend(fill(&format!("V{number}(T{number}),"), &[]));
        }
        let mut group = Group::new(arguments.delimiter(), choices);
        group.set_span(arguments.span());
        let holes = [
            name,
            ("choices", TokenTree::from(group).into()),
            ("handlers", handlers),
            ("types", types),
            ("variants", variants),
        ];
        let code = format!(
            "({{
                enum {CHOSEN}<#types> {{ #variants }}
                match (async {{ #name #choices }}).{}await {{ #handlers }}
            }})",
            self.in_budget(),
        );
        Ok(fill(&code, &holes))
    }
}

/// Which future was ready first. The user's code stands where it is known.
const CHOSEN: &str = "__AllocTrackerChosen";

/// `pattern = future => handler`, or a word for the future and no pattern.
struct Arm {
    pattern: Option<Vec<TokenTree>>,
    awaited: Vec<TokenTree>,
    handler: Vec<TokenTree>,
}

fn arms(arguments: TokenStream) -> Vec<Arm> {
    let mut tokens = arguments.into_iter().peekable();
    let mut arms = Vec::new();
    while tokens.peek().is_some() {
        let mut pattern = None;
        let mut awaited = Vec::new();
        let mut previous = ' ';
        while let Some(token) = tokens.next() {
            if is_punct(&token, '=') && tokens.next_if(|next| is_punct(next, '>')).is_some() {
                break;
            }
            let begins = pattern.is_none() && assigns_here(previous, &token, tokens.peek());
            previous = as_char(&token);
            if begins {
                pattern = Some(std::mem::take(&mut awaited));
            } else {
                awaited.push(token);
            }
        }
        let handler = handler(&mut tokens);
        arms.push(Arm {
            pattern,
            awaited,
            handler,
        });
    }
    arms
}

/// With braces it needs no comma after it.
fn handler(tokens: &mut Peekable<impl Iterator<Item = TokenTree>>) -> Vec<TokenTree> {
    let block = tokens.next_if(|token| is_group(token, Delimiter::Brace));
    let goes_on = |next: &TokenTree| is_punct(next, '.') || is_punct(next, '?');
    let ends = block.is_some() && !tokens.peek().is_some_and(goes_on);
    let mut handler: Vec<TokenTree> = block.into_iter().collect();
    if ends {
        tokens.next_if(|token| is_punct(token, ','));
    } else {
        handler.extend(up_to_comma(tokens));
    }
    handler
}

fn leaves_in(tokens: &[TokenTree]) -> bool {
    leaves(tokens.iter().cloned().collect())
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

/// Before its arguments. (After `return !` it is said wrongly, which does no harm.)
fn is_macro_of_others(before: &[TokenTree]) -> bool {
    let [.., TokenTree::Ident(name), not] = before else {
        return false;
    };
    // A budget in the budget runs in its place.
    let is_budget = |name: &str| matches!(name, "assert_budget" | "assert_no_alloc");
    is_punct(not, '!') && !is_budget(&name.to_string())
}

/// How the futures of a macro are to be awaited in the budget.
#[derive(Clone, Copy)]
enum Awaiting {
    /// Each by itself, by what rewrites the arguments.
    Futures(fn(&TokenStream, Vec<TokenTree>) -> TokenStream),
    /// All of it as a future of its own.
    Whole,
    /// The futures so, and not what is done with their values.
    Selected,
}

/// Macros of the usual libraries that await what they are given, and where their path begins.
fn macro_that_awaits(before: &[TokenTree], arguments: &Group) -> Option<(usize, Awaiting)> {
    let [path @ .., not] = before else {
        return None;
    };
    if !is_punct(not, '!') {
        return None;
    }
    let start = start_of_path(path)?;
    // That of `futures` asks its futures whether they have ended, and that of Tokio has no such name.
    let may_be_fused = || match &path[start..] {
        [_] => !leaves(arguments.stream()) && !handlers_assign(arguments.stream()),
        path => path
            .iter()
            .any(|name| name.to_string().starts_with("futures")),
    };
    let awaiting = match path.last()?.to_string().as_str() {
        "join" | "try_join" => Awaiting::Futures(futures_of_join),
        "select_biased" => Awaiting::Selected,
        // Of crossbeam there is one that does not await: `recv(r) -> message => ..`.
        "select" if !has_futures(arguments.stream()) => return None,
        "select" if may_be_fused() => Awaiting::Selected,
        "select" => Awaiting::Futures(futures_of_select),
        // A budget in the budget, of a future of its own.
        "assert_budget" | "assert_no_alloc" => {
            let mut arguments = arguments.stream().into_iter();
            arguments.find(|token| is_word(token, "async"))?;
            Awaiting::Whole
        }
        _ => return None,
    };
    Some((start, awaiting))
}

/// Of `.. a::b::name`: names and pairs of colons in turn.
fn start_of_path(path: &[TokenTree]) -> Option<usize> {
    path.last()?;
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

/// `join!(a, b)`
fn futures_of_join(krate: &TokenStream, arguments: Vec<TokenTree>) -> TokenStream {
    let mut tokens = arguments.into_iter().peekable();
    let mut done = biased(&mut tokens);
    while tokens.peek().is_some() {
        done.extend(part(krate, up_to_comma(&mut tokens)));
        if tokens.peek().is_some() {
            done.extend(fill(",", &[]));
        }
    }
    done
}

/// `select! { pattern = future, if condition => handler, .. }`
fn futures_of_select(krate: &TokenStream, arguments: Vec<TokenTree>) -> TokenStream {
    let mut tokens = arguments.into_iter().peekable();
    let mut done = biased(&mut tokens);
    while tokens.peek().is_some() {
        let mut arm = Vec::new();
        let mut future = None;
        let mut previous = ' ';
        while let Some(token) = tokens.next() {
            let next = tokens.peek();
            let arrow = is_punct(&token, '=') && next.is_some_and(|next| is_punct(next, '>'));
            let condition = is_punct(&token, ',') && next.is_some_and(|next| is_word(next, "if"));
            if arrow || condition {
                let future: Option<Vec<TokenTree>> = future.take().map(|at| arm.split_off(at));
                arm.extend(future.map_or_else(TokenStream::new, |tokens| part(krate, tokens)));
            }
            let begins = future.is_none() && assigns_here(previous, &token, next);
            previous = as_char(&token);
            arm.push(token);
            if arrow {
                break;
            }
            if begins {
                future = Some(arm.len());
            }
        }
        done.extend(arm);
        done.extend(tokens.next());
        let block = tokens.next_if(|token| is_group(token, Delimiter::Brace));
        let ends = block.is_some() && tokens.peek().is_none_or(|next| !is_punct(next, '.'));
        done.extend(block);
        if ends {
            done.extend(tokens.next_if(|token| is_punct(token, ',')));
        } else {
            done.extend(up_to_comma(&mut tokens));
            done.extend(fill(",", &[]));
        }
    }
    done
}

/// The `biased;` that may come first.
fn biased(tokens: &mut Peekable<impl Iterator<Item = TokenTree>>) -> TokenStream {
    let word = tokens.next_if(|token| is_word(token, "biased"));
    let end = tokens.next_if(|token| word.is_some() && is_punct(token, ';'));
    word.into_iter().chain(end).collect()
}

/// One of the futures. By its type, for a macro of that name need not await; a literal for sure is none.
fn part(krate: &TokenStream, future: Vec<TokenTree>) -> TokenStream {
    if let [TokenTree::Literal(_)] = future.as_slice() {
        return future.into_iter().collect();
    }
    let future = future.into_iter().collect();
    fill(
        "match (#future) {
            future => {
                use #krate::__budget::{IsAwaited as _, IsNotAwaited as _};
                (&&#krate::__budget::Returned::as_of(&future)).kind().part(future, &together)
            }
        }",
        &[("krate", krate.clone()), ("future", future)],
    )
}

/// Whether there is a `pattern = future =>`.
fn has_futures(arguments: TokenStream) -> bool {
    let mut previous = ' ';
    let mut tokens = arguments.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if assigns_here(previous, &token, tokens.peek()) {
            return true;
        }
        previous = as_char(&token);
    }
    false
}

/// Whether this is the `=` of an assignment, and no part of another sign.
fn assigns_here(previous: char, token: &TokenTree, next: Option<&TokenTree>) -> bool {
    let compares = next.is_some_and(|next| is_punct(next, '>') || is_punct(next, '='));
    is_punct(token, '=') && !compares && !"=<>!.+-*/%&|^".contains(previous)
}

/// ` ` for what is no sign.
fn as_char(token: &TokenTree) -> char {
    match token {
        TokenTree::Punct(punct) => punct.as_char(),
        _ => ' ',
    }
}

/// Of a `select!`, whose own `=` are none.
fn handlers_assign(arguments: TokenStream) -> bool {
    arguments.into_iter().any(|token| match token {
        TokenTree::Group(group) => assigns(group.stream()),
        _ => false,
    })
}

/// Whether the tokens, in whatever depth, assign to what they did not declare.
fn assigns(tokens: TokenStream) -> bool {
    let mut previous = ' ';
    let mut declares = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        declares |= is_word(&token, "let");
        let assigns = match &token {
            TokenTree::Group(group) => assigns(group.stream()),
            token if assigns_here(previous, token, tokens.peek()) => !std::mem::take(&mut declares),
            _ => false,
        };
        if assigns {
            return true;
        }
        previous = as_char(&token);
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
