//! Files read by windows: however much debug information there is, only so much of it is in memory.

use super::unpack::Unpacked;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Bytes that are read at once.
pub(super) const WINDOW: usize = 64 << 10;

/// Windows that are kept. Units refer back and forth in themselves, and most of them fit.
const WINDOWS: usize = 96;

/// What was read last of all files.
pub(crate) struct Windows {
    kept: RefCell<Kept>,
    /// Sections that there were so far.
    sections: Cell<usize>,
}

struct Kept {
    memory: Memory,
    /// What is in each window's part of the memory.
    slots: [Slot; WINDOWS],
    clock: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The section's number and the window's.
    of: (usize, usize),
    used: u64,
}

/// A part of a file, as it was before it was compressed.
pub(crate) struct Section {
    windows: Rc<Windows>,
    file: Rc<File>,
    offset: u64,
    pub(super) len: usize,
    packed: Option<RefCell<Unpacked>>,
    number: usize,
    /// Where its last window was.
    slot: Cell<usize>,
}

impl Windows {
    /// `None`: the system has no memory.
    pub(crate) fn new() -> Option<Rc<Self>> {
        let nothing = Slot {
            of: (usize::MAX, 0),
            used: 0,
        };
        let kept = Kept {
            memory: Memory::new(WINDOWS * WINDOW)?,
            slots: [nothing; WINDOWS],
            clock: 0,
        };
        let windows = Windows {
            kept: RefCell::new(kept),
            sections: Cell::new(0),
        };
        Some(Rc::new(windows))
    }
}

impl Section {
    /// This many bytes of a file, at that offset.
    pub(super) fn new(windows: &Rc<Windows>, file: &Rc<File>, offset: usize, len: usize) -> Self {
        windows.sections.set(windows.sections.get() + 1);
        Section {
            windows: Rc::clone(windows),
            file: Rc::clone(file),
            offset: offset as u64,
            len,
            packed: None,
            number: windows.sections.get(),
            slot: Cell::new(0),
        }
    }

    /// What was compressed with zlib to the bytes from `from` on, and has this many. `None`: the system has
    /// no memory.
    pub(super) fn unpacked(self, from: usize, len: usize) -> Option<Self> {
        let packed_len = self.len.saturating_sub(from);
        Some(Section {
            offset: self.offset + from as u64,
            len,
            packed: Some(RefCell::new(Unpacked::new(len, packed_len)?)),
            ..self
        })
    }

    /// Hands over the window that has the byte `at`, from there on.
    #[inline]
    pub(super) fn from<T>(&self, at: usize, f: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let kept = &mut *self.windows.kept.borrow_mut();
        let of = (self.number, at / WINDOW);
        if kept.slots[self.slot.get()].of != of {
            self.slot
                .set(kept.slot(of, |bytes| self.fill(of.1, bytes))?);
        }
        let start = of.1 * WINDOW;
        let end = self.len.saturating_sub(start).min(WINDOW);
        let bytes = kept.memory.bytes().get(self.slot.get() * WINDOW..);
        let bytes = bytes.and_then(|bytes| bytes.get(at - start..end));
        Ok(f(bytes.unwrap_or_default()))
    }

    fn fill(&self, window: usize, bytes: &mut [u8]) -> io::Result<()> {
        let start = window * WINDOW;
        let len = self.len.saturating_sub(start).min(WINDOW);
        let bytes = &mut bytes[..len];
        let read =
            |at: usize, bytes: &mut [u8]| self.file.read_exact_at(bytes, self.offset + at as u64);
        match &self.packed {
            None => read(start, bytes),
            Some(packed) => packed.borrow_mut().window(window, bytes, read),
        }
    }
}

impl Kept {
    /// Where a window is, after it was filled if it was not there.
    #[cold]
    fn slot(
        &mut self,
        of: (usize, usize),
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        self.clock += 1;
        let slots = self.slots.iter().enumerate();
        // It, or the one that nobody has asked for the longest.
        let best = slots.min_by_key(|(_, slot)| (slot.of != of, slot.used));
        let index = best.map_or(0, |(index, _)| index);
        let slot = &mut self.slots[index];
        slot.used = self.clock;
        if slot.of != of {
            // Until it is filled, it has nothing.
            slot.of.0 = usize::MAX;
            fill(&mut self.memory.bytes_mut()[index * WINDOW..][..WINDOW])?;
            slot.of = of;
        }
        Ok(index)
    }
}

/// Memory that is the system's again when it is dropped: a block of that size would move the size from
/// which the C library's allocator gives such blocks back.
pub(super) struct Memory {
    start: *mut libc::c_void,
    len: usize,
}

impl Memory {
    pub(super) fn new(len: usize) -> Option<Self> {
        // SAFETY: a new mapping of no file, at an address of the system's choice.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0)
        };
        (start != libc::MAP_FAILED).then_some(Memory { start, len })
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped so long for as long as `self` lives, zero or written, and written only through
        // `bytes_mut`, which nobody has called while this is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed for nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping; what was borrowed from it is gone.
        unsafe { libc::munmap(self.start, self.len) };
    }
}
