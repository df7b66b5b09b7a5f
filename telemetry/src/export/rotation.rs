//! Files that are renamed or removed while they are written to.

use alloc_tracker::raw::for_a_tool;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where the next file is when the one that is written to is no longer there.
#[derive(Debug)]
pub(super) struct Rotation<W> {
    /// From the root: the program may change its directory.
    path: PathBuf,
    open: fn(&Path) -> io::Result<(W, bool)>,
    /// Whether the path names another file, or none.
    is_over: fn(&Path, &W) -> bool,
}

impl Rotation<File> {
    /// Of a file with this path, which is opened so; `None` if it is no plain file, which nobody rotates.
    pub(super) fn of(
        path: &Path,
        file: &File,
        open: fn(&Path) -> io::Result<(File, bool)>,
    ) -> Option<Self> {
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        Some(Rotation {
            path: std::path::absolute(path).ok()?,
            open,
            is_over,
        })
    }
}

impl<W> Rotation<W> {
    /// What to write to instead, and whether it ends inside of a line. `None`: go on, also where no other can be had.
    pub(super) fn next(&self, writer: &W) -> Option<(W, bool)> {
        for_a_tool(|| {
            let is_over = (self.is_over)(&self.path, writer);
            is_over.then(|| (self.open)(&self.path).ok())?
        })
    }
}

#[cfg(unix)]
fn is_over(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(open) = file.metadata() else {
        return false;
    };
    match fs::metadata(path) {
        // To open what is no plain file, a pipe say, might wait.
        Ok(there) => there.is_file() && (there.dev(), there.ino()) != (open.dev(), open.ino()),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(not(unix))]
fn is_over(_: &Path, _: &File) -> bool {
    false
}
