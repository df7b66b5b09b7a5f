//! A profile as files: pprof, collapsed stacks, a flame graph, JSON, and a table for the terminal.

use super::figures::Figures;
use super::profile::{Profile, Row};
use super::start::start;
use super::{Figure, pprof, readable};
use crate::engine::profile::Busy;
use crate::escape::escaped;
use crate::symbols::{Lack, Symbols, Whose};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// A profile could not be written.
#[derive(Debug)]
pub struct ProfileError {
    what: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl ProfileError {
    pub(super) fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ProfileError {
            what,
            source: source.into(),
        }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the {}: {}", self.what, self.source)
    }
}

impl Error for ProfileError {
    /// What is behind the cause, which the text names already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Does what a reader of profiles should not see in them: looks up names, formats.
pub(super) fn unseen<T>(f: impl FnOnce() -> T) -> T {
    crate::excluded(|| {
        let _busy = Busy::start();
        f()
    })
}

impl Profile {
    /// Writes the profile in the format of `go tool pprof`, gzipped: all four figures, with the unit of
    /// work as label `unit`, functions and lines by name, and the build ids of the program and its
    /// libraries.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_pprof(&self, to: impl Write) -> Result<(), ProfileError> {
        unseen(|| {
            pprof::write(
                &self.rows,
                &symbols(&self.rows),
                self.info(),
                self.taken,
                to,
            )
        })
        .map_err(|error| ProfileError::new("pprof profile", error))
    }

    /// Writes the profile in the older text format of gperftools, which its own `pprof` (`google-pprof` in
    /// Debian) takes: addresses only, with the memory map of the process, and without units. That tool
    /// looks names up in the program's file.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_gperftools(&self, mut to: impl Write) -> Result<(), ProfileError> {
        unseen(|| {
            let line = |to: &mut dyn Write, figures: [i64; 4]| {
                let [allocs, alloc_bytes, objects, bytes] = figures;
                write!(to, "{objects}: {bytes} [{allocs}: {alloc_bytes}] @")
            };
            let sum = Figure::ALL.map(|figure| self.total(figure).round() as i64);
            write!(to, "heap profile: ")?;
            line(&mut to, sum)?;
            writeln!(to, " heapprofile")?;
            for row in self.rows.iter().filter(|row| !row.figures.is_zero()) {
                line(&mut to, row.figures.rounded())?;
                for frame in row.frames {
                    write!(to, " {frame:#x}")?;
                }
                writeln!(to)?;
            }
            writeln!(to, "\nMAPPED_LIBRARIES:")?;
            // Linux alone has it; without, addresses are all there is.
            to.write_all(&std::fs::read("/proc/self/maps").unwrap_or_default())?;
            to.flush()
        })
        .map_err(|error: io::Error| ProfileError::new("gperftools profile", error))
    }

    /// Writes one line for each call stack, the outermost frame first, as tools for flame graphs take
    /// them: `unit;main;serve;parse 1234`.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_collapsed(&self, figure: Figure, mut to: impl Write) -> Result<(), ProfileError> {
        unseen(|| {
            for line in collapsed(&self.rows, &symbols(&self.rows), figure) {
                writeln!(to, "{line}")?;
            }
            to.flush()
        })
        .map_err(|error| ProfileError::new("collapsed stacks", error))
    }

    /// Writes the profile as one JSON object: the estimates with their standard errors, how the profile
    /// came about, and every stack with unit, frames and figures, the most in use first.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_json(&self, to: impl Write) -> Result<(), ProfileError> {
        unseen(|| {
            let estimate = self.estimate();
            let info = self.info();
            let estimated = |e: super::Estimated| json!({ "value": e.value, "standard_error": e.standard_error });
            let document = json!({
                "estimate": {
                    "allocs": estimated(estimate.allocs),
                    "alloc_bytes": estimated(estimate.alloc_bytes),
                    "inuse_objects": estimated(estimate.inuse_objects),
                    "inuse_bytes": estimated(estimate.inuse_bytes),
                },
                "mean_bytes": info.mean_bytes,
                "unwinding": info.unwinding.to_string(),
                "samples": info.samples,
                "live": info.live,
                "not_kept_live": info.not_kept_live,
                "without_stack": info.without_stack,
                "too_deep": info.too_deep,
                "broken": info.broken,
            });
            let symbols = symbols(&self.rows);
            let order = order(&self.rows, Figure::InuseSpace);
            let entries = order
                .iter()
                .map(|&index| Entry::of(&self.rows[index], &symbols));
            write_document(&document, "stacks", entries, to)
        })
    }

    pub(super) fn total(&self, figure: Figure) -> f64 {
        self.rows.iter().map(|row| row.figures.get(figure)).sum()
    }
}

/// Writes one object, whose last field is a list, one entry after the other: all of them at once would be
/// large.
pub(super) fn write_document<'a>(
    document: &serde_json::Value,
    list: &str,
    entries: impl Iterator<Item = Entry<'a>>,
    mut to: impl Write,
) -> Result<(), ProfileError> {
    let write = || {
        let document = document.to_string();
        let open = document.strip_suffix('}').unwrap_or(&document);
        write!(to, "{open},\"{list}\":[")?;
        for (index, entry) in entries.enumerate() {
            if index > 0 {
                to.write_all(b",")?;
            }
            serde_json::to_writer(&mut to, &entry.json())?;
        }
        writeln!(to, "]}}")?;
        to.flush()
    };
    write().map_err(|error: io::Error| ProfileError::new("JSON", error))
}

/// A row as a person reads it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) unit: Option<&'static str>,
    /// The innermost first.
    pub(super) frames: Vec<Frame<'a>>,
    pub(super) figures: Figures,
}

/// A function on a stack.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Its path or name; of an unknown one, where it is.
    pub(super) function: Arc<str>,
    /// Without a function: why not, if it is the program's own.
    known: Result<(&'a crate::symbols::Function, &'a Symbols), Option<Lack>>,
}

impl Frame<'_> {
    fn whose(&self) -> Whose {
        self.known
            .map_or(Whose::Nobody, |(function, _)| function.whose)
    }

    pub(super) fn is_users(&self) -> bool {
        self.whose() <= Whose::Unplaced
    }

    /// What [`readable::lines`] takes.
    pub(super) fn as_line(&self) -> (String, Whose) {
        (self.readable(), self.whose())
    }

    /// For people: without generics, and with a path. Where a name has none, as debug information of lines alone has it of
    /// inlined functions, it is that of the module in whose file it stands.
    pub(super) fn readable(&self) -> String {
        let name = readable::short(&self.function);
        let source = self.known.ok().filter(|(function, _)| !function.has_path());
        let source = source.and_then(|(function, _)| function.source.as_deref());
        match source.and_then(|source| readable::module(&source.full)) {
            Some(module) => format!("{module}::{name}"),
            None => name,
        }
    }

    /// `file:line`, as far as known.
    pub(super) fn place(&self) -> Option<String> {
        self.known.ok()?.0.at()
    }

    /// The same, without folders that are the same for all packages.
    pub(super) fn short_place(&self) -> Option<String> {
        let (function, symbols) = self.known.ok()?;
        symbols.short_place(function)
    }

    /// A name that no function at another place has.
    fn name_of_its_own(&self) -> Arc<str> {
        match self.known {
            Ok((function, symbols)) => symbols.name_of_its_own(function),
            Err(_) => Arc::clone(&self.function),
        }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn of(row: &Row, symbols: &'a Symbols) -> Self {
        Entry {
            unit: row.unit,
            frames: frames(row, symbols).collect(),
            figures: row.figures,
        }
    }

    /// Where the stack is the user's own, for the first time from within; failing that, a dependency's;
    /// failing that, the standard library's, unless something else is not known: then why not.
    pub(super) fn site(&self) -> Result<usize, Option<Lack>> {
        let frames = self.frames.iter().enumerate();
        let best = frames.min_by_key(|(_, frame)| frame.whose());
        let hidden = self.frames.iter().find_map(|frame| frame.known.err()?);
        match best {
            Some((index, frame)) if frame.whose() < Whose::Standard => Ok(index),
            Some((index, frame)) if frame.whose() == Whose::Standard && hidden.is_none() => {
                Ok(index)
            }
            _ => Err(hidden),
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let [alloc_objects, alloc_bytes, inuse_objects, inuse_bytes] = self.figures.rounded();
        let frames = self.frames.iter().map(|frame| match frame.place() {
            None => json!({ "function": &*frame.function }),
            Some(place) => json!({ "function": &*frame.function, "at": place }),
        });
        json!({
            "unit": self.unit,
            "alloc_objects": alloc_objects,
            "alloc_bytes": alloc_bytes,
            "inuse_objects": inuse_objects,
            "inuse_bytes": inuse_bytes,
            "frames": frames.collect::<Vec<_>>(),
        })
    }
}

/// What is known of the functions on all stacks.
pub(super) fn symbols(rows: &[Row]) -> Symbols {
    let rows = rows.iter().filter(|row| !row.figures.is_zero());
    Symbols::look_up(rows.flat_map(|row| row.frames.iter().copied()))
}

/// The rows that say something, the highest figure first.
pub(super) fn order(rows: &[Row], by: Figure) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len())
        .filter(|&index| !rows[index].figures.is_zero())
        .collect();
    let figure = |index: usize| rows[index].figures.get(by);
    order.sort_by(|&a, &b| figure(b).total_cmp(&figure(a)));
    order
}

pub(super) fn frames<'a>(row: &Row, symbols: &'a Symbols) -> impl Iterator<Item = Frame<'a>> {
    let start = start(row.frames, symbols);
    let frames = row.frames.iter().enumerate().skip(start.frames);
    frames.flat_map(move |(index, &frame)| {
        let place = symbols.place(frame);
        let unknown = place.functions.is_empty().then(|| Frame {
            function: format!("{frame:#x}").into(),
            known: Err(place.lacks.filter(|_| place.in_program)),
        });
        let left_out = if index == start.frames {
            start.functions
        } else {
            0
        };
        let functions = place.functions.iter().skip(left_out);
        let known = functions.map(move |function| Frame {
            function: Arc::clone(&function.name),
            known: Ok((function, symbols)),
        });
        known.chain(unknown)
    })
}

/// Lines of collapsed stacks, each different one once.
pub(super) fn collapsed(rows: &[Row], symbols: &Symbols, figure: Figure) -> Vec<String> {
    let rows = rows.iter().filter(|row| row.figures.get(figure) >= 0.5);
    // A semicolon parts the frames, and a line the stacks.
    let clean = |name: &str| escaped(name).to_string().replace(';', ":");
    let mut lines: BTreeMap<String, f64> = BTreeMap::new();
    for row in rows {
        let mut names: Vec<String> = frames(row, symbols)
            .map(|frame| clean(&frame.name_of_its_own()))
            .collect();
        if names.is_empty() {
            names.push("[unknown]".to_owned());
        }
        names.extend(row.unit.map(clean));
        names.reverse();
        *lines.entry(names.join(";")).or_default() += row.figures.get(figure);
    }
    let line = |(stack, value): (String, f64)| format!("{stack} {}", value.round() as u64);
    lines.into_iter().map(line).collect()
}

/// A figure as a person reads it.
pub(super) fn human(figure: Figure, value: f64) -> String {
    if figure.unit() == "count" {
        return format!("{value:.0}");
    }
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
