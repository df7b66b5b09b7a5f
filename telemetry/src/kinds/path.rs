//! Paths without what tells one request from another.

use super::text::Text;

// What a byte of a path is.
/// Ends a part.
const SEPARATOR: u8 = 1;
const DIGIT: u8 = 2;
/// A part with it is one of many: an address, or what was escaped.
const OF_MANY: u8 = 4;
/// A part with it is a route's own: `{id}`, `:id`, `<id>`, `*`.
const OF_A_ROUTE: u8 = 8;
/// What comes from here on is no part of the path.
const END: u8 = 16;

/// PERF: one look for each byte. Most parts are words, of which nothing more is asked.
static OF_BYTE: [u8; 256] = {
    let mut of_byte = [0; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        of_byte[digit as usize] = DIGIT;
        digit += 1;
    }
    of_byte[b'/' as usize] = SEPARATOR;
    // A name may have several words.
    of_byte[b' ' as usize] = SEPARATOR;
    of_byte[b'@' as usize] = OF_MANY;
    of_byte[b'%' as usize] = OF_MANY;
    of_byte[b'{' as usize] = OF_A_ROUTE;
    of_byte[b'<' as usize] = OF_A_ROUTE;
    of_byte[b'*' as usize] = OF_A_ROUTE;
    of_byte[b':' as usize] = OF_A_ROUTE;
    of_byte[b'?' as usize] = END;
    of_byte[b'#' as usize] = END;
    of_byte
};

/// The path of a URI, with what comes after it: without scheme and authority.
pub(super) fn of_uri(uri: &[u8]) -> &[u8] {
    // PERF: mostly there is none.
    if uri.first() == Some(&b'/') {
        return uri;
    }
    let rest = match uri.windows(3).position(|three| three == b"://") {
        Some(at) => {
            let rest = &uri[at + 3..];
            let path = rest.iter().position(|byte| *byte == b'/');
            path.map_or(&b"/"[..], |at| &rest[at..])
        }
        None => uri,
    };
    match rest.first() {
        None | Some(b'?' | b'#') => b"/",
        Some(_) => rest,
    }
}

/// Puts a path up to its end, or a name, with `{id}` for each part that is no word.
pub(super) fn put_class<const N: usize>(path: &[u8], text: &mut Text<N>) {
    let (mut start, mut has) = (0, 0);
    for (at, byte) in path.iter().enumerate() {
        let is = OF_BYTE[usize::from(*byte)];
        if is & (SEPARATOR | END) == 0 {
            has |= is;
            continue;
        }
        put_part(&path[start..at], has, text);
        if is == END {
            return;
        }
        text.put(&[*byte]);
        (start, has) = (at + 1, 0);
    }
    put_part(&path[start..], has, text);
}

#[inline]
fn put_part<const N: usize>(part: &[u8], has: u8, text: &mut Text<N>) {
    let is_word = has & (DIGIT | OF_MANY) == 0 || !is_id(part, has);
    text.put(if is_word { part } else { b"{id}" });
}

/// Whether a part of a path looks like one of many: a number, a date, a UUID, a hash, an address. `v2`, `oauth2` and
/// `2fa` are words.
fn is_id(part: &[u8], has: u8) -> bool {
    /// As many digits in a row are no part of a word.
    const DIGITS: usize = 3;
    if has & (OF_A_ROUTE | OF_MANY) != 0 {
        return has & OF_A_ROUTE == 0;
    }
    let (mut digits, mut run, mut longest_run) = (0, 0, 0);
    // As a hash before what kind of file it is.
    let (mut stem, mut stem_digits, mut stem_is_hex) = (None, 0, true);
    for (at, byte) in part.iter().enumerate() {
        let is_digit = byte.is_ascii_digit();
        run = if is_digit { run + 1 } else { 0 };
        longest_run = longest_run.max(run);
        digits += usize::from(is_digit);
        if *byte == b'.' && stem.is_none() {
            (stem, stem_digits) = (Some(at), digits);
        }
        stem_is_hex &= stem.is_some() || byte.is_ascii_hexdigit() || *byte == b'-';
    }
    let stem = stem.unwrap_or_else(|| {
        stem_digits = digits;
        part.len()
    });
    digits == part.len()
        || longest_run >= DIGITS
        || (digits > 1 && part.len() >= 16)
        || (stem >= 8 && stem_digits > 0 && stem_is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(path: &str) -> String {
        let mut text = Text::<200>::new();
        put_class(path.as_bytes(), &mut text);
        text.as_str().to_owned()
    }

    #[test]
    fn what_looks_like_one_of_many_is_an_id_and_words_are_none() {
        for id in [
            "1",
            "17",
            "2024-01-31",
            "order-12345",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "deadbee5",
            "dead-be1f",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "ann@shop.test",
            "a%20b",
            "Qm9va3MgYXJl1bmV2ZXI4",
            "3f9a1c77.js",
        ] {
            assert_eq!(class_of(id), "{id}", "{id}");
        }
        for word in [
            "",
            "books",
            "v1",
            "v2beta1",
            "oauth2",
            "checkout2",
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
            assert_eq!(class_of(word), word);
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
            let of = String::from_utf8(of_uri(uri.as_bytes()).to_vec()).unwrap();
            assert_eq!(class_of(&of), path, "{uri}");
        }
    }
}
