//! Text of bounded length, in place.

use std::fmt;

/// A text of at most so many bytes. What does not fit is cut.
///
/// PERF: bytes, which are compared and copied as such for every unit; that they are UTF-8 is only asked for a class that
/// was not there.
#[derive(Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    pub(super) len: usize,
    is_full: bool,
}

impl<const N: usize> Text<N> {
    pub(super) const fn new() -> Self {
        Text {
            bytes: [0; N],
            len: 0,
            is_full: false,
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of a text that ends where a character does.
    #[inline]
    pub(super) fn put(&mut self, text: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + text.len()) {
            Some(place) if !self.is_full => {
                place.copy_from_slice(text);
                self.len += text.len();
            }
            _ => self.put_what_fits(text),
        }
    }

    #[cold]
    pub(super) fn put_what_fits(&mut self, text: &[u8]) {
        let begins_a_character = |byte: &u8| byte & 0xC0 != 0x80;
        let room = if self.is_full { 0 } else { N - self.len };
        let ends = (0..=room.min(text.len())).rev();
        let mut ends = ends.filter(|&end| text.get(end).is_none_or(begins_a_character));
        let fits = &text[..ends.next().unwrap_or(0)];
        self.is_full = true;
        self.bytes[self.len..self.len + fits.len()].copy_from_slice(fits);
        self.len += fits.len();
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        // Whoever formats more than fits does it for nothing.
        if self.is_full {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(f)
    }
}
