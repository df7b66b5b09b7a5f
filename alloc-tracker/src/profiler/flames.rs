//! A flame graph, whole or as a person reads it.

use super::Figure;
use super::formats::{self, Frame, ProfileError};
use super::profile::{Profile, Row};
use super::readable::{self, Band, Line};
use crate::escape::escaped;
use crate::symbols::{Symbols, Whose};
use inferno::flamegraph::color::{Color, MultiPalette, PaletteMap};
use inferno::flamegraph::{Options, Palette};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What stands at the root of what no unit has.
const NO_UNIT: &str = "no unit";

const UNIT: Color = color(133, 190, 120);
const USERS: Color = color(240, 150, 80);
const DEPENDENCIES: Color = color(140, 180, 220);
const UNKNOWN: Color = color(235, 225, 150);
/// The base, which is as wide as all.
const ALL: Color = color(225, 225, 225);
const FOLDED: Color = color(200, 200, 200);
const LEGEND: &str = "green: the unit · orange: your code · blue: dependencies · yellow: unknown · grey: the standard library, and folded frames";

const fn color(r: u8, g: u8, b: u8) -> Color {
    Color { r, g, b }
}

/// Stacks that begin alike, as one.
#[derive(Debug, Default)]
struct Flame {
    value: f64,
    /// What ends here.
    own: f64,
    inside: BTreeMap<Key, Flame>,
    /// What the band is.
    band: Band,
}

/// What flames are told apart by. Bands at one place are one, however many frames they have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Unit(String),
    Frame(String, Whose),
    Band,
}

impl Flame {
    fn add(&mut self, path: impl Iterator<Item = Line>, unit: Option<&str>, value: f64) {
        self.value += value;
        let unit = Key::Unit(unit.unwrap_or(NO_UNIT).to_owned());
        let mut flame = self.inside.entry(unit).or_default();
        flame.value += value;
        for line in path {
            let (key, band) = match line {
                Line::Frame(name, whose) => (Key::Frame(name, whose), None),
                Line::Band(band) => (Key::Band, Some(band)),
            };
            flame = flame.inside.entry(key).or_default();
            match band {
                Some(band) if flame.value > 0.0 => flame.band.join(&band),
                Some(band) => flame.band = band,
                None => {}
            }
            flame.value += value;
        }
        flame.own += value;
    }

    /// Lines as tools for flame graphs take them, the widest first.
    fn lines(&self, path: &mut Vec<String>, colors: &mut PaletteMap, lines: &mut Vec<String>) {
        // A semicolon parts the frames, and a line the stacks.
        let clean = |name: &str| escaped(name).to_string().replace(';', ":");
        let mut inside: Vec<_> = self.inside.iter().collect();
        inside.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
        for (key, flame) in inside {
            let (name, color) = match key {
                Key::Unit(name) => (clean(name), UNIT),
                Key::Frame(name, whose) => (clean(name), color_of(*whose)),
                Key::Band => (clean(&flame.band.describe()), FOLDED),
            };
            colors.insert(&name, color);
            path.push(name);
            flame.lines(path, colors, lines);
            path.pop();
        }
        let own = self.own.round() as u64;
        if own > 0 {
            lines.push(format!("{} {own}", path.join(";")));
        }
    }
}

fn color_of(whose: Whose) -> Color {
    match whose {
        Whose::Users | Whose::Unplaced => USERS,
        Whose::Dependencys => DEPENDENCIES,
        Whose::Nobody => UNKNOWN,
        Whose::Standard | Whose::Trackers | Whose::Foreign => FOLDED,
    }
}

impl Profile {
    /// Writes a flame graph, an SVG image in which the mouse finds its way. The unit is at the root, the widest comes
    /// first, and colours say whose code it is.
    ///
    /// It is for people: generics are cut from names, and frames of the standard library and of
    /// [crates that run programs](super::folded_crates) are folded into one that says how many there are.
    /// [`whole_stacks`](Profile::whole_stacks) has it otherwise; so have the other formats always.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: `to` has failed.
    pub fn write_flamegraph(&self, figure: Figure, to: impl Write) -> Result<(), ProfileError> {
        formats::unseen(|| {
            let title = format!("{figure}: {}", formats::human(figure, self.total(figure)));
            let symbols = formats::symbols(&self.rows);
            write((&self.rows, &symbols), self.whole, title, figure, to)
        })
    }
}

/// `whole`: every frame, and names as they are.
pub(super) fn write(
    (rows, symbols): (&[Row], &Symbols),
    whole: bool,
    title: String,
    figure: Figure,
    to: impl Write,
) -> Result<(), ProfileError> {
    let mut options = Options::default();
    options.title = title;
    options.count_name = figure.unit().to_owned();
    let mut colors = PaletteMap::default();
    let mut lines = match whole {
        true => {
            options.colors = Palette::Multi(MultiPalette::Rust);
            formats::collapsed(rows, symbols, figure)
        }
        false => {
            let mut flames = Flame::default();
            for row in rows.iter().filter(|row| row.figures.get(figure) >= 0.5) {
                let frames: Vec<Frame<'_>> = formats::frames(row, symbols).collect();
                let lines = readable::lines(frames.iter().map(Frame::as_line));
                flames.add(lines.into_iter().rev(), row.unit, row.figures.get(figure));
            }
            let mut lines = Vec::new();
            flames.lines(&mut Vec::new(), &mut colors, &mut lines);
            colors.insert("all", ALL);
            options.subtitle = Some(LEGEND.to_owned());
            options.palette_map = Some(&mut colors);
            // The library takes lines as they come in this mode alone, and from the last to the first.
            options.flame_chart = true;
            lines.reverse();
            lines
        }
    };
    if lines.is_empty() {
        // The library refuses to draw nothing.
        lines.push("nothing 1".to_owned());
    }
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), to)
        .map_err(|error| ProfileError::new("flame graph", io::Error::other(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_comes_first_however_many_stacks_it_is_of() {
        let mut flame = Flame::default();
        for (path, value) in [
            (["a", "c"], 5.0),
            (["b", "d"], 3.0),
            (["b", "e"], 4.0),
            (["b", "f"], 0.4),
        ] {
            let frame = |name: &str| Line::Frame(name.to_owned(), Whose::Users);
            flame.add(path.into_iter().map(frame), Some("unit"), value);
        }
        let mut lines = Vec::new();
        flame.lines(&mut Vec::new(), &mut PaletteMap::default(), &mut lines);
        // Of less than a half there is nothing to be seen.
        assert_eq!(lines, ["unit;b;e 4", "unit;b;d 3", "unit;a;c 5"]);
    }
}
