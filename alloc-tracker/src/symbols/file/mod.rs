//! A file of code: the program, a library, or what holds its debug information.
//!
//! It is read, not mapped: a build may truncate it meanwhile, and who looks at a mapping of it then is
//! killed.

mod elf;
mod reader;
mod unpack;
mod windows;

pub(super) use reader::Reader;
pub(super) use windows::Windows;

use super::modules::{self, Module};
use elf::{Named, SYMBOL, sections};
use gimli::{Reader as _, SectionId};
use object::elf::{SHN_UNDEF, SHT_DYNSYM, SHT_NOTE, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use windows::Section;

/// A file in the format ELF, of 64 bits and this machine's byte order.
pub(super) struct Binary {
    file: Rc<fs::File>,
    /// What the system knew of it when it was opened.
    opened: Metadata,
    sections: Vec<Named>,
}

impl Binary {
    pub(super) fn open(path: &Path, windows: &Rc<Windows>) -> Option<Self> {
        let file = Rc::new(fs::File::open(path).ok()?);
        let opened = file.metadata().ok().filter(Metadata::is_file)?;
        let len = usize::try_from(opened.len()).ok()?;
        let whole = Rc::new(Section::new(windows, &file, 0, len));
        let sections = sections(&whole, |offset, len| {
            Section::new(windows, &file, offset, len)
        });
        Some(Binary {
            sections: sections.ok()?,
            file,
            opened,
        })
    }

    /// Nobody has written to it since.
    pub(super) fn is_unchanged(&self) -> bool {
        let of = |file: &Metadata| (file.len(), file.mtime(), file.mtime_nsec());
        (self.file.metadata()).is_ok_and(|now| of(&now) == of(&self.opened))
    }

    /// It is what was loaded as `module`, or made of it.
    pub(super) fn belongs_to(&self, module: &Module) -> bool {
        // Without sections there is nothing to read, wherever the build id is.
        self.build_id() == module.build_id || self.sections.is_empty()
    }

    /// The build id in hexadecimal digits; empty: there is none.
    fn build_id(&self) -> String {
        let mut notes = self.sections.iter().filter(|s| s.kind == SHT_NOTE);
        let id = notes.find_map(|s| modules::build_id(&s.read().bytes().ok()?));
        id.unwrap_or_default()
    }

    fn named(&self, name: &str) -> Option<&Named> {
        // As the linker's older way to compress sections calls them.
        let older = || name.strip_prefix(".debug_");
        let is_older = |other: &str| {
            other
                .strip_prefix(".zdebug_")
                .is_some_and(|n| Some(n) == older())
        };
        let mut sections = self.sections.iter();
        sections.find(|section| section.name == name || is_older(&section.name))
    }

    pub(super) fn has_debug_information(&self) -> bool {
        self.named(".debug_info").is_some() && self.named(".debug_line").is_some()
    }

    /// Some of its debug information is compressed, and not in a way that is read.
    pub(super) fn is_unreadable(&self) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|section| section.is_unreadable() && section.name.starts_with(".debug_"))
    }

    /// A section of debug information, or nothing.
    pub(super) fn section(&self, id: SectionId, in_split: bool) -> Reader {
        let name = match in_split {
            true => id.dwo_name(),
            false => Some(id.name()),
        };
        let named = name.and_then(|name| self.named(name));
        named.map(Named::read).unwrap_or_default()
    }

    fn symbol_tables(&self) -> impl Iterator<Item = &Named> {
        let is_table = |s: &&Named| matches!(s.kind, SHT_SYMTAB | SHT_DYNSYM);
        self.sections.iter().filter(is_table)
    }

    pub(super) fn has_symbols(&self) -> bool {
        // The first one is nothing.
        (self.symbol_tables()).any(|s| s.kind == SHT_SYMTAB && s.read().len() > SYMBOL)
    }

    /// Calls `each` with the functions that contain one of the sorted addresses: its index, and the
    /// function's name as the linker knows it.
    pub(super) fn symbols(&self, sorted: &[u64], mut each: impl FnMut(usize, &[u8])) {
        for table in self.symbol_tables() {
            // Of one that is cut off, there is what was read.
            let _ = self.symbols_of(table, sorted, &mut each);
        }
    }

    fn symbols_of(
        &self,
        table: &Named,
        sorted: &[u64],
        each: &mut impl FnMut(usize, &[u8]),
    ) -> gimli::Result<()> {
        let names = self.sections.get(table.link);
        let names = names.map(Named::read).unwrap_or_default();
        let mut symbols = table.read();
        while !symbols.is_empty() {
            let mut symbol = symbols.split(SYMBOL)?;
            let name = symbol.read_u32()? as usize;
            let kind = symbol.read_u8()? & 0xf;
            symbol.skip(1)?;
            let is_here = symbol.read_u16()? != SHN_UNDEF;
            let (start, len) = (symbol.read_u64()?, symbol.read_u64()?);
            let is_function = matches!(kind, STT_FUNC | STT_GNU_IFUNC);
            if !(is_function && is_here) {
                continue;
            }
            let end = start.saturating_add(len);
            let first = sorted.partition_point(|&address| address < start);
            for (index, _) in (sorted.iter().enumerate().skip(first)).take_while(|(_, a)| **a < end)
            {
                let name = names.from(name)?.read_null_terminated_slice()?;
                each(index, &name.bytes()?);
            }
        }
        Ok(())
    }

    /// Where distributions and `objcopy` put debug information that they part from a program.
    pub(super) fn separate_files(&self, module: &Module) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let id = self.build_id();
        if let (Some(first), Some(rest)) = (id.get(..2), id.get(2..)) {
            files.push(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug").into());
        }
        let link = self.named(".gnu_debuglink").and_then(|link| {
            let name = link.read().read_null_terminated_slice().ok()?;
            Some(String::from_utf8_lossy(&name.bytes().ok()?).into_owned())
        });
        let directory = Path::new(&module.file).parent();
        if let (Some(name), Some(directory)) = (link, directory) {
            files.push(directory.join(&name));
            files.push(directory.join(".debug").join(&name));
            let inside = directory.strip_prefix("/").unwrap_or(directory);
            files.push(Path::new("/usr/lib/debug").join(inside).join(&name));
        }
        files
    }
}

// What compresses comes with this feature.
#[cfg(all(test, feature = "profile"))]
mod tests;
