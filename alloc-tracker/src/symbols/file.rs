//! A file of code: the program, a library, or what holds its debug information.

use super::modules::Module;
use gimli::{EndianSlice, NativeEndian, SectionId};
use object::{CompressionFormat, Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

pub(super) type Reader<'a> = EndianSlice<'a, NativeEndian>;

/// A file's bytes, mapped for reading, or memory of the system's that they were read into.
pub(super) struct Mapped {
    start: *mut libc::c_void,
    len: usize,
    is_file: bool,
}

impl Mapped {
    /// The program itself, or a library of it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, len) = Self::file(path)?;
        // SAFETY: a new mapping at an address of the system's choice; the descriptor is open, and may be
        // closed afterwards.
        let start = unsafe {
            let fd = file.as_raw_fd();
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapped {
            start,
            len,
            is_file: true,
        })
    }

    /// A file that is no running code. It is read: a build may truncate it meanwhile, and who looks at a
    /// mapping of it then is killed.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let (mut file, len) = Self::file(path)?;
        let mut read = Self::memory(len).ok_or(io::ErrorKind::OutOfMemory)?;
        file.read_exact(read.bytes_mut())?;
        Ok(read)
    }

    fn file(path: &Path) -> io::Result<(fs::File, usize)> {
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).unwrap_or(0);
        if len == 0 || !metadata.is_file() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((file, len))
    }

    fn unpacked(len: usize, zlib: &[u8]) -> Option<Self> {
        let mut unpacked = Self::memory(len)?;
        let input = std::iter::once(zlib);
        let bytes = unpacked.bytes_mut();
        let done = miniz_oxide::inflate::decompress_slice_iter_to_slice(bytes, input, true, true);
        (done == Ok(len)).then_some(unpacked)
    }

    /// Memory that is the system's again when it is dropped, whatever the allocator thinks of such blocks.
    fn memory(len: usize) -> Option<Self> {
        // SAFETY: a new mapping of no file, at an address of the system's choice.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        Some(Mapped {
            start,
            len,
            is_file: false,
        })
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        debug_assert!(!self.is_file);
        // SAFETY: so long, zero or written, and `self` is ours alone: only memory of our own is asked for it.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped so long for as long as `self` lives. If it is a file, then of code that runs: whoever
        // changes that in its place changes the code, too. Other memory is written before it is shared.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }

    /// The system may forget what was read so far; it comes back from the file if it is read again.
    fn release(&self) {
        if self.is_file {
            // SAFETY: our own mapping, of a file, and only ever read.
            unsafe { libc::madvise(self.start, self.len, libc::MADV_DONTNEED) };
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping; what was borrowed from it is gone.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// A mapped file as what it is.
pub(super) struct Binary<'a> {
    object: object::File<'a, &'a [u8]>,
    mapped: &'a Mapped,
    /// Sections that had to be decompressed.
    decompressed: HashMap<SectionId, OnceCell<Option<Mapped>>>,
}

impl<'a> Binary<'a> {
    pub(super) fn new(mapped: &'a Mapped) -> Option<Self> {
        let object = object::File::parse(mapped.bytes()).ok()?;
        let sections = [
            SectionId::DebugAbbrev,
            SectionId::DebugAddr,
            SectionId::DebugAranges,
            SectionId::DebugInfo,
            SectionId::DebugLine,
            SectionId::DebugLineStr,
            SectionId::DebugRanges,
            SectionId::DebugRngLists,
            SectionId::DebugStr,
            SectionId::DebugStrOffsets,
        ];
        let decompressed = sections.map(|id| (id, OnceCell::new())).into();
        Some(Binary {
            object,
            mapped,
            decompressed,
        })
    }

    /// The build id in hexadecimal digits; empty: there is none.
    pub(super) fn build_id(&self) -> String {
        let id = self.object.build_id().ok().flatten().unwrap_or_default();
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn has_debug_information(&self) -> bool {
        let has = |name| self.object.section_by_name(name).is_some();
        has(".debug_info") && has(".debug_line")
    }

    pub(super) fn has_symbols(&self) -> bool {
        self.object.symbols().next().is_some()
    }

    /// The bytes of a section of debug information, or none.
    pub(super) fn section(&'a self, id: SectionId, in_split: bool) -> Reader<'a> {
        let name = if in_split {
            id.dwo_name()
        } else {
            Some(id.name())
        };
        let bytes = name.and_then(|name| {
            let section = self.object.section_by_name(name)?;
            let compressed = section.compressed_data().ok()?;
            match compressed.format {
                CompressionFormat::None => Some(compressed.data),
                CompressionFormat::Zlib => {
                    let section = self.decompressed.get(&id)?.get_or_init(|| {
                        let len = usize::try_from(compressed.uncompressed_size).ok()?;
                        Mapped::unpacked(len, compressed.data)
                    });
                    section.as_ref().map(Mapped::bytes)
                }
                _ => None,
            }
        });
        EndianSlice::new(bytes.unwrap_or_default(), NativeEndian)
    }

    /// Calls `each` with the functions that contain one of the sorted addresses: its index, and the
    /// function's name as the linker knows it.
    pub(super) fn symbols(&self, sorted: &[u64], mut each: impl FnMut(usize, &[u8])) {
        let all = self.object.symbols().chain(self.object.dynamic_symbols());
        for symbol in all.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
            let end = symbol.address().saturating_add(symbol.size());
            let first = sorted.partition_point(|&address| address < symbol.address());
            for (index, _) in (sorted.iter().enumerate().skip(first)).take_while(|(_, a)| **a < end)
            {
                if let Ok(name) = symbol.name_bytes() {
                    each(index, name);
                }
            }
        }
        self.release();
    }

    pub(super) fn release(&self) {
        self.mapped.release();
    }

    /// Where distributions and `objcopy` put debug information that they part from a program.
    pub(super) fn separate_files(&self, module: &Module) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let id = self.build_id();
        if let (Some(first), Some(rest)) = (id.get(..2), id.get(2..)) {
            files.push(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug").into());
        }
        let directory = Path::new(&module.file).parent();
        if let (Ok(Some((name, _))), Some(directory)) = (self.object.gnu_debuglink(), directory) {
            let name = String::from_utf8_lossy(name);
            files.push(directory.join(&*name));
            files.push(directory.join(".debug").join(&*name));
            let inside = directory.strip_prefix("/").unwrap_or(directory);
            files.push(Path::new("/usr/lib/debug").join(inside).join(&*name));
        }
        files
    }
}
