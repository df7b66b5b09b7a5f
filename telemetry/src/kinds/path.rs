//! Paths without what tells one request from another.

use super::class::Text;

/// The path of a URI: without scheme, authority, query and fragment.
pub(super) fn of_uri(uri: &str) -> &str {
    let rest = match uri.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => uri,
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    match &rest[..end] {
        "" => "/",
        path => path,
    }
}

/// Puts a path, or a name, with `{id}` for each part that is no word.
pub(super) fn put_class<const N: usize>(path: &str, text: &mut Text<N>) {
    for (n, part) in path.split('/').enumerate() {
        if n > 0 {
            text.put("/");
        }
        // A name may have several words.
        for (n, word) in part.split(' ').enumerate() {
            if n > 0 {
                text.put(" ");
            }
            text.put(if is_id(word) { "{id}" } else { word });
        }
    }
}

/// Whether a part of a path looks like one of many: a number, a date, a UUID, a hash, an address. `v2`, `oauth2` and
/// `2fa` are words.
fn is_id(part: &str) -> bool {
    /// As many digits in a row are no part of a word.
    const DIGITS: usize = 3;
    // A route says so itself.
    if part.is_empty() || part.contains(['{', '<', '*']) || part.starts_with(':') {
        return false;
    }
    let bytes = part.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let longest_run = bytes
        .split(|byte| !byte.is_ascii_digit())
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0);
    let is_hex = || {
        // As a hash before what kind of file it is.
        let stem = part.split('.').next().unwrap_or(part);
        let is_of_it = |c: char| c.is_ascii_hexdigit() || c == '-';
        stem.len() >= 8 && stem.contains(|c: char| c.is_ascii_digit()) && stem.chars().all(is_of_it)
    };
    digits == bytes.len()
        || longest_run >= DIGITS
        || (digits > 1 && bytes.len() >= 16)
        || part.contains(['@', '%'])
        || is_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_one_of_many_is_an_id_and_words_are_none() {
        for id in [
            "1",
            "17",
            "2024-01-31",
            "order-12345",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "deadbee5",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "ann@shop.test",
            "a%20b",
            "Qm9va3MgYXJl1bmV2ZXI4",
            "3f9a1c77.js",
        ] {
            assert!(is_id(id), "{id}");
        }
        for word in [
            "",
            "books",
            "v1",
            "v2beta1",
            "oauth2",
            "2fa",
            "s3",
            "index.html",
            "feed",
            "cafe",
            "facade",
            "*",
            "{id}",
            ":id",
            "<id>",
            "{order_12345}",
            "really-long-but-still-a-word",
            "Orders.List",
        ] {
            assert!(!is_id(word), "{word}");
        }
    }

    #[test]
    fn a_uri_has_a_path_however_it_is_written() {
        for (uri, path) in [
            ("/a/b?c=d/e", "/a/b"),
            ("/a#b", "/a"),
            ("http://h/a?b", "/a"),
            ("https://h", "/"),
            ("", "/"),
            ("*", "*"),
            ("h:443", "h:443"),
            ("?a", "/"),
        ] {
            assert_eq!(of_uri(uri), path, "{uri}");
        }
    }
}
