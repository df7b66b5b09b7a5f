//! Compressed sections: unpacked by windows, from marks on the way, at which reading can begin again.

use super::windows::{Memory, WINDOW};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags as flags};
use std::io;

/// What unpacking goes back to at most, as zlib has it.
const BEFORE: usize = 32 << 10;

/// Marks of a section, 43 KiB each. Where there would be more, every other one is given up.
const MARKS: usize = 32;

/// Bytes that are unpacked at once.
const INPUT: usize = 32 << 10;

/// A section of debug information on its way out of zlib.
pub(super) struct Unpacked {
    len: usize,
    packed_len: usize,
    now: Mark,
    marks: Vec<Mark>,
    /// A mark is left before each window whose number is divisible by it.
    every: usize,
    /// What comes before a window, and the window.
    buffer: Memory,
    input: Memory,
}

/// Where unpacking is.
struct Mark {
    /// The window that comes next.
    window: usize,
    /// This many bytes were taken.
    taken: usize,
    state: Box<DecompressorOxide>,
    /// What was unpacked last.
    before: Memory,
}

impl Mark {
    /// `None`: the system has no memory.
    fn copy(&self) -> Option<Self> {
        let mut before = Memory::new(BEFORE)?;
        before.bytes_mut().copy_from_slice(self.before.bytes());
        Some(Mark {
            state: self.state.clone(),
            before,
            ..*self
        })
    }
}

impl Unpacked {
    /// `None`: the system has no memory.
    pub(super) fn new(len: usize, packed_len: usize) -> Option<Self> {
        let begin = Mark {
            window: 0,
            taken: 0,
            state: Box::default(),
            before: Memory::new(BEFORE)?,
        };
        Some(Unpacked {
            len,
            packed_len,
            now: begin.copy()?,
            marks: vec![begin],
            every: 1,
            buffer: Memory::new(BEFORE + WINDOW)?,
            input: Memory::new(INPUT)?,
        })
    }

    /// Unpacks a window. `read` reads what is packed.
    pub(super) fn window(
        &mut self,
        window: usize,
        bytes: &mut [u8],
        read: impl Fn(usize, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let after = self.marks.partition_point(|mark| mark.window <= window);
        let nearest = &self.marks[after - 1];
        if self.now.window > window || self.now.window < nearest.window {
            self.now = nearest.copy().ok_or(io::ErrorKind::OutOfMemory)?;
        }
        while self.now.window <= window {
            self.mark();
            if let Err(error) = self.next(&read) {
                // Whoever asks again begins at a mark.
                self.now.window = usize::MAX;
                return Err(error);
            }
        }
        bytes.copy_from_slice(&self.buffer.bytes()[BEFORE..][..bytes.len()]);
        Ok(())
    }

    fn mark(&mut self) {
        let is_new = (self.marks.last()).is_none_or(|mark| mark.window < self.now.window);
        if is_new && self.now.window % self.every == 0 {
            self.marks.extend(self.now.copy());
        }
        if self.marks.len() > MARKS {
            self.every *= 2;
            let every = self.every;
            self.marks.retain(|mark| mark.window % every == 0);
        }
    }

    /// Unpacks the window that comes next into the buffer, behind what comes before.
    fn next(&mut self, read: impl Fn(usize, &mut [u8]) -> io::Result<()>) -> io::Result<()> {
        let now = &mut self.now;
        let start = now.window * WINDOW;
        let end = BEFORE + self.len.saturating_sub(start).min(WINDOW);
        let buffer = &mut self.buffer.bytes_mut()[..end];
        buffer[..BEFORE].copy_from_slice(now.before.bytes());
        let mut at = BEFORE;
        while at < end {
            let rest = self.packed_len - now.taken;
            let input = &mut self.input.bytes_mut()[..rest.min(INPUT)];
            read(now.taken, input)?;
            let mut how = flags::TINFL_FLAG_PARSE_ZLIB_HEADER
                | flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
                | flags::TINFL_FLAG_IGNORE_ADLER32;
            if rest > input.len() {
                how |= flags::TINFL_FLAG_HAS_MORE_INPUT;
            }
            let (status, taken, made) = decompress(&mut now.state, input, buffer, at, how);
            now.taken += taken;
            at += made;
            let goes_on = matches!(
                status,
                TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput
            );
            if at < end && !(goes_on && taken + made > 0) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let before = &buffer[end - BEFORE..];
        now.before.bytes_mut().copy_from_slice(before);
        now.window += 1;
        Ok(())
    }
}
