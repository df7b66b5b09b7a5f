//! Targets as people write them.

/// Why nothing can have this target, nor a module be meant by it.
pub(crate) fn check(target: &str) -> Result<(), String> {
    // The name of a module that is a word of the language is written so by `module_path!`, too.
    let plain = target.replace("::r#", "::");
    for c in plain.chars() {
        let why = match c {
            '[' | ']' | '{' | '}' => {
                "a target has no brackets: spans and fields are no part of it".to_owned()
            }
            '*' | '?' => {
                let module = target.trim_end_matches(['*', ':', '?', '.']);
                match module {
                    "" => "there are no wildcards: leave it away for all targets".to_owned(),
                    _ => {
                        format!("a target has what is inside it, without wildcards: write {module}")
                    }
                }
            }
            '"' | '\'' | '`' => "leave the quotes away".to_owned(),
            '_' | '-' | ':' | '.' | '/' | '@' => continue,
            c if c.is_alphanumeric() => continue,
            c => format!("{c:?} is in no target; parts of a list are parted by commas"),
        };
        return Err(why);
    }
    if let Some(rest) = target.strip_prefix(':') {
        let name = rest.trim_start_matches(':');
        return Err(format!("a target begins with its crate: write {name}"));
    }
    if module_path(target).contains("::::") {
        return Err("a module without a name is in it; write `::` between two".to_owned());
    }
    match target.split(':').next() {
        Some("") => Err("it is empty".to_owned()),
        Some(word @ ("crate" | "self" | "super")) => Err(format!(
            "a target begins with the name of its crate, not with `{word}`"
        )),
        _ if !plain.chars().any(char::is_alphanumeric) => Err("there is no name in it".to_owned()),
        _ => Ok(()),
    }
}

/// The module that is meant by a target which, as it is written, can be none: the crate of the package
/// `my-shop` is `my_shop`, and `shop.http` is `shop::http`.
pub(crate) fn module_path(target: &str) -> String {
    let joined = target.replace("::", "\n").replace([':', '.', '/'], "\n");
    joined.replace('\n', "::").replace('-', "_")
}
