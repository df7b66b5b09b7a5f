//! A stream of JSON lines, as records.

use super::plain::Plain;
use super::{Record, Tagged, VERSION};
use alloc_tracker::raw::escaped;
use serde_json::Value;
use serde_json::error::Category;
use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, Read};

/// The longest line that is read, in bytes: a record is a hundredth of it.
const LONGEST: usize = 1 << 20;

/// Reads JSON lines as a stream. What is no record is an error with the number of its line, and the next line is
/// read; what a newer version of the same format has more, a type, a field or a word, is passed over or unknown. Of a field
/// that comes twice, the last one counts.
///
/// ```
/// use telemetry::record::{Lines, Record};
///
/// let file = b"{\"v\":1,\"type\":\"unit\"\n"; // a line that was cut short
/// for line in Lines::new(&file[..]) {
///     match line {
///         Ok(Record::Unit(unit)) => println!("{}", unit.figures.unit),
///         Ok(_) => {}
///         Err(error) => println!("{}: {error}", error.line()),
///     }
/// }
/// # let error = Lines::new(&file[..]).next().unwrap().unwrap_err();
/// # assert!(matches!(error.why(), telemetry::record::Why::Truncated));
/// ```
///
/// # Cost
///
/// The memory of one line, at most a megabyte, and of the values in it: of the densest, some thirty times as much.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    /// Of the last line that was read; the first is 1.
    number: u64,
    line: Vec<u8>,
    is_over: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads from the first line on.
    pub fn new(reader: R) -> Self {
        Lines {
            reader,
            number: 0,
            line: Vec::new(),
            is_over: false,
        }
    }

    /// The next line, which may be empty; `None` at the end.
    fn read(&mut self) -> Option<Result<&[u8], Why>> {
        self.line.clear();
        let most = LONGEST as u64 + 1;
        let mut reader = (&mut self.reader).take(most);
        match reader.read_until(b'\n', &mut self.line) {
            Ok(0) => return None,
            Ok(_) => self.number += 1,
            Err(error) => {
                self.number += 1;
                self.is_over = true;
                return Some(Err(Why::Io(error)));
            }
        }
        let is_whole = self.line.last() == Some(&b'\n');
        if !is_whole && self.line.len() as u64 == most {
            // The rest of it is passed over, and not kept.
            if let Err(error) = self.reader.skip_until(b'\n') {
                self.is_over = true;
                return Some(Err(Why::Io(error)));
            }
            return Some(Err(Why::TooLong));
        }
        Some(Ok(&self.line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Record, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            let result = match self.read()? {
                Ok(line) => match line.trim_ascii() {
                    [] => continue,
                    line => record(line),
                },
                Err(why) => Err(why),
            };
            let line = self.number;
            return Some(result.map_err(|why| LineError { line, why }));
        }
        None
    }
}

fn record(line: &[u8]) -> Result<Record, Why> {
    let text = std::str::from_utf8(line).map_err(|error| match error.error_len() {
        // In the middle of a character.
        None => Why::Truncated,
        Some(_) => Why::NotUtf8,
    })?;
    let value: Value = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => Why::Truncated,
        Category::Syntax | Category::Io | Category::Data => Why::NotJson(error.to_string()),
    })?;
    match (value["v"].as_u64(), &value["type"]) {
        (Some(v), _) if v > u64::from(VERSION) => Err(Why::Newer(v)),
        (Some(1..), Value::String(_)) => {
            Tagged::deserialize(Plain(value)).map_err(|error| Why::NoRecord(error.to_string()))
        }
        _ => Err(Why::NoRecord("it has no `v` or no `type`".to_owned())),
    }
}

/// A line that is no record.
#[derive(Debug)]
pub struct LineError {
    line: u64,
    why: Why,
}

impl LineError {
    /// The number of the line; the first is 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What is wrong with it.
    pub fn why(&self) -> &Why {
        &self.why
    }
}

/// What is wrong with a line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Why {
    /// It cannot be read, nor can what comes after it.
    Io(io::Error),
    /// It ends in the middle of a record, as where a program was killed while it wrote.
    Truncated,
    /// It is longer than a megabyte.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It is not JSON, and why.
    NotJson(String),
    /// It is JSON, but no record of telemetry's, and why.
    NoRecord(String),
    /// It is a record of this newer version of the format.
    Newer(u64),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.why {
            Why::Io(error) => write!(f, "it cannot be read: {error}"),
            Why::Truncated => f.write_str("it ends in the middle of a record"),
            Why::TooLong => f.write_str("it is longer than a megabyte"),
            Why::NotUtf8 => f.write_str("it is not UTF-8"),
            Why::NotJson(why) => write!(f, "it is not JSON: {}", escaped(why)),
            Why::NoRecord(why) => write!(f, "it is no record: {}", escaped(why)),
            Why::Newer(v) => write!(
                f,
                "it is of version {v} of the format; this library reads up to {VERSION}: take a newer one"
            ),
        }
    }
}

impl Error for LineError {
    /// What is behind the cause, which the text names already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::Io(error) => error.source(),
            _ => None,
        }
    }
}
