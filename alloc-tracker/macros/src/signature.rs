//! What the attribute must know of a function.

use crate::Error;
use crate::template::fill;
use crate::tokens::{flat, is_group, is_punct, is_word, peel, without_last};
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// A function with a body.
pub(crate) struct Function {
    /// Everything before the body.
    head: Vec<TokenTree>,
    /// Where in it the parameters are.
    parameters: Option<usize>,
    pub(crate) is_async: bool,
    pub(crate) returns: Returns,
    pub(crate) returns_span: Span,
    /// The `#![..]` at the top of the body.
    pub(crate) inner_attributes: TokenStream,
    /// What is in the braces, but for those.
    pub(crate) body: TokenStream,
    pub(crate) body_span: Span,
}

/// The type of the value.
pub(crate) enum Returns {
    Nothing,
    Never,
    Named(TokenStream),
    /// `Pin<Box<dyn Future<..>>>`, or an alias of it that everybody knows.
    BoxedFuture(TokenStream),
    /// `impl Future<..>`
    ImplFuture,
    /// With an `impl` in it, for which `_` stands here.
    Unnamed(TokenStream),
}

impl Function {
    pub(crate) fn parse(item: TokenStream) -> Result<Self, Error> {
        let mut tokens = peel(item.into_iter().collect());
        let end = tokens.last().map_or(Span::call_site(), TokenTree::span);
        let Some(body) = tokens.pop().as_ref().and_then(body_of) else {
            return Err(Error::new(end, "a budget is for a function with a body"));
        };
        let is_fn = |pair: &[TokenTree]| {
            is_word(&pair[0], "fn") && matches!(flat(pair[1..].to_vec())[..], [TokenTree::Ident(_)])
        };
        let Some(keyword) = tokens.windows(2).position(is_fn) else {
            let span = tokens.first().map_or(Span::call_site(), TokenTree::span);
            return Err(Error::new(span, "a budget is for a function"));
        };
        let (before, signature) = tokens.split_at(keyword);
        if let Some(word) = before.iter().find(|token| is_word(token, "const")) {
            let message = "a `const fn` cannot have a budget: it may run in the compiler";
            return Err(Error::new(word.span(), message));
        }
        let content: Vec<TokenTree> = body.stream().into_iter().collect();
        refuse_what_makes_more_than_the_body(signature, &content)?;
        let attributes = inner_attributes(&content);
        let parameters = parameters(signature);
        let returns = return_type(signature, parameters);
        Ok(Function {
            is_async: before.iter().any(|token| is_word(token, "async")),
            returns: Returns::of(returns)?,
            returns_span: returns.first().map_or(Span::call_site(), TokenTree::span),
            inner_attributes: item_of(&content[..attributes]),
            body: item_of(&content[attributes..]),
            body_span: body.span(),
            parameters: parameters.map(|at| keyword + at),
            head: tokens,
        })
    }

    pub(crate) fn head(&self) -> TokenStream {
        item_of(&self.head)
    }

    /// Whether an attribute before the function names it.
    pub(crate) fn is_marked(&self, name: &str) -> bool {
        self.attributes()
            .any(|content| flat(content).iter().any(|token| is_word(token, name)))
    }

    fn attributes(&self) -> impl Iterator<Item = TokenStream> + '_ {
        self.head.windows(2).filter_map(|pair| match &pair[1] {
            TokenTree::Group(list) if is_punct(&pair[0], '#') => Some(list.stream()),
            _ => None,
        })
    }

    /// The head, and statements that move every argument into the block or the closure that they stand
    /// first in, where they are dropped in the order in which the function would drop them.
    pub(crate) fn moving_arguments(&self) -> (TokenStream, TokenStream) {
        let mut head = self.head.clone();
        let mut moves = TokenStream::new();
        if let Some(TokenTree::Group(group)) = self.parameters.map(|at| &mut head[at]) {
            let renames = !self.attributes().any(may_look_at_parameters);
            let mut parameters = TokenStream::new();
            for (number, parameter) in split(group.stream()).into_iter().enumerate() {
                let (parameter, moved) = parameter_and_move(number, parameter, renames);
                parameters.extend(parameter);
                moves.extend(moved);
            }
            let mut changed = Group::new(group.delimiter(), parameters);
            changed.set_span(group.span());
            *group = changed;
        }
        (item_of(&head), moves)
    }
}

/// Whether it may be a macro's, which reads the parameters' names and patterns.
fn may_look_at_parameters(attribute: TokenStream) -> bool {
    const BUILT_IN: [&str; 16] = [
        "allow",
        "cfg",
        "cfg_attr",
        "cold",
        "deny",
        "deprecated",
        "doc",
        "expect",
        "forbid",
        "inline",
        "must_use",
        "no_mangle",
        "target_feature",
        "track_caller",
        "unsafe",
        "warn",
    ];
    let name = attribute.into_iter().next();
    !name.is_some_and(|name| BUILT_IN.contains(&name.to_string().as_str()))
}

/// At the commas, which stay.
fn split(parameters: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut depth = Depth::default();
    let mut all = vec![Vec::new()];
    for token in parameters {
        depth.pass(&token);
        let ends = depth.open == 0 && is_punct(&token, ',');
        if let Some(last) = all.last_mut() {
            last.push(token);
        }
        if ends {
            all.push(Vec::new());
        }
    }
    all
}

/// What becomes of the parameter of this number, and the statements that move its argument.
///
/// A name stays, for documentation, and what has none gets one. `renames`: it may lose its pattern.
fn parameter_and_move(
    number: usize,
    parameter: Vec<TokenTree>,
    renames: bool,
) -> (TokenStream, TokenStream) {
    let attributes = attributes_before(&parameter);
    let (attributes, rest) = parameter.split_at(attributes);
    let colon = (0..rest.len()).find(|&at| {
        let colon = |at: usize| rest.get(at).is_some_and(|token| is_punct(token, ':'));
        colon(at) && !colon(at + 1) && !at.checked_sub(1).is_some_and(colon)
    });
    let (pattern, of_type) = rest.split_at(colon.unwrap_or(rest.len()));
    let seen = flat(without_last(pattern.to_vec(), ','));
    let as_it_is = |moves| (item_of(&parameter), moves);
    let named = |name: String| TokenTree::from(Ident::new(&name, Span::mixed_site()));
    let (name, code) = match seen.as_slice() {
        // It cannot be moved to another name. What captures it whole drops it last, as the first one.
        [.., this] if is_word(this, "self") => {
            let is_lent = seen.iter().any(|token| is_punct(token, '&'));
            let code = if is_lent { "" } else { "let _ = &#this;" };
            return as_it_is(fill(code, &[("this", this.clone().into())]));
        }
        [] => return as_it_is(TokenStream::new()),
        // What begins so is not to be used, and a lint watches over that, but in what a macro writes.
        [name @ TokenTree::Ident(_)] if renames && is_underscored(name) && !is_word(name, "_") => {
            (named(name.to_string()), "#attributes let #pattern = #name;")
        }
        [name @ TokenTree::Ident(_)] if !is_word(name, "_") => {
            (name.clone(), "#attributes let #pattern = #name;")
        }
        _ if !renames => return as_it_is(TokenStream::new()),
        [word, name @ TokenTree::Ident(_)] if is_word(word, "mut") => {
            (name.clone(), "#attributes let #pattern = #name;")
        }
        // What a pattern leaves is dropped after what it binds.
        seen => (
            named(format!("argument_{number}")),
            match seen {
                [word] if is_word(word, "_") => "#conditions let #kept = #name;",
                _ => "#conditions let #kept = #name; #attributes let #pattern = #kept;",
            },
        ),
    };
    let conditions = attributes_named(attributes, &["cfg"]);
    let with_lints = [
        "cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid",
    ];
    let holes = [
        ("conditions", conditions.clone()),
        ("attributes", attributes_named(attributes, &with_lints)),
        ("pattern", item_of(pattern)),
        ("name", name.clone().into()),
        ("kept", named(format!("_kept_{number}")).into()),
    ];
    let moves = fill(code, &holes);
    if !renames {
        return as_it_is(moves);
    }
    let mut renamed = conditions;
    renamed.extend([name]);
    renamed.extend(of_type.iter().cloned());
    (renamed, moves)
}

fn is_underscored(name: &TokenTree) -> bool {
    name.to_string().starts_with('_')
}

/// How many tokens the `#[..]` are.
fn attributes_before(parameter: &[TokenTree]) -> usize {
    let is_attribute = |pair: &&[TokenTree]| matches!(pair, [hash, list] if is_punct(hash, '#') && is_group(list, Delimiter::Bracket));
    2 * parameter.chunks(2).take_while(is_attribute).count()
}

fn attributes_named(attributes: &[TokenTree], names: &[&str]) -> TokenStream {
    let is_named = |pair: &&[TokenTree]| match &pair[1] {
        TokenTree::Group(list) => {
            let name = list.stream().into_iter().next();
            name.is_some_and(|name| names.contains(&name.to_string().as_str()))
        }
        _ => false,
    };
    let named = attributes.chunks(2).filter(is_named);
    named.flatten().cloned().collect()
}

fn item_of(tokens: &[TokenTree]) -> TokenStream {
    tokens.iter().cloned().collect()
}

/// A macro's `$body:block` is in an invisible group.
fn body_of(token: &TokenTree) -> Option<Group> {
    match peel(vec![token.clone()]).as_slice() {
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::Brace => Some(group.clone()),
        _ => None,
    }
}

/// Test frameworks that make another function of the user's: fixtures, runs of it.
fn refuse_what_makes_more_than_the_body(
    signature: &[TokenTree],
    body: &[TokenTree],
) -> Result<(), Error> {
    // What the keyword was written by: where an attribute made the function, the attribute.
    let keyword = signature[0].span().source_text();
    let made_by = match &keyword {
        Some(text) if text.starts_with('#') => text,
        Some(_) => "",
        None => "#",
    };
    let contains_itself = body
        .windows(2)
        .take(4)
        .any(|pair| is_word(&pair[0], "fn") && pair[1].to_string() == signature[1].to_string());
    if made_by.contains("rstest") || !made_by.is_empty() && contains_itself {
        let message = "`#[rstest]` has its fixtures made in this function, which would be counted: \
                       write the budget above `#[rstest]`";
        return Err(Error::new(Span::call_site(), message));
    }
    if flat(body.to_vec())
        .iter()
        .any(|token| is_word(token, "proptest_helper"))
    {
        let message = "`proptest!` runs its body many times in this function, and what it does itself \
                       would be counted: write `assert_budget!` in the body";
        return Err(Error::new(Span::call_site(), message));
    }
    Ok(())
}

/// How many tokens the leading `#![..]` are.
fn inner_attributes(body: &[TokenTree]) -> usize {
    let is_attribute = |tokens: &&[TokenTree]| {
        matches!(tokens, [hash, not, list] if is_punct(hash, '#') && is_punct(not, '!')
            && is_group(list, Delimiter::Bracket))
    };
    3 * body.chunks(3).take_while(is_attribute).count()
}

fn parameters(signature: &[TokenTree]) -> Option<usize> {
    let mut depth = Depth::default();
    signature.iter().position(|token| {
        depth.pass(token);
        depth.open == 0 && is_group(token, Delimiter::Parenthesis)
    })
}

/// What stands between the `->` after the parameters and `where` or the end.
fn return_type(signature: &[TokenTree], parameters: Option<usize>) -> &[TokenTree] {
    let rest = parameters.map_or(&[][..], |at| &signature[at + 1..]);
    let [minus, greater, returns @ ..] = rest else {
        return &[];
    };
    if !is_punct(minus, '-') || !is_punct(greater, '>') {
        return &[];
    }
    let end = returns.iter().position(|token| is_word(token, "where"));
    &returns[..end.unwrap_or(returns.len())]
}

/// How many angle brackets are open; the `>` of an arrow closes none.
#[derive(Default)]
struct Depth {
    open: i32,
    after_minus: bool,
}

impl Depth {
    fn pass(&mut self, token: &TokenTree) {
        if is_punct(token, '<') {
            self.open += 1;
        } else if is_punct(token, '>') && !self.after_minus {
            self.open -= 1;
        }
        self.after_minus = is_punct(token, '-');
    }
}

impl Returns {
    fn of(tokens: &[TokenTree]) -> Result<Self, Error> {
        let seen = flat(tokens.iter().cloned());
        Ok(match seen.as_slice() {
            [] => Returns::Nothing,
            [never] if is_punct(never, '!') => Returns::Never,
            [word, bounds @ ..] if is_word(word, "impl") => match future_among(bounds) {
                Some(name) if name == "Future" => Returns::ImplFuture,
                Some(name) => return Err(unseen_future(&name, word)),
                None => Returns::Unnamed(without_impl(tokens)),
            },
            _ if has_impl(&seen) => {
                refuse_futures_inside(&seen)?;
                Returns::Unnamed(without_impl(tokens))
            }
            _ if is_boxed_future(&seen) => Returns::BoxedFuture(item_of(tokens)),
            _ => Returns::Named(item_of(tokens)),
        })
    }
}

/// The first of the traits that is a future's by its name. Others are found by the type of what is returned.
fn future_among(bounds: &[TokenTree]) -> Option<String> {
    let mut traits = traits(bounds).into_iter();
    traits.find(|name| matches!(name.as_str(), "Future" | "IntoFuture"))
}

fn has_impl(tokens: &[TokenTree]) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Group(group) => has_impl(&flat(group.stream())),
        token => is_word(token, "impl"),
    })
}

fn refuse_futures_inside(tokens: &[TokenTree]) -> Result<(), Error> {
    tokens
        .iter()
        .enumerate()
        .try_for_each(|(at, token)| match token {
            TokenTree::Group(group) => refuse_futures_inside(&flat(group.stream())),
            word if is_word(word, "impl") => match future_among(&tokens[at + 1..]) {
                Some(name) => Err(unseen_future(&name, word)),
                None => Ok(()),
            },
            _ => Ok(()),
        })
}

fn unseen_future(name: &str, word: &TokenTree) -> Error {
    let message = format!(
        "a budget cannot follow this `{name}`: write an `async fn`, or `-> impl Future<Output = ..>`"
    );
    Error::new(word.span(), message)
}

/// The last names of the traits in `A + b::C<D> + 'e`, up to where the brackets around it close.
fn traits(bounds: &[TokenTree]) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut depth = Depth::default();
    // What `Fn(..)` takes and returns is no name of its own.
    let mut is_named = false;
    for token in bounds {
        depth.pass(token);
        match token {
            _ if depth.open < 0 => break,
            TokenTree::Punct(plus) if depth.open == 0 && plus.as_char() == '+' => {
                names.push(String::new());
                is_named = false;
            }
            TokenTree::Group(_) => is_named = true,
            TokenTree::Punct(comma) if depth.open == 0 && comma.as_char() == ',' => break,
            TokenTree::Ident(name) if depth.open == 0 && !is_named => {
                if let Some(last) = names.last_mut() {
                    *last = name.to_string();
                }
            }
            _ => {}
        }
    }
    names
}

fn is_boxed_future(seen: &[TokenTree]) -> bool {
    let is_path = |token: &TokenTree| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':');
    let path = |from: usize| {
        let rest = seen.get(from..).unwrap_or_default();
        let len = rest.iter().take_while(|token| is_path(token)).count();
        let opens = rest.get(len).is_some_and(|token| is_punct(token, '<'));
        let name = rest[..len].last().map(ToString::to_string);
        (name.unwrap_or_default(), opens, from + len + 1)
    };
    let (outer, outer_opens, inside) = path(0);
    if matches!(outer.as_str(), "BoxFuture" | "LocalBoxFuture") {
        return true;
    }
    let (inner, inner_opens, content) = path(inside);
    let is_dyn = seen.get(content).is_some_and(|token| is_word(token, "dyn"));
    outer_opens && inner_opens && outer == "Pin" && inner == "Box" && is_dyn && {
        future_among(&seen[content + 1..]).is_some_and(|name| name == "Future")
    }
}

/// The type with `_` for each `impl Trait`.
fn without_impl(tokens: &[TokenTree]) -> TokenStream {
    let mut erased = TokenStream::new();
    let mut tokens = tokens.iter().peekable();
    while let Some(token) = tokens.next() {
        if let TokenTree::Group(group) = token {
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut inside = Group::new(group.delimiter(), without_impl(&inside));
            inside.set_span(group.span());
            erased.extend([TokenTree::from(inside)]);
            continue;
        }
        if !is_word(token, "impl") {
            erased.extend([token.clone()]);
            continue;
        }
        erased.extend([TokenTree::from(Ident::new("_", token.span()))]);
        let mut depth = Depth::default();
        while let Some(next) = tokens.peek() {
            let ends = depth.open == 0
                && (is_punct(next, ',') || is_punct(next, '>') && !depth.after_minus);
            if ends {
                break;
            }
            depth.pass(next);
            tokens.next();
        }
    }
    erased
}
