//! A batch tool that knows what each file costs it.
//!
//! It reads files on all cores (rayon), counts their lines and words, and prints what one file
//! costs, by kind of file. No async anywhere: a unit of work is a span, wherever it runs.
//!
//! ```text
//! cargo run --release --example ingest --features rayon                 # the sources in the local cargo registry
//! cargo run --release --example ingest --features rayon -- docs/ examples/
//! ```

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use telemetry::{Lean, Telemetry, export};
use tracing::{Span, error, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();

/// Counts lines and words of many files, and what each file costs.
#[derive(Debug, Parser)]
#[command(name = "ingest")]
struct Options {
    /// Files and directories; by default the sources in the local cargo registry.
    paths: Vec<PathBuf>,

    /// The most files that are read.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,

    /// The file that gets the JSON lines; none by default.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let paths = match options.paths.as_slice() {
        [] => vec![registry_sources()?],
        given => given.to_vec(),
    };
    let mut builder = Telemetry::builder().service("ingest");
    if let Some(json) = &options.json {
        builder = builder.export(export::json_lines_file(json)?);
    }
    let (layer, telemetry) = builder.build()?;
    Lean::new(tracing_subscriber::registry().with(layer)).init();

    let mut files = Vec::new();
    for path in &paths {
        collect(path, options.files as usize, &mut files)?;
    }
    let bar = ProgressBar::new(files.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} files, {eta} left",
    )?);
    let start = Instant::now();
    let sums: Sums = files
        .par_iter()
        .map(|path| {
            let read = unit_for(path).in_scope(|| ingest(path));
            bar.inc(1);
            read.unwrap_or_default()
        })
        .reduce(Sums::default, Sums::plus);
    bar.finish_and_clear();
    println!(
        "{} files, {} lines, {} words in {:.2} s.\n",
        files.len(),
        sums.lines,
        sums.words,
        start.elapsed().as_secs_f64()
    );
    println!("{}", telemetry.snapshot());
    let ledger = telemetry.shutdown(Duration::from_secs(5))?;
    if let Some(json) = &options.json {
        println!("{} records are in {}.", ledger.records.kept, json.display());
    }
    Ok(())
}

/// One unit a file, of a kind for each kind of file.
fn unit_for(path: &Path) -> Span {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => info_span!(parent: None, "rust source"),
        Some("toml" | "json" | "lock") => info_span!(parent: None, "manifest"),
        Some("md" | "txt") => info_span!(parent: None, "text"),
        Some("c" | "h" | "S" | "cc" | "cpp") => info_span!(parent: None, "c source"),
        _ => info_span!(parent: None, "other file"),
    }
}

#[derive(Clone, Copy, Default)]
struct Sums {
    lines: usize,
    words: usize,
}

impl Sums {
    fn plus(self, other: Sums) -> Sums {
        Sums {
            lines: self.lines + other.lines,
            words: self.words + other.words,
        }
    }
}

/// Reads one file and counts its lines and different words.
fn ingest(path: &Path) -> Option<Sums> {
    let call = telemetry::call!("fs.read");
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            error!(%error, path = %path.display(), "a file cannot be read");
            return None;
        }
    };
    call.received(bytes.len() as u64);
    let text = String::from_utf8_lossy(&bytes);
    let mut words: HashMap<&str, usize> = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        *words.entry(word).or_default() += 1;
    }
    Some(Sums {
        lines: text.lines().count(),
        words: words.values().sum(),
    })
}

/// Adds the files under `path`, `most` in all.
fn collect(path: &Path, most: usize, files: &mut Vec<PathBuf>) -> Result<(), PathError> {
    let wrong = |source| PathError {
        path: path.to_owned(),
        source,
    };
    if files.len() >= most {
        return Ok(());
    }
    let kind = std::fs::symlink_metadata(path).map_err(wrong)?;
    if kind.is_file() {
        files.push(path.to_owned());
    } else if kind.is_dir() {
        let entries = std::fs::read_dir(path).map_err(wrong)?;
        let mut entries: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()
            .map_err(wrong)?;
        entries.sort();
        for entry in entries {
            collect(&entry, most, files)?;
        }
    }
    Ok(())
}

fn registry_sources() -> Result<PathBuf, PathError> {
    let cargo = match (std::env::var_os("CARGO_HOME"), std::env::home_dir()) {
        (Some(cargo), _) => PathBuf::from(cargo),
        (None, Some(home)) => home.join(".cargo"),
        (None, None) => PathBuf::from(".cargo"),
    };
    let sources = cargo.join("registry").join("src");
    match std::fs::symlink_metadata(&sources) {
        Ok(_) => Ok(sources),
        Err(source) => Err(PathError {
            path: sources,
            source,
        }),
    }
}

/// A path that cannot be read.
#[derive(Debug)]
struct PathError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PathError { path, source } = self;
        write!(
            f,
            "cannot read {}: {source}; name files or directories that exist",
            path.display()
        )
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
