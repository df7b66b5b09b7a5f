//! Where the wall time of each kind of units goes, for people.

use super::UnitSnapshot;
use crate::tool::human::{self, cut};
use std::cmp::Reverse;
use std::fmt;

/// Characters of the bar.
const WIDTH: u64 = 24;
/// Boundaries that are named; the others are together.
const MOST_NAMED: usize = 3;

/// A part of the wall time, as it is drawn.
struct Part {
    sign: char,
    name: String,
    nanoseconds: u64,
}

/// The parts, the largest wait first.
fn parts(unit: &UnitSnapshot) -> Vec<Part> {
    let sum = |metric| {
        unit.metric(metric)
            .map_or(0, |distribution| distribution.sum)
    };
    let part = |sign, name: &str, nanoseconds| Part {
        sign,
        name: name.to_owned(),
        nanoseconds,
    };
    let waits = unit.boundaries.iter();
    let waits = waits.filter_map(|(name, boundary)| Some((name, boundary.wait.as_ref()?.sum)));
    let mut waits: Vec<_> = waits.collect();
    waits.sort_by_key(|(_, wait)| Reverse(*wait));
    let others = waits.split_off(waits.len().min(MOST_NAMED));
    let others: u64 = others.iter().map(|(_, wait)| wait).sum();

    let mut parts = vec![
        part('█', "active", sum("active")),
        part('▓', "queued", sum("queued")),
    ];
    parts.extend(
        waits
            .into_iter()
            .map(|(name, wait)| part('░', &cut(name), wait)),
    );
    parts.push(part('░', "other boundaries", others));
    parts.push(part('·', "unexplained", sum("unexplained")));
    parts
}

/// A line for each kind that took time, if it is known where that went.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    units: &[UnitSnapshot],
    label: impl Fn(&UnitSnapshot) -> String,
) -> fmt::Result {
    let rows: Vec<_> = units
        .iter()
        .filter_map(|unit| row(unit, label(unit)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let width = |cell: fn(&Row) -> &str| {
        let widths = rows.iter().map(|row| human::width(cell(row)));
        widths.max().unwrap_or(0)
    };
    let (names, walls) = (width(|row| &row.label), width(|row| &row.wall));
    writeln!(
        f,
        "\nWhere the wall time goes (█ active, ▓ queued, ░ waiting for a boundary, · unexplained):"
    )?;
    for row in &rows {
        let name = " ".repeat(names - human::width(&row.label));
        let wall = " ".repeat(walls - human::width(&row.wall));
        let Row {
            label, bar, told, ..
        } = row;
        writeln!(f, "  {label}{name}  {wall}{}  {bar}  {told}", row.wall)?;
    }
    Ok(())
}

struct Row {
    label: String,
    wall: String,
    bar: String,
    told: String,
}

fn row(unit: &UnitSnapshot, label: String) -> Option<Row> {
    let wall = unit.metric("wall")?.sum;
    // What an older version wrote has no parts.
    unit.metric("active").filter(|_| wall > 0)?;
    let parts = parts(unit);
    let told = parts.iter().filter_map(|part| {
        let percent = (100.0 * part.nanoseconds as f64 / wall as f64).round() as u64;
        (percent > 0).then(|| format!("{} {percent} %", part.name))
    });
    Some(Row {
        label,
        wall: human::duration(wall),
        bar: bar(&parts, wall),
        told: told.collect::<Vec<_>>().join(", "),
    })
}

/// A character for each share of the time: each part ends at the character that is nearest to its end.
fn bar(parts: &[Part], wall: u64) -> String {
    let mut bar = String::new();
    let (mut until, mut drawn) = (0u64, 0);
    for part in parts {
        until += part.nanoseconds;
        let end = (until as f64 / wall as f64 * WIDTH as f64).round() as u64;
        bar.extend((drawn..end).map(|_| part.sign));
        drawn = end.max(drawn);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Measure;
    use crate::histogram::Distribution;
    use crate::record::BoundarySnapshot;

    #[test]
    fn each_part_is_as_long_as_its_share_and_the_largest_waits_are_named() {
        let of = |n| Distribution::of_values(Measure::Nanoseconds, [n]);
        let mut unit = UnitSnapshot::new("pay", "shop");
        for (metric, n) in [
            ("wall", 1000),
            ("active", 250),
            ("queued", 4),
            ("wait", 630),
        ] {
            unit.metrics.insert(metric.to_owned(), Some(of(n)));
        }
        unit.metrics.insert("unexplained".to_owned(), Some(of(116)));
        for (name, wait) in [("a", 10), ("b", 500), ("c", 70), ("d", 20), ("e", 30)] {
            let mut boundary = BoundarySnapshot::new(of(1), of(0), of(0));
            boundary.wait = Some(of(wait));
            unit.boundaries.insert(name.to_owned(), boundary);
        }
        let row = row(&unit, String::new()).expect("it took time");
        assert_eq!(
            row.told,
            "active 25 %, b 50 %, c 7 %, e 3 %, other boundaries 3 %, unexplained 12 %"
        );
        assert_eq!(
            row.bar,
            format!("{}{}{}", "█".repeat(6), "░".repeat(15), "·".repeat(3))
        );
    }

    #[test]
    fn what_has_no_parts_has_no_line() {
        let mut unit = UnitSnapshot::new("pay", "shop");
        let wall = Distribution::of_values(Measure::Nanoseconds, [7]);
        unit.metrics.insert("wall".to_owned(), Some(wall));
        assert!(row(&unit, String::new()).is_none());
    }
}
