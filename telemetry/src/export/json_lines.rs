//! JSON lines: one object a line.

use super::rotation::Rotation;
use super::{Exporter, Flush, Record};
use alloc_tracker::raw::{Own, escaped, for_a_tool};
use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Writes JSON lines to `writer`, which is flushed after each batch.
///
/// A batch that fails may have been written in part; the next one then starts on a line of its
/// own, so that one line of the output is torn at most.
///
/// ```
/// use telemetry::{Telemetry, export};
///
/// let (layer, telemetry) = Telemetry::builder()
///     .export(export::json_lines(std::io::stdout()))
///     .build()?;
/// # drop((layer, telemetry));
/// # Ok::<(), telemetry::BuildError>(())
/// ```
pub fn json_lines<W: Write + Send>(writer: W) -> JsonLines<W> {
    JsonLines {
        writer,
        buffer: Own::new(Vec::new()),
        torn: false,
        rotation: None,
    }
}

/// Writes JSON lines to the end of a file, which is made if it does not exist.
///
/// On Unix a file that is renamed or removed is left: what comes next is in a new one of the path, or in the one that
/// somebody put there, so that a rotation needs neither a signal nor a restart. It is looked at once a flush.
///
/// ```
/// use telemetry::{Telemetry, export};
///
/// # let directory = std::env::temp_dir().join(format!("records-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("records.jsonl");
/// # let _ = stringify!(
/// let path = "records.jsonl";
/// # );
/// let (layer, telemetry) = Telemetry::builder()
///     .export(export::json_lines_file(path)?)
///     .build()?;
/// # drop((layer, telemetry));
/// # std::fs::remove_dir_all(&directory)?;
///
/// let error = export::json_lines_file("no/such/folder/records.jsonl").unwrap_err();
/// assert_eq!(error.path().to_str(), Some("no/such/folder/records.jsonl"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If the file cannot be opened for writing: now, before anything starts.
pub fn json_lines_file(path: impl AsRef<Path>) -> Result<JsonLines<File>, OpenFileError> {
    let path = path.as_ref();
    match open(path) {
        Ok((file, torn)) => Ok(JsonLines {
            torn,
            rotation: Rotation::of(path, &file, open),
            ..json_lines(file)
        }),
        Err(source) => Err(OpenFileError {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The file to write to, and whether it ends inside of a line.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let options = &mut OpenOptions::new();
    let file = options.create(true).append(true).open(path)?;
    // The program before may have ended in the middle of a line. What is no plain file, a pipe
    // say, has no such past, and opening it to read might wait.
    let torn = match file.metadata()?.is_file() {
        true => File::open(path).and_then(|mut file| ends_inside_a_line(&mut file)),
        false => Ok(false),
    };
    Ok((file, torn.unwrap_or(false)))
}

fn ends_inside_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// An exporter of JSON lines. Made by [`json_lines`] and [`json_lines_file`].
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
    buffer: Own<Vec<u8>>,
    torn: bool,
    rotation: Option<Rotation<W>>,
}

impl<W> JsonLines<W> {
    fn fill(&mut self, records: &[Record]) -> io::Result<()> {
        self.buffer.clear();
        if self.torn {
            self.buffer.push(b'\n');
        }
        for record in records {
            serde_json::to_writer(&mut *self.buffer, record)?;
            self.buffer.push(b'\n');
        }
        Ok(())
    }
}

impl<W: Write + Send> Exporter for JsonLines<W> {
    fn name(&self) -> &str {
        "json_lines"
    }

    fn export(&mut self, flush: &Flush<'_>) -> io::Result<u64> {
        if let Some((writer, torn)) = self.rotation.as_ref().and_then(|r| r.next(&self.writer)) {
            (self.writer, self.torn) = (writer, torn);
        }
        // The lines are telemetry's; the writer is the program's.
        for_a_tool(|| self.fill(flush.records()))?;
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            match self.writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.writer.flush()?;
        Ok(self.buffer.len() as u64)
    }
}

/// The file for the records cannot be opened for writing.
#[derive(Debug)]
pub struct OpenFileError {
    path: PathBuf,
    source: io::Error,
}

impl OpenFileError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for OpenFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot open {} for writing records: {}; name a file in a directory that exists and \
             that you may write to",
            escaped(&self.path.to_string_lossy()),
            self.source
        )
    }
}

impl Error for OpenFileError {
    /// What is behind the cause, which the text names already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
