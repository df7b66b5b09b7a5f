//! A section as `gimli` reads it.

use super::windows::Section;
use gimli::{Error, NativeEndian, ReaderOffsetId, Result};
use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

/// The rest of a section, or a part of it.
#[derive(Clone, Default)]
pub(crate) struct Reader {
    /// None: there is no such section.
    section: Option<Rc<Section>>,
    at: usize,
    end: usize,
}

impl Reader {
    pub(super) fn new(section: &Rc<Section>) -> Self {
        Reader {
            section: Some(Rc::clone(section)),
            at: 0,
            end: section.len,
        }
    }

    /// From an offset of the section on.
    pub(super) fn from(&self, at: usize) -> Result<Self> {
        let mut from = self.clone();
        gimli::Reader::skip(&mut from, at)?;
        Ok(from)
    }

    /// All of it. It is not for what may be large.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.end - self.at];
        gimli::Reader::read_slice(&mut self.clone(), &mut bytes)?;
        Ok(bytes)
    }

    fn eof(&self) -> Error {
        Error::UnexpectedEof(ReaderOffsetId(self.at as u64))
    }

    /// Hands over what comes next: not all of it, but at least a byte.
    #[inline]
    fn next<T>(&self, f: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let section = self.section.as_ref().ok_or_else(|| self.eof())?;
        let len = self.end - self.at;
        let read = section.from(self.at, |bytes| {
            let bytes = &bytes[..len.min(bytes.len())];
            (!bytes.is_empty()).then(|| f(bytes))
        });
        read.ok().flatten().ok_or_else(|| self.eof())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({}..{})", self.at, self.end)
    }
}

impl gimli::Reader for Reader {
    type Endian = NativeEndian;
    type Offset = usize;

    fn endian(&self) -> NativeEndian {
        NativeEndian
    }

    #[inline]
    fn len(&self) -> usize {
        self.end - self.at
    }

    #[inline]
    fn empty(&mut self) {
        self.at = self.end;
    }

    #[inline]
    fn truncate(&mut self, len: usize) -> Result<()> {
        if len > self.len() {
            return Err(self.eof());
        }
        self.end = self.at + len;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.at - base.at
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let offset = usize::try_from(id.0).ok()?.checked_sub(self.at)?;
        (offset <= self.len()).then_some(offset)
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let mut rest = self.clone();
        while rest.at < rest.end {
            let look = |bytes: &[u8]| (bytes.iter().position(|b| *b == byte), bytes.len());
            match rest.next(look)? {
                (Some(index), _) => return Ok(rest.at + index - self.at),
                (None, len) => rest.at += len,
            }
        }
        Err(self.eof())
    }

    #[inline]
    fn skip(&mut self, len: usize) -> Result<()> {
        if len > self.len() {
            return Err(self.eof());
        }
        self.at += len;
        Ok(())
    }

    #[inline]
    fn split(&mut self, len: usize) -> Result<Self> {
        let mut first = self.clone();
        first.truncate(len)?;
        self.at += len;
        Ok(first)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Owned(self.bytes()?))
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        let text = String::from_utf8(self.bytes()?);
        text.map(Cow::Owned).map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        Ok(Cow::Owned(
            String::from_utf8_lossy(&self.bytes()?).into_owned(),
        ))
    }

    #[inline]
    fn read_slice(&mut self, to: &mut [u8]) -> Result<()> {
        if to.len() > self.len() {
            return Err(self.eof());
        }
        let mut filled = 0;
        while filled < to.len() {
            let rest = &mut to[filled..];
            let count = self.next(|bytes| {
                let count = rest.len().min(bytes.len());
                rest[..count].copy_from_slice(&bytes[..count]);
                count
            })?;
            filled += count;
            self.at += count;
        }
        Ok(())
    }
}
