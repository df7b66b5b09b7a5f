//! The pprof format: a gzipped protocol buffer.
//!
//! The messages are those of `profile.proto` in github.com/google/pprof.

use super::Figure;
use super::profile::{Info, Row};
use super::start::start;
use crate::symbols::Symbols;
use crate::symbols::modules::{self, Module};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Message)]
struct Document {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(uint64, tag = "4")]
    file_offset: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

pub(super) fn write(
    rows: &[Row],
    symbols: &Symbols,
    info: Info,
    taken: SystemTime,
    to: impl Write,
) -> io::Result<()> {
    let document = Builder::new().build(rows, symbols, info, taken);
    let mut gzip = GzEncoder::new(to, Compression::default());
    gzip.write_all(&document.encode_to_vec())?;
    gzip.finish()?.flush()
}

/// A document in the making: what is referred to by number is numbered here.
struct Builder {
    strings: HashMap<String, i64>,
    functions: HashMap<[i64; 3], u64>,
    locations: HashMap<(usize, usize), u64>,
    modules: Vec<Module>,
    document: Document,
}

impl Builder {
    fn new() -> Self {
        let mut builder = Builder {
            strings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            modules: modules::mapped(),
            document: Document::default(),
        };
        // The format wants the empty string first.
        builder.string("");
        builder
    }

    fn build(mut self, rows: &[Row], symbols: &Symbols, info: Info, taken: SystemTime) -> Document {
        let rows = rows.iter().filter(|row| !row.figures.is_zero());
        self.document.sample_type = Figure::ALL
            .map(|figure| self.value_type(figure.name(), figure.unit()))
            .into();
        for row in rows {
            self.sample(row, symbols);
        }
        self.mappings();
        self.document.period_type = Some(self.value_type("space", "bytes"));
        self.document.period = info.mean_bytes.unwrap_or(0) as i64;
        self.document.default_sample_type = self.string(Figure::InuseSpace.name());
        let since = taken.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.document.time_nanos = since.as_nanos() as i64;
        let comment = format!(
            "{} samples, {} live; stacks by {}; without stack {}, not kept live {}, cut {}",
            info.samples,
            info.live,
            info.unwinding,
            info.without_stack,
            info.not_kept_live,
            info.too_deep + info.broken,
        );
        let comment = self.string(&comment);
        self.document.comment.push(comment);
        self.document
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&known) = self.strings.get(text) {
            return known;
        }
        let number = self.document.string_table.len() as i64;
        self.document.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    fn value_type(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType {
            r#type: self.string(name),
            unit: self.string(unit),
        }
    }

    fn sample(&mut self, row: &Row, symbols: &Symbols) {
        let start = start(row.frames, symbols);
        let frames = row.frames.iter().enumerate().skip(start.frames);
        let location_id = frames
            .map(|(index, &frame)| {
                let left_out = if index == start.frames {
                    start.functions
                } else {
                    0
                };
                self.location(frame, symbols, left_out)
            })
            .collect();
        let label = row.unit.map(|unit| Label {
            key: self.string("unit"),
            str: self.string(unit),
        });
        self.document.sample.push(Sample {
            location_id,
            value: row.figures.rounded().into(),
            label: label.into_iter().collect(),
        });
    }

    /// The location of an address, without this many of the functions there.
    fn location(&mut self, frame: usize, symbols: &Symbols, left_out: usize) -> u64 {
        if let Some(&known) = self.locations.get(&(frame, left_out)) {
            return known;
        }
        let id = self.locations.len() as u64 + 1;
        self.locations.insert((frame, left_out), id);
        // Inside the call, not after it, which may be another line.
        let address = (frame as u64).saturating_sub(1);
        let module = modules::index_of(&self.modules, address);
        let functions = symbols.place(frame).functions.iter().skip(left_out);
        let line = functions
            .map(|function| {
                // Tools take those that have the same name for one function.
                let name = self.string(&symbols.name_of_its_own(function));
                // They leave a name alone that is not the linker's.
                let system_name = match function.has_path() {
                    true => self.string(&function.mangled),
                    false => name,
                };
                let source = function.source.as_ref();
                let file = source.map(|source| source.full.to_string_lossy());
                let file = self.string(&file.unwrap_or_default());
                Line {
                    function_id: self.function([name, system_name, file]),
                    line: i64::from(function.line.unwrap_or(0)),
                }
            })
            .collect();
        self.document.location.push(Location {
            id,
            mapping_id: module.map_or(0, |index| index as u64 + 1),
            address,
            line,
        });
        id
    }

    fn function(&mut self, key: [i64; 3]) -> u64 {
        let [name, system_name, filename] = key;
        let id = self.functions.len() as u64 + 1;
        let known = *self.functions.entry(key).or_insert(id);
        if known == id {
            self.document.function.push(Function {
                id,
                name,
                system_name,
                filename,
            });
        }
        known
    }

    fn mappings(&mut self) {
        for (index, module) in std::mem::take(&mut self.modules).into_iter().enumerate() {
            let id = index as u64 + 1;
            let mut inside = self.document.location.iter();
            // Where a program carries no symbols, tools look them up by the build id.
            let has_functions = inside.any(|l| l.mapping_id == id && !l.line.is_empty());
            let mapping = Mapping {
                id,
                memory_start: module.start,
                memory_limit: module.end,
                file_offset: module.offset,
                filename: self.string(&module.file),
                build_id: self.string(&module.build_id),
                has_functions,
                has_filenames: has_functions,
                has_line_numbers: has_functions,
                has_inline_frames: has_functions,
            };
            self.document.mapping.push(mapping);
        }
    }
}
