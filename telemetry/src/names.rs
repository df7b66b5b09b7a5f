//! Names that a configuration gives to look for.

/// Why no span, boundary or field is named so, if that is certain enough to be an oversight.
pub(crate) fn check(name: &str) -> Result<(), String> {
    match name.trim() {
        "" => Err("it is empty".to_owned()),
        trimmed if trimmed != name => Err("there is a blank at its beginning or end".to_owned()),
        _ => Ok(()),
    }
}
