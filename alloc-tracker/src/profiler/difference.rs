//! What changed between two profiles: where memory grows.

use super::figures::Figures;
use super::formats::{self, Entry, Frame, human, unseen};

use super::profile::{Info, Profile, Row};
use super::readable::Line;
use super::{Figure, ProfileError, flames, pprof, readable};
use crate::escape::{escaped, fit};
use crate::symbols::{Lack, Symbols};
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// What changed between two profiles of one process, by unit and by stack: the answer to what leaks.
///
/// [`Display`](fmt::Display) shows the ten that grew most, each with unit, figures, and the innermost
/// frames of the user's own code.
///
/// ```
/// # #[global_allocator]
/// # static GLOBAL: alloc_tracker::AllocTracker = alloc_tracker::AllocTracker::system();
/// use alloc_tracker::profiler::{self, Config};
///
/// let session = profiler::start(Config::default().mean_bytes(1024))?;
/// let before = profiler::snapshot();
/// let leaked: Vec<Vec<u8>> = (0..100).map(|_| vec![0; 1000]).collect();
/// let difference = profiler::snapshot().since(&before);
/// session.stop();
///
/// println!("{difference}"); // the ten that grew most
/// # assert!(difference.inuse_bytes() > 10_000.0);
/// for growth in difference.sites() {
///     println!("{:.0} bytes more at {}", growth.inuse_bytes, growth.site);
/// }
/// # assert!(difference.growth().count() >= difference.sites().len());
/// # drop(leaked);
/// # Ok::<(), profiler::StartError>(())
/// ```
#[derive(Debug)]
pub struct Difference {
    rows: Vec<Row>,
    /// The rows that say something, that which grew most first.
    order: Vec<usize>,
    symbols: Symbols,
    over: Duration,
    info: Info,
    taken: SystemTime,
    whole: bool,
}

/// What changed for one call stack and unit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Growth {
    /// The unit of work that allocated, if it has a name.
    pub unit: Option<&'static str>,
    /// The functions from `site` on, the innermost first, each with file and line where they are known: without generics,
    /// and with what runs the program [folded](super::folded_crates), unless the later profile has
    /// [whole stacks](Profile::whole_stacks).
    pub stack: Vec<String>,
    /// The innermost frame of the user's own code; if there is none, of a dependency's.
    pub site: String,
    /// Bytes in use, more than before.
    pub inuse_bytes: f64,
    /// Blocks in use, more than before.
    pub inuse_objects: f64,
    /// Bytes allocated meanwhile.
    pub alloc_bytes: f64,
    /// Blocks allocated meanwhile.
    pub allocs: f64,
}

impl Profile {
    /// What changed since an earlier profile of this process. Looks up the names of functions.
    #[must_use = "the difference is lost"]
    pub fn since(&self, earlier: &Profile) -> Difference {
        let over = self.taken.duration_since(earlier.taken).unwrap_or_default();
        unseen(|| self.since_rows(&earlier.rows, over))
    }

    fn since_rows(&self, earlier: &[Row], over: Duration) -> Difference {
        // A stack is kept once, for good: its address names it.
        let key = |row: &Row| (row.frames.as_ptr(), row.unit);
        let before: HashMap<_, Figures> = (earlier.iter())
            .map(|row| (key(row), row.figures))
            .collect();
        let rows: Vec<Row> = (self.rows.iter())
            .map(|row| {
                let before = before.get(&key(row)).copied().unwrap_or_default();
                Row {
                    figures: row.figures.minus(&before),
                    ..*row
                }
            })
            .collect();
        Difference {
            order: formats::order(&rows, Figure::InuseSpace),
            symbols: formats::symbols(&rows),
            rows,
            over,
            info: self.info(),
            taken: self.taken,
            whole: self.whole,
        }
    }
}

impl Difference {
    /// What changed, the most growth in use first; what shrank comes last.
    pub fn growth(&self) -> impl Iterator<Item = Growth> {
        self.entries().map(|entry| Growth::of(&entry, self.whole))
    }

    /// What changed by unit and site, whatever called it: the stack is that of the largest change. The
    /// most growth in use comes first.
    pub fn sites(&self) -> Vec<Growth> {
        let mut sites: Vec<Growth> = Vec::new();
        let mut known = HashMap::new();
        for growth in self.growth() {
            match known.entry((growth.unit, growth.site.clone())) {
                Vacant(place) => {
                    place.insert(sites.len());
                    sites.push(growth);
                }
                Occupied(index) => {
                    let sum: &mut Growth = &mut sites[*index.get()];
                    sum.inuse_bytes += growth.inuse_bytes;
                    sum.inuse_objects += growth.inuse_objects;
                    sum.alloc_bytes += growth.alloc_bytes;
                    sum.allocs += growth.allocs;
                }
            }
        }
        sites.sort_by(|a, b| b.inuse_bytes.total_cmp(&a.inuse_bytes));
        sites
    }

    /// Bytes in use of all stacks together, more than before.
    pub fn inuse_bytes(&self) -> f64 {
        let figures = self.rows.iter().map(|row| row.figures);
        figures.map(|row| row.get(Figure::InuseSpace)).sum()
    }

    /// Writes what changed in the format of `go tool pprof`; see [`Profile::write_pprof`].
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_pprof(&self, to: impl Write) -> Result<(), ProfileError> {
        unseen(|| pprof::write(&self.rows, &self.symbols, self.info, self.taken, to))
            .map_err(|error| ProfileError::new("pprof profile", error))
    }

    /// Writes a flame graph of what grew; see [`Profile::write_flamegraph`].
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_flamegraph(&self, figure: Figure, to: impl Write) -> Result<(), ProfileError> {
        unseen(|| {
            let title = format!("growth of {figure} in {:.0?}", self.over);
            let rows = (&self.rows[..], &self.symbols);
            flames::write(rows, self.whole, title, figure, to)
        })
    }

    /// Writes what changed as one JSON object, the most growth first: the stacks whose bytes in use
    /// changed, and the fifty that allocated most.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_json(&self, to: impl Write) -> Result<(), ProfileError> {
        unseen(|| {
            let document = json!({ "seconds": self.over.as_secs_f64() });
            let told = self.told().map(|row| Entry::of(row, &self.symbols));
            formats::write_document(&document, "growth", told, to)
        })
    }
}

impl Difference {
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().map(|&index| &self.rows[index])
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.rows().map(|row| Entry::of(row, &self.symbols))
    }

    fn told(&self) -> impl Iterator<Item = &Row> {
        let mut allocated: Vec<f64> = (self.rows())
            .map(|row| row.figures.get(Figure::AllocSpace))
            .collect();
        allocated.sort_by(|a, b| b.total_cmp(a));
        let much = allocated.get(50).copied().unwrap_or(0.0);
        let changed = |row: &&Row| row.figures.get(Figure::InuseSpace).abs() >= 1.0;
        self.rows()
            .filter(move |row| changed(row) || row.figures.get(Figure::AllocSpace) > much)
    }
}

impl Growth {
    fn of(entry: &Entry<'_>, whole: bool) -> Self {
        let (from, site) = match entry.site() {
            // The frames inside of it are the same wherever memory is allocated.
            Ok(index) => (index, entry.frames[index].told(whole)),
            Err(lack) => (0, unknown(lack)),
        };
        Growth {
            unit: entry.unit,
            stack: stack(&entry.frames[from..], whole),
            site,
            inuse_bytes: entry.figures.get(Figure::InuseSpace),
            inuse_objects: entry.figures.get(Figure::InuseObjects),
            alloc_bytes: entry.figures.get(Figure::AllocSpace),
            allocs: entry.figures.get(Figure::AllocObjects),
        }
    }
}

fn unknown(lack: Option<Lack>) -> String {
    match lack {
        Some(lack) => format!("unknown: {}", lack.describe()),
        None => "unknown".to_owned(),
    }
}

/// A line for each frame, or for several that are folded.
fn stack(frames: &[Frame<'_>], whole: bool) -> Vec<String> {
    if whole {
        return frames.iter().map(|frame| frame.told(whole)).collect();
    }
    let mut rest = frames.iter();
    let lines = readable::lines(frames.iter().map(Frame::as_line)).into_iter();
    lines
        .map(|line| match line {
            Line::Band(band) => {
                rest.nth(band.frames() - 1);
                band.describe()
            }
            Line::Frame(name, _) => match rest.next() {
                Some(frame) => frame.told(whole),
                None => name,
            },
        })
        .collect()
}

impl Frame<'_> {
    /// For people: name and place.
    fn told(&self, whole: bool) -> String {
        let (name, place) = match whole {
            true => (self.function.to_string(), self.place()),
            false => (self.readable(), self.short_place()),
        };
        match place {
            Some(place) => format!("{} ({})", escaped(&name), escaped(&place)),
            None => escaped(&name).into_owned(),
        }
    }
}

/// The ten that hold most, with unit, figures, and the innermost frames of the user's own code. Looks up the names of
/// functions, as [`Profile::since`] does.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = unseen(|| self.since_rows(&[], Duration::ZERO));
        writeln!(f, "In use:")?;
        whole.write_grown(f)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "In use, more than {:.1?} before:", self.over)?;
        self.write_grown(f)
    }
}

impl Difference {
    fn write_grown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Entries that are shown, and frames of each.
        const SHOWN: usize = 10;
        const FRAMES: usize = 5;
        /// Of a frame, in a terminal of 100 columns.
        const WIDTH: usize = 85;
        let grew = |row: &&Row| row.figures.get(Figure::InuseSpace) >= 1.0;
        let grown = self.rows().filter(grew).count();
        let more = grown.saturating_sub(SHOWN);
        if grown == 0 {
            return writeln!(f, "  nothing");
        }
        for entry in self.entries().take(grown.min(SHOWN)) {
            let figure = |figure| human(figure, entry.figures.get(figure));
            writeln!(
                f,
                "  {:>10} in {} blocks, unit {}",
                figure(Figure::InuseSpace),
                figure(Figure::InuseObjects),
                escaped(entry.unit.unwrap_or("-")),
            )?;
            if let Err(lack) = entry.site() {
                writeln!(f, "               {}", unknown(lack))?;
            }
            let users = entry.frames.iter().filter(|frame| frame.is_users());
            let shown: Vec<&Frame<'_>> = match users.clone().next() {
                Some(_) => users.take(FRAMES).collect(),
                None => entry.frames.iter().take(FRAMES).collect(),
            };
            for frame in shown {
                let line = frame.told(self.whole);
                let line = match self.whole {
                    true => line.into(),
                    false => fit(&line, WIDTH),
                };
                writeln!(f, "               {line}")?;
            }
        }
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_line_says_why() {
        assert_eq!(unknown(None), "unknown");
        for lack in [Lack::Symbols, Lack::Lines] {
            let text = unknown(Some(lack));
            assert!(text.ends_with(lack.describe()) && text.len() > "unknown: ".len());
        }
    }
}
