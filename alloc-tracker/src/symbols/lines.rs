//! The lines of a unit, and its source files.

use super::dwarf::{Found, Unit, inside};
use super::file::Reader;
use super::{Kept, Source};
use gimli::{Dwarf, Range};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The source files of a unit.
pub(super) struct Files<'u> {
    pub(super) dwarf: &'u Dwarf<Reader>,
    pub(super) unit: &'u Unit,
    pub(super) kept: &'u Kept,
    /// Those that were asked for, by their index.
    pub(super) sources: RefCell<HashMap<u64, Arc<Source>>>,
}

impl Files<'_> {
    pub(super) fn source(&self, index: u64) -> Option<Arc<Source>> {
        if let Some(known) = self.sources.borrow().get(&index) {
            return Some(Arc::clone(known));
        }
        let source = self.kept.source(self.read(index)?);
        self.sources.borrow_mut().insert(index, Arc::clone(&source));
        Some(source)
    }

    fn read(&self, index: u64) -> Option<Source> {
        let header = self.unit.line_program.as_ref()?.header();
        let file = header.file(index)?;
        let text = |value| self.dwarf.attr_string(self.unit, value).ok();
        let name = path(text(file.path_name())?)?;
        let directory = self.unit.comp_dir.clone().and_then(path);
        // The first directory is the one that the compiler ran in.
        let inside = match file.directory_index() {
            0 => None,
            _ => file.directory(header).and_then(text),
        };
        let given = match inside {
            Some(inside) => path(inside)?.join(name),
            None => name,
        };
        let given = match &directory {
            Some(directory) => given
                .strip_prefix(directory)
                .map_or(given.clone(), Path::to_owned),
            None => given,
        };
        Some(Source::new(given, directory.as_deref()))
    }

    /// Notes the lines of addresses.
    pub(super) fn rows(&self, addresses: &[u64], found: &mut [Found]) -> gimli::Result<()> {
        let Some(program) = self.unit.line_program.clone() else {
            return Ok(());
        };
        let mut lines: Vec<Option<(u64, u64)>> = vec![None; addresses.len()];
        let mut rows = program.rows();
        let mut last: Option<(u64, u64, u64)> = None;
        let mut read = || -> gimli::Result<()> {
            while let Some((_, row)) = rows.next_row()? {
                if let Some((begin, file, line)) = last {
                    let end = row.address();
                    for index in inside(Range { begin, end }, addresses) {
                        lines[index] = Some((file, line));
                    }
                }
                let line = row.line().map_or(0, |line| line.get());
                last = (!row.end_sequence()).then(|| (row.address(), row.file_index(), line));
            }
            Ok(())
        };
        let all = read();
        for (found, line) in found.iter_mut().zip(lines) {
            found.row = line.and_then(|(file, line)| Some((self.source(file)?, line as u32)));
        }
        all
    }
}

pub(super) fn path(text: Reader) -> Option<PathBuf> {
    Some(OsString::from_vec(text.bytes().ok()?).into())
}
