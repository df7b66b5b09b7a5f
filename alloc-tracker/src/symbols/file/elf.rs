//! The parts of an ELF file of 64 bits, in this machine's byte order.

use super::reader::Reader;
use super::windows::Section;
use gimli::{Error, Reader as _, Result};
use object::elf;
use std::rc::Rc;

/// Bytes of a symbol.
pub(super) const SYMBOL: usize = 24;

/// A section of a file.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) kind: u32,
    /// Of a symbol table: the section that has the names.
    pub(super) link: usize,
    /// None: compressed in a way that is not read.
    section: Option<Rc<Section>>,
}

impl Named {
    pub(super) fn read(&self) -> Reader {
        self.section.as_ref().map(Reader::new).unwrap_or_default()
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.section.is_none()
    }
}

/// What is said of a section.
struct Header {
    name: usize,
    kind: u32,
    flags: u64,
    offset: usize,
    len: usize,
    link: usize,
}

impl Header {
    const LEN: usize = 64;

    fn read(mut from: Reader) -> Result<Self> {
        let name = from.read_u32()? as usize;
        let kind = from.read_u32()?;
        let flags = from.read_u64()?;
        // Where it is loaded.
        from.skip(8)?;
        Ok(Header {
            name,
            kind,
            flags,
            offset: from.read_u64()? as usize,
            len: from.read_u64()? as usize,
            link: from.read_u32()? as usize,
        })
    }
}

/// All sections of a file. `part` is a part of it.
pub(super) fn sections(
    whole: &Rc<Section>,
    part: impl Fn(usize, usize) -> Section,
) -> Result<Vec<Named>> {
    let file = Reader::new(whole);
    let mut begin = [0; 6];
    file.clone().read_slice(&mut begin)?;
    let order = match cfg!(target_endian = "little") {
        true => elf::ELFDATA2LSB,
        false => elf::ELFDATA2MSB,
    };
    let kind = (begin[4], begin[5]);
    if begin[..4] != elf::ELFMAG || kind != (elf::ELFCLASS64, order) {
        return Err(Error::Io);
    }
    let start = file.from(0x28)?.read_u64()? as usize;
    let mut rest = file.from(0x3a)?;
    let len = usize::from(rest.read_u16()?);
    let (count, names) = (rest.read_u16()?, rest.read_u16()?);
    if start == 0 || len != Header::LEN {
        return Ok(Vec::new());
    }
    let headers = file.from(start)?;
    // What does not fit is said of the first one, which is none.
    let first = Header::read(headers.clone())?;
    let count = match count {
        0 => first.len,
        few => few.into(),
    };
    let names = match names {
        elf::SHN_XINDEX => first.link,
        few => few.into(),
    };
    let header = |index: usize| Header::read(headers.from(index.saturating_mul(Header::LEN))?);
    let names = file.from(header(names)?.offset)?;
    let section = |index: usize| {
        let header = header(index)?;
        let name = names.from(header.name)?.read_null_terminated_slice()?;
        let name = String::from_utf8_lossy(&name.bytes()?).into_owned();
        Ok(Named {
            section: contents(&name, &header, &file, &part)?,
            name,
            kind: header.kind,
            link: header.link,
        })
    };
    (0..count).map(section).collect()
}

/// The bytes of a section, unpacked. None: it is compressed in a way that is not read.
fn contents(
    name: &str,
    header: &Header,
    file: &Reader,
    part: impl Fn(usize, usize) -> Section,
) -> Result<Option<Rc<Section>>> {
    if matches!(header.kind, elf::SHT_NOBITS | elf::SHT_NULL) {
        // It says where its bytes would be.
        return Ok(Some(Rc::new(part(0, 0))));
    }
    let mut bytes = file.from(header.offset)?;
    bytes.truncate(header.len)?;
    let section = || part(header.offset, header.len);
    let unpacked = |from, len: u64| section().unpacked(from, len as usize).map(Rc::new);
    if header.flags & u64::from(elf::SHF_COMPRESSED) != 0 {
        let format = bytes.read_u32()?;
        bytes.skip(4)?;
        let len = bytes.read_u64()?;
        return Ok((format == elf::ELFCOMPRESS_ZLIB)
            .then(|| unpacked(24, len))
            .flatten());
    }
    // As linkers did it at first.
    if name.starts_with(".zdebug_") {
        bytes.skip(4)?;
        return Ok(unpacked(12, u64::from_be_bytes(bytes.read_u8_array()?)));
    }
    Ok(Some(Rc::new(section())))
}
