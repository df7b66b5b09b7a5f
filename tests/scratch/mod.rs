//! Directories of tests, below Cargo's own.

use std::path::{Path, PathBuf};

/// An empty directory of this name.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    // Of a process with the same number, long ago.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
